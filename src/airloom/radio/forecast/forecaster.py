"""A forecast of a link's rate: fed with measurements at any moments, asked about any moment after them."""

from __future__ import annotations

import math
from typing import Protocol


class Forecaster(Protocol):
    """The rate of one directed link over time, learned as it comes; memory does not grow.

    What is learned from measurements lies between the least and the greatest rate observed so far,
    so that no trend runs away; before the first observation it is the rate that it was made with.
    A moment before the last observation counts as that moment. `Oracle` alone is not so bounded.
    """

    def observe(self, at_s: float, rate_bps: float) -> None:
        """The link carried `rate_bps` at `at_s`; ValueError unless that is finite and at least 0."""

    def predict(self, at_s: float) -> float:
        """bit/s at `at_s`; at least 0 and never NaN."""


class Observed:
    """What every learned method keeps: the last observation, and the range of all of them.

    Attributes:
        at_s, rate_bps: of the last observation; before there is one, `rate_bps` is the first guess.
        least_bps, most_bps: of all observations.
    """

    def __init__(self, first_bps: float) -> None:
        if not first_bps >= 0:
            raise ValueError(f"the first guess of a rate is at least 0, got {first_bps}")
        self.at_s: float | None = None
        self.rate_bps = self.least_bps = self.most_bps = first_bps

    def add(self, at_s: float, rate_bps: float) -> float:
        """Take an observation; seconds since the one before, 0 for the first or where the clock went back."""
        if not 0 <= rate_bps < math.inf or not math.isfinite(at_s):
            raise ValueError(f"a rate is finite and at least 0, got {rate_bps} at {at_s}")
        if self.at_s is None:
            self.at_s, self.least_bps, self.most_bps = at_s, rate_bps, rate_bps
        since = max(0.0, at_s - self.at_s)
        self.at_s, self.rate_bps = max(self.at_s, at_s), rate_bps
        self.least_bps, self.most_bps = min(self.least_bps, rate_bps), max(self.most_bps, rate_bps)
        return since

    def ahead_s(self, at_s: float) -> float:
        """Seconds from the last observation to `at_s`, at least 0."""
        return 0.0 if self.at_s is None else max(0.0, at_s - self.at_s)

    def bounded(self, rate_bps: float) -> float:
        """`rate_bps` put between the least and the greatest observation; the last one where it is NaN."""
        if rate_bps != rate_bps:
            return self.rate_bps
        return min(max(rate_bps, self.least_bps), self.most_bps)


class Positive:
    """Rates as logarithms: halving and doubling weigh the same. Below 1 kbit/s a link counts as one of 1 kbit/s."""

    least_bps = 1e3

    @classmethod
    def log(cls, rate_bps: float) -> float:
        return math.log(max(rate_bps, cls.least_bps))

    @staticmethod
    def rate(log: float) -> float:
        return math.exp(min(log, 700.0))
