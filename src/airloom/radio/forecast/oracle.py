"""The truth with an error of a given size, for experiments that ask how good a forecast must be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


class Oracle:
    """The rate that a link will have, times 1 + error * N(0, 1), at least 0 (HiveMind VII-C3).

    The error is drawn for each forecast: for each moment that is asked for, and for each tick of a course. It is
    bounded by nothing but 0: an oracle learns nothing.

    Args:
        rate_at: bit/s of the link at a moment.
        error: relative standard deviation.
        tick_s: rates change at multiples of it.
    """

    def __init__(
        self, rate_at: Callable[[float], float], error: float, rng: np.random.Generator, *, tick_s: float = 0.01
    ) -> None:
        if not 0 <= error < math.inf or not tick_s > 0:
            raise ValueError(f"a relative error is at least 0 and a tick above 0 s, got {error} and {tick_s}")
        self._rate_at, self._error, self._rng, self._tick_s = rate_at, error, rng, tick_s

    def observe(self, at_s: float, rate_bps: float) -> None:
        """Nothing is learned."""

    def predict(self, at_s: float) -> float:
        return self._with_error(self._rate_at(at_s))

    def course(self, from_s: float, until_s: float) -> tuple[list[float], list[float]]:
        """From tick to tick (`airloom.radio.forecast.course`)."""
        tick_s = self._tick_s
        first = math.floor(from_s / tick_s + 1e-9)
        last = max(first, math.ceil(until_s / tick_s - 1e-9) - 1)
        starts = [from_s, *(k * tick_s for k in range(first + 1, last + 1))]
        # In the middle of a tick no rounding decides which one it is.
        rates = [self._with_error(self._rate_at((k + 0.5) * tick_s)) for k in range(first, last + 1)]
        return starts, rates

    def _with_error(self, rate: float) -> float:
        return rate if self._error == 0.0 else max(0.0, rate * (1.0 + self._error * float(self._rng.standard_normal())))
