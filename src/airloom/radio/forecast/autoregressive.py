"""A forecast by autoregression, its coefficients learned as rates come: recursive least squares.

Rates are put on ticks (the mean of a tick's observations; a tick without any holds the last rate and teaches
nothing), as logarithms unless told otherwise. From

    y[t] = b + a[1] y[t-1] + ... + a[p] y[t-p] + e

the coefficients follow with a forgetting factor (Haykin, Adaptive Filter Theory, ch. 10), beginning at last
value: a[1] = 1. Several ticks ahead the equation is applied to its own output, each step put between the
extremes that were observed.
"""

from __future__ import annotations

import math

import numpy as np

from airloom.radio.forecast.forecaster import Observed, Positive

_MOST_STEPS = 256  # further ahead than this a forecast no longer moves


class Autoregressive:
    """Autoregression of order `order` on ticks of `tick_s`.

    Args:
        order: ticks that the next one depends on, 1 to 16.
        forget: what a tick weighs after another one, 0.5 to 1.
        log: whether to work on the logarithm of rates.
    """

    def __init__(
        self, first_bps: float, *, tick_s: float = 0.05, order: int = 3, forget: float = 0.995, log: bool = True
    ) -> None:
        if not (tick_s > 0 and 1 <= order <= 16 and 0.5 <= forget <= 1.0):
            raise ValueError(f"ticks above 0 s, order 1..16, forgetting 0.5..1: got {tick_s}, {order}, {forget}")
        self._tick_s, self._order, self._forget, self._log = tick_s, order, forget, log
        self._seen = Observed(first_bps)
        self._zero: float | None = None  # rates are counted from the first one, for the numbers' sake
        self._tick = 0
        self._sum, self._count = 0.0, 0
        self._past = np.zeros(order)  # the newest first
        self._known = 0
        self._weights = np.zeros(order + 1)
        self._weights[1] = 1.0
        self._spread = np.diag([0.1] + [1.0] * order)

    def observe(self, at_s: float, rate_bps: float) -> None:
        self._seen.add(at_s, rate_bps)
        y, tick = self._of_rate(rate_bps), self._tick_at(at_s)
        if self._zero is None:
            self._zero, self._tick = y, tick
        if tick > self._tick:
            self._close(tick - self._tick)
            self._tick = tick
        self._sum, self._count = self._sum + y - self._zero, self._count + 1

    def predict(self, at_s: float) -> float:
        if self._zero is None:
            return self._seen.rate_bps
        past = self._past
        if self._count:  # the tick that is still open stands at its mean so far
            past = np.concatenate(([self._sum / self._count], past[:-1]))
        steps = min(max(0, self._tick_at(at_s) - self._tick), _MOST_STEPS)
        low = self._of_rate(self._seen.least_bps) - self._zero
        high = self._of_rate(self._seen.most_bps) - self._zero
        bias, weights, values = float(self._weights[0]), self._weights[1:].tolist(), past.tolist()
        for _ in range(steps):
            y = bias + sum(a * value for a, value in zip(weights, values, strict=True))
            y = min(max(y, low), high)
            if y == values[0] and all(value == y for value in values):
                break
            values = [y, *values[:-1]]
        return self._seen.bounded(self._to_rate(values[0] + self._zero))

    def _tick_at(self, at_s: float) -> int:
        return math.floor(at_s / self._tick_s + 1e-9)

    def _of_rate(self, rate_bps: float) -> float:
        return Positive.log(rate_bps) if self._log else rate_bps / 1e6

    def _to_rate(self, y: float) -> float:
        return Positive.rate(y) if self._log else max(0.0, y * 1e6)

    def _close(self, ticks: int) -> None:
        """The open tick is over, and `ticks - 1` more without an observation."""
        y = self._sum / self._count if self._count else float(self._past[0])
        if self._known >= self._order and self._count:
            self._learn(y)
        self._sum, self._count = 0.0, 0
        held = min(ticks, self._order)
        if self._known == 0:
            self._past[:] = y
        else:
            self._past = np.concatenate((np.full(held, y), self._past[:-held]))
        self._known = min(self._order, self._known + ticks)

    def _learn(self, y: float) -> None:
        inputs = np.concatenate(([1.0], self._past))
        spread = self._spread @ inputs
        scale = self._forget + float(inputs @ spread)
        self._weights = self._weights + spread / scale * (y - float(self._weights @ inputs))
        self._spread = (self._spread - np.outer(spread, spread) / scale) / self._forget
        # Where the link stands still nothing is learned, and what is forgotten would grow without end.
        if float(np.trace(self._spread)) > 1e3:
            self._spread *= 1e3 / float(np.trace(self._spread))
