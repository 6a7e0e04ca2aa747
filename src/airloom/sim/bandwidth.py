"""What links left to a UE over a simulation: mean and deviation, gathered as the ticks go by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airloom.sim.rates import Rates

_TOGETHER = 64


class Metered:
    """The rates of `source`, summed up as they are read; ticks in which a link is down do not count for it."""

    def __init__(self, source: Rates) -> None:
        self._source = source
        self.links = source.links
        self.period_s = source.period_s
        # Ticks are summed up many at a time: one by one that took as long as playing them.
        self._read = np.zeros((_TOGETHER, len(source.links)))
        self._held = 0
        self._ticks = np.zeros(len(source.links))
        self._mean = np.zeros(len(source.links))
        self._squares = np.zeros(len(source.links))

    def rates(self, tick: int) -> NDArray[np.float64]:
        rates = self._source.rates(tick)
        self._read[self._held] = rates
        self._held += 1
        if self._held == _TOGETHER:
            self._sum_up()
        return rates

    def _sum_up(self) -> None:
        """Means and squared deviations of the ticks held join those before (Chan, Golub and LeVeque, 1979)."""
        rates, self._held = self._read[: self._held], 0
        up = rates > 0.0
        ticks = up.sum(axis=0)
        mean = rates.sum(axis=0) / np.maximum(ticks, 1)
        squares = (np.where(up, rates - mean, 0.0) ** 2).sum(axis=0)
        whole = np.maximum(self._ticks + ticks, 1.0)
        apart = mean - self._mean
        self._squares += squares + apart**2 * self._ticks * ticks / whole
        self._mean += apart * ticks / whole
        self._ticks += ticks

    def bandwidth(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By link, mean and standard deviation of its rate in bit/s while it was up; without those that never were."""
        self._sum_up()
        return {
            link: (float(self._mean[k]), float(np.sqrt(self._squares[k] / self._ticks[k])))
            for k, link in enumerate(self.links)
            if self._ticks[k]
        }
