"""Latencies summed up in bounded memory: mean and deviation as they are, quantiles to a thousandth."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

_STEP = math.log1p(0.002)  # bins this wide, read at their middle: each quantile within 0.1 %
_LEAST_S = 1e-9


class Histogram:
    """Bins of constant relative width over positive seconds."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self._mean = self._squares = 0.0
        self.least = math.inf
        self.most = 0.0

    def add(self, seconds: float) -> None:
        self._bins[math.floor(math.log(max(seconds, _LEAST_S)) / _STEP)] += 1
        self.count += 1
        off = seconds - self._mean
        self._mean += off / self.count
        self._squares += off * (seconds - self._mean)
        self.least, self.most = min(self.least, seconds), max(self.most, seconds)

    @property
    def mean(self) -> float | None:
        return self._mean if self.count else None

    @property
    def std(self) -> float | None:
        return math.sqrt(self._squares / self.count) if self.count else None

    def quantiles(self, shares: list[float]) -> tuple[float, ...]:
        """The value that each of `shares` (0 to 1) of all keep, between two ranks in proportion; () of none."""
        if not self.count:
            return ()
        bins = sorted(self._bins.items())
        ends = list(accumulate(held for _, held in bins))

        def ranked(rank: int) -> float:
            if rank <= 0:
                return self.least
            if rank >= self.count - 1:
                return self.most
            index, _ = bins[bisect_right(ends, rank)]
            return min(max(math.exp((index + 0.5) * _STEP), self.least), self.most)

        found = []
        for share in shares:
            at = share * (self.count - 1)
            low = ranked(math.floor(at + 1e-9))
            found.append(low + max(0.0, at - math.floor(at + 1e-9)) * (ranked(math.ceil(at - 1e-9)) - low))
        return tuple(found)
