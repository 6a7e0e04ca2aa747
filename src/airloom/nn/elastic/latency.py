"""How long each depth of an elastic model takes for one sample on this machine, and its MACs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from airloom.core.profile import Machine
from airloom.nn.capture import capture
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.executor import StageExecutor, tensor_to_bytes
from airloom.nn.machine import this_machine

# Fewer passes than this say nothing of the middle one.
_MIN_PASSES = 5
_WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """What was measured.

    Attributes:
        latency_s: of each depth, the median pass of a batch of one; empty where none was asked for.
        macs: of each depth, multiply-accumulates for one sample.
        device: the machine, for people.
    """

    latency_s: dict[int, float]
    macs: dict[int, int]
    device: str


def measure_latencies(
    elastic: ElasticModel,
    example: Sequence[Tensor],
    depths: Iterable[int],
    *,
    threads: int = 1,
    torch_device: str = "cpu",
    seconds: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> Timing:
    """Run each depth from bytes to bytes, through the executor that hosts run models with.

    Depths are timed in turns, so that a machine that slows down slows all alike.

    Args:
        example: inputs of one sample, a batch of one.
        seconds: about how long all the passes of one depth may take; 0 times nothing.
        progress: called as each depth has been captured.

    Raises:
        CaptureError: torch cannot export the model at a depth.
    """
    executors: dict[int, StageExecutor] = {}
    macs: dict[int, int] = {}
    for depth in depths:
        with elastic.at(depth):
            captured = capture(elastic.module, tuple(example), name=f"depth {depth}")
        macs[depth] = sum(op.macs for op in captured.graph.operators)
        if seconds > 0:
            executors[depth] = StageExecutor(captured, torch_device, threads)
        if progress is not None:
            progress(depth)
    latency_s = _timed(executors, example, seconds) if executors else {}
    some = next(iter(executors.values()), None)
    return Timing(latency_s, macs, "" if some is None else _named(this_machine(threads, some.torch_device)))


def _timed(executors: dict[int, StageExecutor], example: Sequence[Tensor], seconds: float) -> dict[int, float]:
    data = [tensor_to_bytes(x.contiguous()) for x in example]
    times: dict[int, list[float]] = {depth: [] for depth in executors}
    began, turns = time.perf_counter(), 0
    while turns < _MIN_PASSES + _WARM_UP or time.perf_counter() - began < seconds * len(executors):
        for depth, executor in executors.items():
            graph = executor.graph
            inputs = dict(zip(graph.inputs, data, strict=True))
            start = executor.now_s()
            executor.run(0, graph.num_operators, inputs)
            times[depth].append(executor.now_s() - start)
        turns += 1
    return {depth: float(np.median(taken[_WARM_UP:])) for depth, taken in times.items()}


def _named(machine: Machine) -> str:
    where = machine.cpu if machine.torch_device == "cpu" else machine.torch_device
    threads = f"{machine.threads} thread{'s' * (machine.threads != 1)}"
    return f"{where}, {threads}" if where else threads
