"""How long each depth of an elastic model takes for one sample on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.elastic.blocks import find_blocks
from airloom.nn.elastic.graphs import skip_blocks
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.executor import StageExecutor
from airloom.nn.machine import this_machine

# Fewer passes than this say nothing of the middle one.
_MIN_PASSES = 5
_WARM_UP = 2

#: Runs one sample, and returns once it has been computed.
Pass = Callable[[], object]


def captured_depths(
    elastic: ElasticModel, example: Sequence[Tensor], depths: Iterable[int]
) -> tuple[Captured, dict[int, Captured]]:
    """The model's graph, and that of each depth, for the batch of `example`; the model is exported once.

    Raises:
        CaptureError: torch cannot export it.
    """
    with elastic.at(elastic.order.num_blocks):
        whole = capture(elastic.module, tuple(example), name=type(elastic.module).__name__)
        has_adapters = len(elastic.adapters) > 0
        blocks = find_blocks(elastic.module, tuple(example), adapters=has_adapters, captured=whole)
    # Only paths of kind `adapter` read these.
    adapters = elastic.state_dict() if has_adapters else {}
    return whole, {d: skip_blocks(whole, blocks.graph, elastic.order.kept(d), adapters) for d in depths}


def measure_latencies(
    elastic: ElasticModel,
    example: Sequence[Tensor],
    captured: Mapping[int, Captured],
    *,
    as_graph: bool = False,
    threads: int = 1,
    torch_device: str = "cpu",
    seconds: float = 1.0,
) -> dict[int, float]:
    """Seconds of the median pass of each depth over `example`, a batch of one, run as a receiver runs it.

    Depths are timed in turns, so that a machine that slows down slows all alike.

    Args:
        captured: the graph of each depth to time (`captured_depths`).
        as_graph: receivers run the graph (`StageExecutor`), not the module.
        seconds: about how long all the passes of one depth may take; 0 times nothing.
    """
    if seconds <= 0 or not captured:
        return {}
    passes: dict[int, Pass]
    if as_graph:
        passes = {d: _of_graph(StageExecutor(c, torch_device, threads), example) for d, c in captured.items()}
    else:
        copied = copy.deepcopy(elastic).eval().to(torch_device)
        passes = {depth: _of_module(copied, depth, example, torch_device) for depth in captured}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _timed(passes, seconds)
    finally:
        torch.set_num_threads(before)


def machine_name(threads: int, torch_device: str) -> str:
    """The machine that latency is measured on, for people."""
    machine = this_machine(threads, torch.device(torch_device))
    where = machine.cpu if machine.torch_device == "cpu" else machine.torch_device
    threads_text = f"{threads} thread{'s' * (threads != 1)}"
    return f"{where}, {threads_text}" if where else threads_text


def _of_graph(executor: StageExecutor, example: Sequence[Tensor]) -> Pass:
    placed = [x.to(executor.torch_device) for x in example]

    def run() -> None:
        executor.whole(placed)
        executor.synchronize()

    return run


def _of_module(elastic: ElasticModel, depth: int, example: Sequence[Tensor], torch_device: str) -> Pass:
    running = elastic.twin()
    running.set_depth(depth)
    placed = [x.to(torch_device) for x in example]
    is_cuda = torch.device(torch_device).type == "cuda"

    def run() -> None:
        with torch.inference_mode():
            running(*placed)
        if is_cuda:
            torch.cuda.synchronize(torch_device)

    return run


def _timed(passes: Mapping[int, Pass], seconds: float) -> dict[int, float]:
    times: dict[int, list[float]] = {depth: [] for depth in passes}
    began, turns = time.perf_counter(), 0
    while turns < _MIN_PASSES + _WARM_UP or time.perf_counter() - began < seconds * len(passes):
        for depth, run in passes.items():
            start = time.perf_counter()
            run()
            times[depth].append(time.perf_counter() - start)
        turns += 1
    return {depth: float(np.median(taken[_WARM_UP:])) for depth, taken in times.items()}
