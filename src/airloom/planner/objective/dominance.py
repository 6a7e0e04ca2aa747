"""Pareto dominance: of vectors of costs, those that no other is at least as good as in every metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats

#: Labels are held against so many others of the same host and cut, in the order of their costs.
_COMPARED = 24


def keep_first_of_equals(costs: Floats) -> Cuts:
    """Rows of `costs`, `[N, M]`, that no other row dominates, ascending; of equal rows the first."""
    if len(costs) <= 1:
        return np.arange(len(costs))
    # What dominates a row precedes it in this order.
    order = np.lexsort((np.arange(len(costs)), *costs.T[::-1]))
    ranked = costs[order]
    width = costs.shape[1]
    if width == 1:
        return order[:1]
    if width == 2:
        second = ranked[:, 1]
        before = np.minimum.accumulate(second)
        kept = np.ones(len(order), dtype=bool)
        kept[1:] = second[1:] < before[:-1]
        return np.sort(order[kept])
    if len(ranked) <= 64:
        beats: NDArray[np.bool_] = np.logical_and.reduce(ranked[:, None, 1:] <= ranked[None, :, 1:], axis=2)
        # Only what comes before may beat: of equals the first stays.
        beaten: NDArray[np.bool_] = np.logical_or.reduce(np.triu(beats, 1), axis=0)
        return np.sort(order[~beaten])
    alive, found = np.arange(len(ranked)), []
    while len(alive):
        first = alive[0]
        found.append(first)
        rest = alive[1:]
        alive = rest[(ranked[rest, 1:] < ranked[first, 1:]).any(axis=1)]
    return np.sort(order[found])


def nearly_undominated(costs: Floats, cut: Cuts) -> NDArray[np.bool_]:
    """Which labels stay, those of a cut lying together; of equals the first. Some that are dominated may stay too."""
    beaten = np.zeros(len(costs), dtype=bool)
    columns = [np.ascontiguousarray(column) for column in costs.T]
    for shift in range(1, min(_COMPARED, len(costs) - 1) + 1):
        same = cut[shift:] == cut[:-shift]
        if not same.any():
            break
        for first, second in ((slice(None, -shift), slice(shift, None)), (slice(shift, None), slice(None, -shift))):
            worse = same.copy()
            for column in columns:
                worse &= column[first] <= column[second]
            if second == slice(None, -shift):
                # Of equals the first stays.
                worse &= ~np.logical_and.reduce([column[first] == column[second] for column in columns])
            beaten[second] |= worse
    return ~beaten
