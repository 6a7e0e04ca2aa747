"""A rate measured elsewhere, replayed: piecewise constant over time, looped.

What a file of it looks like is told in `airloom.config.rate_trace`. The last row lasts as long as the
one before it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from airloom.config.rate_trace import read_rate_rows


class ReplayedRate:
    """Rate `rates_bps[i]` from `starts_s[i]` on; after the last row the first follows again.

    Args:
        starts_s: ascending seconds; the first row holds from `origin_s` on the caller's clock.
        rates_bps: bit/s of each row; 0 is an outage, but not all rows may be 0.
    """

    def __init__(self, starts_s: Sequence[float], rates_bps: Sequence[float], *, origin_s: float = 0.0) -> None:
        if not starts_s or len(starts_s) != len(rates_bps):
            raise ValueError(f"a trace needs a rate for each of its rows, got {len(starts_s)} and {len(rates_bps)}")
        if any(b <= a for a, b in itertools.pairwise(starts_s)):
            raise ValueError("seconds of a trace must ascend")
        if any(not (math.isfinite(r) and r >= 0) for r in rates_bps) or not any(rates_bps):
            raise ValueError("rates of a trace must be finite, not negative and not all 0")
        last_s = starts_s[-1] - starts_s[-2] if len(starts_s) > 1 else 1.0
        self.origin_s = origin_s
        self._rates = [r / 8.0 for r in rates_bps]
        self._knots = [s - starts_s[0] for s in (*starts_s, starts_s[-1] + last_s)]
        steps = [rate * (b - a) for rate, (a, b) in zip(self._rates, itertools.pairwise(self._knots), strict=True)]
        self._carried = [0.0, *itertools.accumulate(steps)]

    @property
    def period_s(self) -> float:
        return self._knots[-1]

    def rate_bps(self, at_s: float) -> float:
        return 8.0 * self._rates[self._row((at_s - self.origin_s) % self.period_s)]

    def next_change_s(self, at_s: float) -> float:
        """The first time after `at_s` at which another row begins."""
        loops, phase = divmod(at_s - self.origin_s, self.period_s)
        return self.origin_s + loops * self.period_s + self._knots[self._row(phase) + 1]

    def finish_s(self, start_s: float, nbytes: float) -> float:
        if nbytes <= 0:
            return start_s
        loops, carried = self._position(start_s)
        return max(start_s, self._time(loops, carried + nbytes))

    def nbytes_between(self, start_s: float, stop_s: float) -> float:
        if stop_s <= start_s:
            return 0.0
        (loops, carried), (stop_loops, stop_carried) = self._position(start_s), self._position(stop_s)
        return (stop_loops - loops) * self._carried[-1] + stop_carried - carried

    def mean_rate_bps(self) -> float:
        return 8.0 * self._carried[-1] / self.period_s

    def expected_s(self, nbytes: float) -> float:
        """Exact mean over a start uniform in the period.

        The time a transfer takes is linear in its start between those starts at which it begins
        or ends at a knot, and the middle of a linear piece is its mean.
        """
        total = self._carried[-1]
        ends = {(self._time(0, (c - nbytes) % total) - self.origin_s) % self.period_s for c in self._carried}
        starts = sorted({*self._knots, *ends})
        area = 0.0
        for a, b in itertools.pairwise(starts):
            middle = self.origin_s + (a + b) / 2
            area += (self.finish_s(middle, nbytes) - middle) * (b - a)
        return area / self.period_s

    def _row(self, phase_s: float) -> int:
        return min(bisect.bisect_right(self._knots, phase_s), len(self._rates)) - 1

    def _position(self, at_s: float) -> tuple[float, float]:
        """Whole loops before `at_s` and bytes carried since the last began."""
        loops, phase = divmod(at_s - self.origin_s, self.period_s)
        row = self._row(phase)
        return loops, self._carried[row] + (phase - self._knots[row]) * self._rates[row]

    def _time(self, loops: float, carried: float) -> float:
        """The earliest time by which `carried` bytes have left since loop `loops` began."""
        more, rest = divmod(carried, self._carried[-1])
        if rest == 0.0 and more:
            more, rest = more - 1, self._carried[-1]
        row = max(bisect.bisect_left(self._carried, rest), 1) - 1
        inside_s = (rest - self._carried[row]) / self._rates[row] if self._rates[row] else 0.0
        return self.origin_s + (loops + more) * self.period_s + self._knots[row] + inside_s


def read_rate_trace(path: Path, *, origin_s: float = 0.0) -> ReplayedRate:
    """The trace at `path`, its first row from `origin_s` on.

    Raises:
        ConfigError: the file cannot be read, or is none; names the line.
    """
    return ReplayedRate(*read_rate_rows(path), origin_s=origin_s)
