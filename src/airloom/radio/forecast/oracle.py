"""The truth with an error of a given size, for experiments that ask how good a forecast must be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


class Oracle:
    """The rate that a link will have, times 1 + error * N(0, 1), at least 0 (HiveMind VII-C3).

    The error is drawn for each call. It is bounded by nothing but 0: an oracle learns nothing.

    Args:
        rate_at: bit/s of the link at a moment.
        error: relative standard deviation.
    """

    def __init__(self, rate_at: Callable[[float], float], error: float, rng: np.random.Generator) -> None:
        if not 0 <= error < math.inf:
            raise ValueError(f"a relative error is at least 0, got {error}")
        self._rate_at, self._error, self._rng = rate_at, error, rng

    def observe(self, at_s: float, rate_bps: float) -> None:
        """Nothing is learned."""

    def predict(self, at_s: float) -> float:
        rate = self._rate_at(at_s)
        return rate if self._error == 0.0 else max(0.0, rate * (1.0 + self._error * float(self._rng.standard_normal())))
