"""What every configuration of an elastic model is worth: accuracy, bytes, MACs and latency, measured.

    table = measure_table(elastic, samples, model="resnet20", precisions=("fp32", "int8", "bits-6"))

Every configuration is measured with the weights that would arrive, decoded from the very bytes that would be sent.
The receiver turns them into fp32, so precision costs bytes and accuracy but neither MACs nor time: latency is
measured once a depth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import torch

from airloom.core.progressive import PRECISIONS, Configuration, DepthTable, encodings_of
from airloom.core.value import digest
from airloom.errors import ConfigError
from airloom.nn.elastic.latency import captured_depths, machine_name, measure_latencies
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.parts import graph_constants, part_arrays, statistics_arrays
from airloom.nn.elastic.precision import Arrivals
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, judged, top1
from airloom.planner.pareto import pareto_front

#: Samples in one pass unless another number is asked for.
DEFAULT_BATCH = 125


def measure_table(
    elastic: ElasticModel,
    samples: Samples,
    *,
    model: str,
    depths: Iterable[int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    score: Score = top1,
    metric: str = "top-1",
    batch: int = DEFAULT_BATCH,
    threads: int = 1,
    torch_device: str = "cpu",
    latency_seconds: float = 1.0,
    as_graph: bool = False,
    known: Iterable[Configuration] = (),
    finished: Callable[[Configuration], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> DepthTable:
    """Measure every depth in every precision.

    Args:
        elastic: with the statistics of each of `depths`; it stays as it is.
        samples: test samples, row k of each input is sample k.
        model: its name in the table, and in the chunks whose bytes are counted.
        depths: of `elastic.order.depths`; None for all.
        precisions: some of `PRECISIONS`.
        score: how right an answer is; `metric` is its name.
        batch: samples in one pass.
        threads: torch's.
        latency_seconds: for how long each depth is timed, one sample at a time; 0 leaves latency out.
        as_graph: what will be packed is the graph, not a network of the zoo by its name.
        known: configurations measured before under the same `settings_digest`: not measured again.
        finished: called with every configuration as it is measured.
        advance: called after every pass with how many samples it had, `num_evaluations` in all.

    Raises:
        ConfigError: no such depth or precision, no samples, or a score that is none.
    """
    chosen = chosen_depths(elastic, depths)
    wanted = chosen_precisions(precisions)  # ascending bits, so that each takes only its own plane
    if not len(samples):
        raise ConfigError("no samples: accuracy is a mean over samples")
    if batch < 1:
        raise ConfigError(f"a batch is at least 1, got {batch}")
    found = {c.name: c for c in known}
    one = tuple(torch.from_numpy(np.ascontiguousarray(array[:1])) for array in samples.inputs)
    whole, captured = captured_depths(elastic, one, chosen)
    latency_s = measure_latencies(
        elastic, one, captured, as_graph=as_graph, threads=threads, torch_device=torch_device, seconds=latency_seconds
    )
    arrivals = Arrivals(elastic, model, constants=graph_constants(elastic, whole) if as_graph else None)
    copied = copy.deepcopy(elastic).eval().to(torch_device)
    for precision in wanted:
        missing = [depth for depth in chosen if f"{depth}/{precision}" not in found]
        if missing:
            arrivals.put(copied, precision)
        for depth in missing:
            configuration = Configuration(
                depth=depth, precision=precision, nbytes=arrivals.nbytes(depth, precision),
                parameters=num_parameters(elastic, depth), macs=sum(op.macs for op in captured[depth].graph.operators),
                accuracy=measure_accuracy(
                    copied, samples, depth, score=score, batch=batch, threads=threads, advance=advance
                ),
                latency_s=latency_s.get(depth),
            )  # fmt: skip
            found[configuration.name] = configuration
            if finished is not None:
                finished(configuration)
    rows = tuple(
        # What was measured before was timed before: all depths are timed together.
        msgspec.structs.replace(found[f"{depth}/{precision}"], latency_s=latency_s.get(depth))
        for precision in wanted
        for depth in chosen
    )
    return DepthTable(
        model=model, blocks=elastic.blocks, order=elastic.order, configurations=rows, front=pareto_front(rows),
        metric=metric, device=machine_name(threads, torch_device) if latency_s else "", samples=len(samples),
    )  # fmt: skip


def measure_accuracy(
    elastic: ElasticModel,
    samples: Samples,
    depth: int,
    *,
    score: Score = top1,
    batch: int = DEFAULT_BATCH,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
) -> float:
    """Mean score of `elastic` at `depth`, with the weights that it has, where they are.

    Raises:
        ConfigError: no such depth, or a score that is none.
    """
    place = next(elastic.parameters()).device
    total = 0.0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), elastic.at(depth):
            for start in range(0, len(samples), batch):
                rows = slice(start, start + batch)
                inputs = [torch.from_numpy(np.ascontiguousarray(array[rows])).to(place) for array in samples.inputs]
                scores = judged(score, elastic(*inputs), samples.labels[rows])
                total += float(scores.sum())
                if advance is not None:
                    advance(len(scores))
    finally:
        torch.set_num_threads(before)
    return total / len(samples)


def num_parameters(elastic: ElasticModel, depth: int) -> int:
    """Weights in the base and the blocks that run at `depth`; running statistics are none."""
    left_out = set(elastic.blocks) - set(elastic.running(depth))
    return sum(p.numel() for p in elastic.parameters()) - sum(block.parameters for block in left_out)


def chosen_depths(elastic: ElasticModel, depths: Iterable[int] | None) -> tuple[int, ...]:
    """The depths to measure, ascending.

    Raises:
        ConfigError: one that the model does not have, or none at all.
    """
    if depths is None:
        return elastic.order.depths
    chosen = tuple(sorted(set(depths)))
    for depth in chosen:
        elastic.order.check(depth)
    if not chosen:
        raise ConfigError("no depth to measure")
    return chosen


def chosen_precisions(precisions: Iterable[str]) -> tuple[str, ...]:
    """The precisions to measure, in the order of `PRECISIONS`.

    Raises:
        ConfigError: one that there is not, or none at all.
    """
    asked = set(precisions)
    for precision in sorted(asked):
        encodings_of(precision)
    if not asked:
        raise ConfigError("no precision to measure")
    return tuple(p for p in PRECISIONS if p in asked)


def num_evaluations(samples: Samples, depths: int, precisions: int, known: int = 0) -> int:
    """Samples that will be run in all, where `known` configurations are measured already."""
    return len(samples) * (depths * precisions - known)


def settings_digest(
    elastic: ElasticModel,
    samples: Samples,
    *,
    model: str,
    metric: str,
    batch: int,
    threads: int,
    torch_device: str,
    as_graph: bool = False,
) -> str:
    """What a configuration's figures follow from, its depth and precision apart.

    Weights and statistics, samples, how they are judged and where: with another of these, what was measured is
    measured again.
    """
    parts = [model, metric, str(batch), str(threads), torch_device, str(as_graph), samples.digest, repr(elastic.order)]
    weights = [arrays[name].tobytes() for arrays in part_arrays(elastic) for name in sorted(arrays)]
    statistics = [
        array.tobytes()
        for _, arrays in sorted(statistics_arrays(elastic).items())
        for _, array in sorted(arrays.items())
    ]
    return digest(*(part.encode() for part in parts), *weights, *statistics)
