"""Fewer vectors of costs that stand for many: one of each cell of a grid of ratio 1 + e (`frontier`)."""

from __future__ import annotations

import numpy as np

from airloom.core.problem import Cuts, Floats

#: The ratio of the finest grid that is tried, and of one that is tried to the next.
_FINEST = 1e-4
_STEP = 1.5


def thin(costs: Floats, weights: Floats, width: int, start: float = 0.0) -> tuple[Cuts, float]:
    """At most `width` rows of `costs`, `[n, M]`, and the ratio e of the grid.

    Each row that is left out has one that stays, at most 1 + e times as large in every metric.

    Args:
        start: a ratio that may be about right, to look at first.
    """
    sums = costs @ weights
    always = np.unique([int(np.argmin(sums)), *np.argmin(costs, axis=0).tolist()])
    order = np.argsort(sums, kind="stable")
    positive = costs > 0.0
    logs = np.log(np.where(positive, costs, 1.0))
    logs -= np.where(positive, logs, np.inf).min(axis=0, initial=np.inf)

    def kept(ratio: float) -> Cuts:
        cells = np.where(positive, np.floor(logs / np.log1p(ratio)) + 1.0, 0.0)  # nothing shares a cell with 0
        keys = np.zeros(len(costs), dtype=np.int64)
        for metric in cells.T.astype(np.int64):
            base = int(metric.max()) + 1
            if int(keys.max()) >= 2**62 // base:
                keys = np.unique(keys, return_inverse=True)[1].astype(np.int64)
            keys = keys * base + metric
        _, first = np.unique(keys[order], return_index=True)
        return np.union1d(order[first], always)

    ratio = max(start, _FINEST)
    rows = kept(ratio)
    while len(rows) <= width and ratio > _FINEST:
        finer = kept(ratio / _STEP)
        if len(finer) > width:
            break
        ratio, rows = ratio / _STEP, finer
    while len(rows) > width:
        ratio *= _STEP
        rows = kept(ratio)
    return rows, ratio


def thin_each(costs: Floats, sizes: Cuts, weights: Floats, width: int) -> tuple[Cuts, Cuts, float]:
    """`thin` of groups that lie one after the other, `sizes` rows each.

    Returns:
        The rows that stay, ascending; how many of each group; the coarsest ratio e.
    """
    if int(sizes.max(initial=0)) <= width:
        return np.arange(len(costs)), sizes, 0.0
    starts, ratio, coarsest, kept = np.cumsum(sizes) - sizes, 0.0, 0.0, list[Cuts]()
    for start, size in zip(starts[::-1].tolist(), sizes[::-1].tolist(), strict=True):
        rows = np.arange(start, start + size)
        if size > width:
            few, ratio = thin(costs[rows], weights, width, ratio)
            rows, coarsest = rows[few], max(coarsest, ratio)
        kept.append(rows)
    kept.reverse()
    return np.concatenate(kept), np.array([len(rows) for rows in kept]), coarsest
