"""Measures what a model costs on this host, through the executor that will run it.

Operators are timed where they run, inside whole passes, not one by one: caches and allocator
are then as in use. What a whole stage takes beside them (bytes to tensors and back, the call)
is fitted on stages run from bytes to bytes; stages that the fit has not seen give its error.
Operators and stages are timed in turns, so that a machine that slows down slows all alike.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from airloom.core.graph import ModelGraph
from airloom.core.profile import CutSize, Machine, OperatorCost, Profile, Weights
from airloom.core.topology import DEVICE_ID
from airloom.core.value import Basis
from airloom.errors import ConfigError, UserError
from airloom.nn.captured import Captured
from airloom.nn.executor import StageExecutor, tensor_to_bytes
from airloom.nn.fold import find_modules, folded
from airloom.nn.machine import this_machine
from airloom.nn.program import DTYPES

Floats = NDArray[np.float64]
Bounds = tuple[int, int]
_Data = dict[int, dict[int, memoryview]]
NO_MACHINE = Machine()

# Stages that the constant and the scale are fitted to, and as many again that judge them.
_NUM_STAGES = 12
# Fewer passes than this say nothing of the spread.
_MIN_PASSES = 5
# How many stages, and how often, tell what a rest before a stage costs; a rest is as long as tensors travel.
_RESTED_STAGES = 5
_RESTED_TURNS = 15
_REST_S = 0.004


def measure(
    model: Captured | StageExecutor,
    *,
    device_name: str = "this",
    batch: int | None = None,
    passes: int = 60,
    warm_up: int = 3,
    seconds_budget: float = 10.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Time every operator and a sample of stages; predict any stage from them.

    Args:
        model: an executor measures with its own torch device and threads; a captured model on
            the CPU with one thread.
        device_name: `Profile.device`.
        batch: what the inputs' first axis is, for the record; taken from them where None.
        passes: how often each is timed, as far as `seconds_budget` allows.
        seconds_budget: stop after about this long, above 0; at least five passes are made.
        progress: called with passes done and passes to do.

    Returns:
        A profile whose `stage_error` is the median relative error on stages outside the fit.
    """
    check_asked(device_name, seconds_budget)
    executor = model if isinstance(model, StageExecutor) else StageExecutor(model)
    graph = executor.graph
    if graph.mode != "eval":
        raise UserError("a profile is of a model in eval mode: capture it with mode='eval'")
    if not graph.num_operators:
        raise UserError(f"{graph.model} has no operators: there is nothing to measure")
    rng = np.random.default_rng(seed)
    fitted, judged = sample_stages(graph.num_operators, rng)
    stages = [(0, graph.num_operators), *fitted, *judged]
    data = _live_bytes(executor, {start for start, _ in stages}, rng)

    began = time.perf_counter()
    stamped = _StampedPass(executor, data[0])
    op_rows: list[Floats] = []
    stage_rows: list[list[float]] = []
    for turn in range(warm_up + passes):
        row = stamped.run()
        times = [_time_stage(executor, bounds, data[bounds[0]]) for bounds in stages]
        spent = time.perf_counter() - began
        if turn >= warm_up:
            op_rows.append(row)
            stage_rows.append(times)
        else:
            continue
        if progress is not None:
            progress(len(op_rows), passes)
        if spent > seconds_budget and len(op_rows) >= _MIN_PASSES:
            break

    per_op = np.array(op_rows)
    modules = find_modules(graph)
    compute_s = folded(np.median(per_op, axis=0), modules)
    spread_s = folded(np.subtract(*np.percentile(per_op, [75, 25], axis=0)), modules)
    stage_s = np.median(np.array(stage_rows), axis=0)
    elapsed = np.concatenate([[0.0], np.cumsum(compute_s)])
    seen = 1 + len(fitted)
    scale, constant_s = fit_stages(_spans(elapsed, stages[:seen]), stage_s[:seen])
    predicted = constant_s + scale * _spans(elapsed, stages[seen:])
    error = float(np.median(np.abs(predicted - stage_s[seen:]) / stage_s[seen:])) if judged else None
    return profile_of(
        graph,
        compute_s=compute_s,
        spread_s=spread_s,
        device=device_name,
        batch=batch or batch_of(graph),
        stage_scale=scale,
        stage_constant_s=constant_s,
        stage_error=error,
        rest_s=_rest(executor, stages[: 1 + _RESTED_STAGES], data, 0.25 * seconds_budget),
        machine=this_machine(executor.threads, executor.torch_device),
    )


def profile_of(
    graph: ModelGraph,
    *,
    compute_s: Floats,
    spread_s: Floats,
    device: str,
    batch: int,
    stage_scale: float = 1.0,
    stage_constant_s: float = 0.0,
    stage_error: float | None = None,
    rest_s: float = 0.0,
    machine: Machine = NO_MACHINE,
    basis: Basis = "measured",
) -> Profile:
    """The profile of `graph` with these times `[L]`: sizes of cuts, weights and outputs are the graph's own."""
    readers: dict[int, list[int]] = {k: [] for k in range(len(graph.parameters))}
    for index, op in enumerate(graph.operators):
        for parameter in dict.fromkeys((*op.parameters, *op.writes)):
            readers[parameter].append(index)
    return Profile(
        model=graph.model,
        device=device,
        operators=tuple(
            OperatorCost(name=op.name, compute_s=float(c), spread_s=float(s), macs=op.macs)
            for op, c, s in zip(graph.operators, compute_s, spread_s, strict=True)
        ),
        cuts=tuple(
            CutSize(tensor_nbytes=tuple(graph.tensors[t].nbytes for t in live), tensors=live)
            for live in graph.live_sets
        ),
        output_nbytes=tuple(graph.tensors[t].nbytes for t in graph.live_set(graph.num_operators)),
        weights=tuple(
            Weights(nbytes=p.spec.nbytes, operators=tuple(readers[k])) for k, p in enumerate(graph.parameters)
        ),
        graph_digest=graph.digest,
        batch=batch,
        basis=basis,
        stage_scale=stage_scale,
        stage_constant_s=stage_constant_s,
        stage_error=stage_error,
        rest_s=rest_s,
        machine=machine,
        modules=find_modules(graph),
    )


def scaled(profile: Profile, factor: float, device: str) -> Profile:
    """The profile of a device that takes `factor` times as long: *modelled*, whatever `profile` was.

    Raises:
        ConfigError: the factor is not a positive number.
    """
    check_factor(factor)
    return msgspec.structs.replace(
        profile,
        device=device,
        basis="modelled",
        operators=tuple(
            msgspec.structs.replace(
                op, compute_s=op.compute_s * factor, spread_s=op.spread_s * factor, backward_s=op.backward_s * factor
            )
            for op in profile.operators
        ),
        backward_constant_s=profile.backward_constant_s * factor,
        stage_constant_s=profile.stage_constant_s * factor,
        rest_s=profile.rest_s * factor,
    )


def check_asked(device_name: str, seconds_budget: float) -> None:
    """Refuse what no measurement can be called, or no time to make it in.

    Raises:
        ConfigError: naming it.
    """
    if not DEVICE_ID.fullmatch(device_name):
        raise ConfigError(
            f"a device is called by up to 64 letters, digits, `-`, `_` and `.`, got {device_name!r}: "
            "choose the id it has in the topology"
        )
    if not 0 < seconds_budget < math.inf:
        raise ConfigError(f"measure for some seconds above 0, got {seconds_budget:g}")


def check_factor(factor: float) -> None:
    """A device is `factor` times as slow: a positive number, or a ConfigError."""
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"a factor is a number above 0, got {factor}")


def batch_of(graph: ModelGraph) -> int:
    """The size of the inputs' first axis where they agree, else 1."""
    sizes = {graph.tensors[t].shape[0] if graph.tensors[t].shape else 1 for t in graph.inputs}
    return sizes.pop() if len(sizes) == 1 else 1


def fit_stages(sums_s: Floats, stage_s: Floats) -> tuple[float, float]:
    """Scale and constant for which `constant + scale * sums_s` has the least squared relative error.

    The constant is never below 0: more work would then be free.
    """
    weights = 1.0 / stage_s
    columns = np.stack([sums_s * weights, weights], axis=1)
    if len(stage_s) > 1:
        scale, constant = np.linalg.lstsq(columns, np.ones_like(stage_s), rcond=None)[0]
        if scale > 0 and constant >= 0:
            return float(scale), float(constant)
    only = columns[:, 0]
    return float(only.sum() / (only @ only)), 0.0


def _spans(elapsed: Floats, stages: Sequence[Bounds]) -> Floats:
    return np.array([elapsed[stop] - elapsed[start] for start, stop in stages], dtype=np.float64)


def sample_stages(num_operators: int, rng: np.random.Generator) -> tuple[list[Bounds], list[Bounds]]:
    """Two disjoint sets of stages, of every length, to fit and to judge."""
    length = num_operators
    every = length * (length + 1) // 2 - 1  # the whole is always fitted
    wanted = min(2 * _NUM_STAGES, every)
    chosen: dict[Bounds, None] = {}
    while len(chosen) < wanted:
        start, stop = sorted(int(k) for k in rng.integers(0, length + 1, 2))
        if start < stop and (start, stop) != (0, length):
            chosen[start, stop] = None
    stages = list(chosen)
    return stages[::2], stages[1::2]


def _live_bytes(executor: StageExecutor, cuts: set[int], rng: np.random.Generator) -> dict[int, dict[int, memoryview]]:
    """What crosses each of `cuts` in one pass over the example inputs, or over random ones."""
    graph, example = executor.graph, executor.captured.example
    inputs = example or tuple(random_input(graph, t, rng) for t in graph.inputs)
    live = {t: tensor_to_bytes(x) for t, x in zip(graph.inputs, inputs, strict=True)}
    at, result = 0, {}
    for cut in sorted(cuts):
        live = executor.run(at, cut, live)
        at, result[cut] = cut, live
    return result


def random_input(graph: ModelGraph, tensor: int, rng: np.random.Generator) -> torch.Tensor:
    spec = graph.tensors[tensor]
    dtype = DTYPES[spec.dtype]
    if dtype.is_floating_point:
        return torch.from_numpy(rng.standard_normal(spec.shape, dtype=np.float32)).to(dtype)
    if dtype is torch.uint8:
        return torch.from_numpy(rng.integers(0, 256, spec.shape, dtype=np.uint8))
    # Tokens, indices, masks: 0 is valid in any of them.
    return torch.zeros(spec.shape, dtype=dtype)


def _time_stage(executor: StageExecutor, bounds: Bounds, data: dict[int, memoryview]) -> float:
    began = executor.now_s()
    executor.run(*bounds, data)
    return executor.now_s() - began


def _rest(executor: StageExecutor, stages: Sequence[Bounds], data: _Data, seconds_budget: float) -> float:
    """Seconds that a stage takes longer after a rest than right after itself: the median over `stages`.

    It is much the same for all stages of all networks: what has to be fetched again, and a core that wakes.
    """
    turns: list[list[tuple[float, float]]] = []
    began = time.perf_counter()
    while len(turns) < _RESTED_TURNS and (len(turns) < 3 or time.perf_counter() - began < seconds_budget):
        turn = []
        for bounds in stages:
            time.sleep(_REST_S)
            rested = _time_stage(executor, bounds, data[bounds[0]])
            turn.append((rested, _time_stage(executor, bounds, data[bounds[0]])))
        turns.append(turn)
    rested_s, warm_s = np.median(np.array(turns), axis=0).T
    return max(0.0, float(np.median(rested_s - warm_s)))


class _StampedPass:
    """One whole pass that notes the time after every operator."""

    def __init__(self, executor: StageExecutor, data: dict[int, memoryview]) -> None:
        self.executor, self.data = executor, data
        self.cuda = executor.torch_device.type == "cuda"
        self.stage = executor.compile(0, executor.graph.num_operators, _event if self.cuda else time.perf_counter)

    def run(self) -> Floats:
        """Seconds of each operator `[L]`."""
        stamps = self.executor.run_stage(self.stage, self.data)[-1]
        if self.cuda:
            self.executor.synchronize()
            # Waiting for every operator would change what is measured: the device notes the times.
            return np.array([a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(stamps)])
        return np.diff(np.array(stamps, dtype=np.float64))


def _event() -> Any:
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
