"""Minima over the stops that fit in memory, for all starts at once: two minima over powers of two for each window."""

from __future__ import annotations

import numpy as np

from airloom.core.problem import Cuts, Floats


class Windows:
    """The stops start < d <= last_stop[start] of a host.

    Attributes:
        last_stop: `[L+1]`.
        empty: starts from which nothing fits.
    """

    def __init__(self, last_stop: Cuts) -> None:
        self.last_stop = last_stop
        starts = np.arange(len(last_stop))
        length = last_stop - starts
        length[-1] = 0
        self.empty = np.flatnonzero(length <= 0)
        fits = np.flatnonzero(length > 0)
        level = np.floor(np.log2(length[fits])).astype(np.intp)
        self._depth = int(level.max(initial=-1)) + 1
        # Per level: starts whose windows two of its spans cover, and where these begin.
        self._spans: list[tuple[Cuts, Cuts, Cuts]] = []
        for k in range(self._depth):
            here = fits[level == k]
            self._spans.append((here, here + 1, last_stop[here] - 2**k + 1))

    def least(self, reach: Floats) -> Floats:
        """`[S, L]` the least of `reach`, `[S, L+1]`; infinity where nothing fits."""
        found = np.full((len(reach), reach.shape[1] - 1), np.inf)
        lows = reach
        for k, (starts, first, second) in enumerate(self._spans):
            if k:
                half = 2 ** (k - 1)
                lows = np.minimum(lows[:, :-half], lows[:, half:])
            if len(starts):
                found[:, starts] = np.minimum(lows[:, first], lows[:, second])
        return found

    def latest(self, reach: Floats) -> Cuts:
        """`[S, L+1]` the latest stop at which `reach` is least; the start itself where nothing fits."""
        count, size = reach.shape
        rows = np.arange(count)[:, None]
        found = np.tile(np.arange(size), (count, 1))
        lows, places = reach, found.copy()
        for k, (starts, first, second) in enumerate(self._spans):
            if k:
                half = 2 ** (k - 1)
                later = lows[:, half:] <= lows[:, :-half]
                places = np.where(later, places[:, half:], places[:, :-half])
                lows = np.minimum(lows[:, :-half], lows[:, half:])
            if len(starts):
                one, other = places[:, first], places[:, second]
                found[:, starts] = np.where(reach[rows, other] <= reach[rows, one], other, one)
        return found
