"""What links left to a UE over a simulation: mean and deviation, gathered as the ticks go by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airloom.sim.rates import Rates


class Metered:
    """The rates of `source`, summed up as they are read; ticks in which a link is down do not count for it."""

    def __init__(self, source: Rates) -> None:
        self._source = source
        self.links = source.links
        self.period_s = source.period_s
        self._ticks = np.zeros(len(source.links))
        self._mean = np.zeros(len(source.links))
        self._squares = np.zeros(len(source.links))

    def rates(self, tick: int) -> NDArray[np.float64]:
        rates = self._source.rates(tick)
        up = rates > 0.0
        self._ticks += up
        off = np.where(up, rates - self._mean, 0.0)
        self._mean += off / np.maximum(self._ticks, 1.0)
        self._squares += off * np.where(up, rates - self._mean, 0.0)
        return rates

    def bandwidth(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By link, mean and standard deviation of its rate in bit/s while it was up; without those that never were."""
        return {
            link: (float(self._mean[k]), float(np.sqrt(self._squares[k] / self._ticks[k])))
            for k, link in enumerate(self.links)
            if self._ticks[k]
        }
