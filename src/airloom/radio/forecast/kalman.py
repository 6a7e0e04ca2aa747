"""A forecast by a Kalman filter on the logarithm of the rate, its noises learned as rates come.

The local level model (Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, ch. 2):
the true level walks at random, measurements scatter about it,

    y[t] = level[t] + e[t],   level[t] = level[t-1] + w[t],   var e = r,   var w = q dt.

Differences d of successive measurements then have variance q dt + 2 r and lag-one covariance -r: from running
means of d^2 and of d d' both noises follow, without an iteration. With a trend the level also has a slope that
fades (damped trend): where the lag-one covariance is positive it is the slope's variance times dt^2.
"""

from __future__ import annotations

import math

from airloom.radio.forecast.forecaster import Observed, Positive

_MEMORY = 0.98  # of the running means: about the last fifty measurements
_LEAST_NOISE = 1e-6


class Kalman:
    """Level, and with `trend` a slope that fades with `fade_s`."""

    def __init__(self, first_bps: float, *, trend: bool = False, fade_s: float = 1.0) -> None:
        if not fade_s > 0:
            raise ValueError(f"a slope fades in more than 0 s, got {fade_s}")
        self._trend, self._fade_s = trend, fade_s
        self._seen = Observed(first_bps)
        self._level, self._slope = Positive.log(max(0.0, min(first_bps, 1e18))), 0.0
        # Covariance of (level, slope).
        self._ll, self._ls, self._ss = 1.0, 0.0, 0.01 if trend else 0.0
        self._last = 0.0
        self._difference: float | None = None
        self._square, self._product, self._gap_s, self._weight = 0.0, 0.0, 0.0, 0.0

    def observe(self, at_s: float, rate_bps: float) -> None:
        first = self._seen.at_s is None
        since, y = self._seen.add(at_s, rate_bps), Positive.log(rate_bps)
        if first:
            self._level, self._slope, self._last = y, 0.0, y
            return
        self._learn(y, since)
        measurement, walk = self.noises
        turning = 2.0 * self._drift / self._fade_s if self._trend else 0.0
        # Time passes ...
        share, fade = self._share(since)
        self._level += self._slope * share
        self._ll += 2 * share * self._ls + share * share * self._ss + walk * since
        self._ls = fade * (self._ls + share * self._ss)
        self._slope *= fade
        self._ss = fade * fade * self._ss + turning * since
        # ... and the measurement is taken in.
        total = self._ll + measurement
        gain, turn, error = self._ll / total, self._ls / total, y - self._level
        self._level += gain * error
        self._slope += turn * error
        self._ss -= turn * self._ls
        self._ls -= gain * self._ls
        self._ll -= gain * self._ll

    def predict(self, at_s: float) -> float:
        if self._seen.at_s is None:
            return self._seen.rate_bps
        share, _ = self._share(self._seen.ahead_s(at_s))
        return self._seen.bounded(Positive.rate(self._level + self._slope * share))

    @property
    def noises(self) -> tuple[float, float]:
        """Variance of a measurement, and of the level's walk in a second."""
        if self._weight <= 0 or self._gap_s <= 0:
            return _LEAST_NOISE, 1.0
        square, product = self._square / self._weight, self._product / self._weight
        measurement = max(-product, _LEAST_NOISE)
        steady = max(product, 0.0) if self._trend else 0.0
        walk = max(square - 2 * measurement - steady, _LEAST_NOISE) / (self._gap_s / self._weight)
        return measurement, walk

    @property
    def _drift(self) -> float:
        """Variance of the slope, per square second."""
        if self._weight <= 0 or self._gap_s <= 0:
            return 0.0
        return max(self._product / self._weight, 0.0) / (self._gap_s / self._weight) ** 2

    def _share(self, seconds: float) -> tuple[float, float]:
        """Seconds' worth of slope in `seconds`, and what is left of it after them."""
        if not self._trend:
            return 0.0, 0.0
        fade = math.exp(-seconds / self._fade_s)
        return self._fade_s * (1.0 - fade), fade

    def _learn(self, y: float, since: float) -> None:
        difference, self._last = y - self._last, y
        if self._difference is not None:
            self._square = _MEMORY * self._square + difference * difference
            self._product = _MEMORY * self._product + difference * self._difference
            self._gap_s = _MEMORY * self._gap_s + since
            self._weight = _MEMORY * self._weight + 1.0
        self._difference = difference
