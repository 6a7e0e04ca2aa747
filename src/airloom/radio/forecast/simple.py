"""Two forecasts without a model: what was last seen, and what was seen lately."""

from __future__ import annotations

import math

from airloom.radio.forecast.forecaster import Observed


class LastValue:
    """The link goes on as it was last seen."""

    def __init__(self, first_bps: float) -> None:
        self._seen = Observed(first_bps)

    def observe(self, at_s: float, rate_bps: float) -> None:
        self._seen.add(at_s, rate_bps)

    def predict(self, at_s: float) -> float:
        return self._seen.rate_bps


class Ewma:
    """The exponentially weighted mean: a value that was seen `tau_s` before the last one weighs 1/e of it.

    Samples need not be regular: one that comes dt after the one before takes 1 - exp(-dt / tau) of the weight.
    """

    def __init__(self, first_bps: float, *, tau_s: float = 0.2) -> None:
        if not tau_s > 0:
            raise ValueError(f"a time constant is above 0 s, got {tau_s}")
        self._tau_s = tau_s
        self._seen = Observed(first_bps)
        self._mean_bps = first_bps

    def observe(self, at_s: float, rate_bps: float) -> None:
        first = self._seen.at_s is None
        since = self._seen.add(at_s, rate_bps)
        self._mean_bps = rate_bps if first else rate_bps + math.exp(-since / self._tau_s) * (self._mean_bps - rate_bps)

    def predict(self, at_s: float) -> float:
        return self._seen.bounded(self._mean_bps)
