"""Pareto dominance: of vectors of costs, those that no other is at least as good as in every metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats

#: Labels are held against so many others of the same host and cut, in the order of their costs.
_COMPARED = 24
#: Rows that are held against each other all at once.
TOGETHER = 256


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
    if len(ranked) <= TOGETHER:
        beats = no_worse(ranked[:, 1:], ranked[:, 1:])
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


def no_worse(costs: Floats, others: Floats) -> NDArray[np.bool_]:
    """`[N, n]` whether a row of `costs` `[N, M]` is at least as good as one of `others` `[n, M]` in every metric."""
    found: NDArray[np.bool_] = costs[:, None, 0] <= others[None, :, 0]
    for metric in range(1, costs.shape[1]):
        found &= costs[:, None, metric] <= others[None, :, metric]
    return found


def keep_of_each(costs: Floats, sizes: Cuts) -> Cuts:
    """`keep_first_of_equals` of groups that lie one after the other, `sizes` rows each; ascending."""
    if not len(sizes) or int(sizes.max()) <= 1:
        return np.arange(len(costs))
    group = np.repeat(np.arange(len(sizes)), sizes)
    kept = []
    for span in together(sizes, TOGETHER):
        rows, own = costs[span], group[span]
        if own[0] == own[-1]:
            kept.append(keep_first_of_equals(rows) + span.start)
            continue
        beats = no_worse(rows, rows) & (own[:, None] == own[None, :])
        # Of equals the first stays.
        strictly = beats & ~beats.T
        kept.append(np.flatnonzero(~(strictly | np.triu(beats, 1)).any(axis=0)) + span.start)
    return np.concatenate(kept)


def together(sizes: Cuts, most: int) -> list[slice]:
    """The rows of groups of these sizes, cut between groups into spans of at most `most` rows, or of one group."""
    ends = np.cumsum(sizes)
    if int(ends[-1]) <= most:
        return [slice(0, int(ends[-1]))]
    spans, start, end = list[slice](), 0, 0
    for reached in ends.tolist():
        if end > start and reached - start > most:
            spans.append(slice(start, end))
            start = end
        end = reached
    if end > start:
        spans.append(slice(start, end))
    return spans


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
