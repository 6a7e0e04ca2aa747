"""Finds where a graph repeats itself: an unrolled recurrent network is R times the same operators.

HiveMind (section VI-A) speaks of R recurrent modules of L layers each. Exported, they are R * L operators one
after the other; telling them apart again lets one module's measurement stand for all (`nn.measure`), and lets a
planner compare with a network whose module is split and run R times.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from airloom.core.graph import ModelGraph, Operator
from airloom.core.profile import Modules
from airloom.nn.program import LocalRef, ParameterRef, TensorRef, decode

# Fewer repetitions are a coincidence, not a recurrence.
_LEAST_MODULES = 3


def find_modules(graph: ModelGraph) -> Modules | None:
    """The modules of `graph`: the longest run of operators that repeats itself over the same weights.

    Two operators are alike when they call the same with the same numbers, read the same weights and make tensors
    of the same form; which tensors they read does not matter (the first module's hidden state is a constant).

    Returns:
        None where nothing repeats at least three times.
    """
    kinds = operator_kinds(graph)
    best: tuple[int, int, int] | None = None  # operators covered, period, start
    for period in _periods(graph, kinds):
        start, length = _longest_run(kinds, period)
        count = (length + period) // period
        if count < _LEAST_MODULES or not _reads_weights(graph, start, start + period):
            continue
        if best is None or (count * period, -period) > (best[0], -best[1]):
            best = (count * period, period, start)
    if best is None:
        return None
    covered, period, start = best
    return _described(graph, tuple(range(start, start + covered + 1, period)))


def operator_kinds(graph: ModelGraph) -> tuple[int, ...]:
    """`[L]` a number for each operator, the same for operators that are alike."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(_kind(graph, op), len(numbers)) for op in graph.operators)


def _kind(graph: ModelGraph, op: Operator) -> object:
    def form(value: object) -> object:
        match value:
            case TensorRef() | LocalRef():
                return "tensor"
            case ParameterRef(id):
                return ("parameter", id)
            case list():
                return tuple(form(v) for v in value)
        return (type(value).__name__, repr(value))  # 1, 1.0 and True are equal but not the same argument

    call = decode(op.target, op.arguments).call
    arguments = (form(list(call.args)), tuple((k, form(v)) for k, v in sorted(call.kwargs.items())))
    made = tuple((graph.tensors[t].shape, graph.tensors[t].dtype) for t in op.outputs)
    return (op.target, arguments, made, op.macs, op.writes)


def _periods(graph: ModelGraph, kinds: tuple[int, ...]) -> list[int]:
    """Distances at which operators with weights come again, the most frequent first."""
    last: dict[int, int] = {}
    distances: Counter[int] = Counter()
    for index, kind in enumerate(kinds):
        if graph.operators[index].parameters:
            if kind in last:
                distances[index - last[kind]] += 1
            last[kind] = index
    return [distance for distance, times in distances.most_common() if times >= _LEAST_MODULES - 1]


def _longest_run(kinds: tuple[int, ...], period: int) -> tuple[int, int]:
    """Start and length of the longest run of operators that are like those `period` later."""
    best, start = (0, 0), 0
    for index in range(len(kinds) - period + 1):
        if index == len(kinds) - period or kinds[index] != kinds[index + period]:
            if index - start > best[1]:
                best = (start, index - start)
            start = index + 1
    return best


def _reads_weights(graph: ModelGraph, start: int, stop: int) -> bool:
    return any(op.parameters for op in graph.operators[start:stop])


def _described(graph: ModelGraph, starts: tuple[int, ...]) -> Modules:
    """The modules with what goes in and out of one: of the second, which has a module on either side."""
    first, start, stop, after = starts[0], starts[1], starts[2], starts[3]
    before = {t for op in graph.operators[:first] for t in op.outputs} | set(graph.inputs)
    made = {t for op in graph.operators[start:stop] for t in op.outputs}
    read = {t for op in graph.operators[start:stop] for t in op.inputs}
    later = {t for op in graph.operators[after:] for t in op.inputs} | set(graph.outputs)
    live = made & set(graph.live_set(stop))

    def nbytes(tensors: set[int]) -> int:
        return sum(graph.tensors[t].nbytes for t in tensors)

    return Modules(
        starts=starts,
        state_nbytes=nbytes(live - later),
        input_nbytes=nbytes(read & before),
        output_nbytes=nbytes(live & later),
    )


def folded(per_operator: NDArray[np.float64], modules: Modules | None) -> NDArray[np.float64]:
    """`[L]` times in which all modules are alike: each operator of a module has the mean over the modules.

    Modules run the same code on the same weights, so that what tells their times apart is chance; sums over whole
    modules stay what they were.
    """
    if modules is None:
        return per_operator
    first, last = modules.starts[0], modules.starts[-1]
    result = per_operator.copy()
    one = per_operator[first:last].reshape(modules.count, modules.length).mean(axis=0)
    result[first:last] = np.tile(one, modules.count)
    return result
