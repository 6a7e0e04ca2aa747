"""The methods of forecasting by name."""

from __future__ import annotations

from collections.abc import Callable

from airloom.core.forecast import ForecastPolicy
from airloom.radio.forecast.autoregressive import Autoregressive
from airloom.radio.forecast.forecaster import Forecaster
from airloom.radio.forecast.kalman import Kalman
from airloom.radio.forecast.simple import Ewma, LastValue

METHODS: dict[str, Callable[[ForecastPolicy, float], Forecaster]] = {
    "last": lambda policy, first_bps: LastValue(first_bps),
    "ewma": lambda policy, first_bps: Ewma(first_bps, tau_s=policy.tau_s),
    "autoregressive": lambda policy, first_bps: Autoregressive(
        first_bps, tick_s=policy.tick_s, order=policy.order, forget=policy.forget
    ),
    "kalman": lambda policy, first_bps: Kalman(first_bps, trend=policy.trend),
}


def forecaster(policy: ForecastPolicy, first_bps: float) -> Forecaster:
    """A new forecaster for one link, which expects `first_bps` until it has observed something."""
    return METHODS[policy.method](policy, first_bps)
