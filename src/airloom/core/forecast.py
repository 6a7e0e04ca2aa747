"""How hosts look ahead: the method that forecasts a link's rate, and when its forecast is used."""

from __future__ import annotations

from typing import Literal, get_args

from airloom.core.value import Value
from airloom.errors import ConfigError

Method = Literal["last", "ewma", "autoregressive", "kalman"]
#: Against the link's coherence time, when a look-ahead is worth a forecast.
When = Literal["beyond", "within", "always"]
METHODS: tuple[Method, ...] = get_args(Method)
WHENS: tuple[When, ...] = get_args(When)


class ForecastPolicy(Value, frozen=True):
    """A forecast of links' rates for the moment at which a task will use them.

    Attributes:
        method: name of the forecaster (`radio.forecast`).
        when: "beyond" forecasts where the look-ahead reaches the link's coherence time, as before it the
            last value still holds (HiveMind IV-F); "within" where it does not, as beyond it nothing can be
            known (the other reading, that of VII-C2's result); "always" does not ask.
        coherence_s: of every link; None estimates it from the measurements of each.
        gaps: how many of a host's last gaps between speaking and sending make its look-ahead.
        tau_s: time constant of "ewma".
        tick_s, order, forget: of "autoregressive".
        trend: whether "kalman" has a slope beside the level.
    """

    method: Method = "last"
    when: When = "beyond"
    coherence_s: float | None = None
    gaps: int = 16
    tau_s: float = 0.2
    tick_s: float = 0.05
    order: int = 3
    forget: float = 0.995
    trend: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("coherence_s", 0.0, 3600.0), ("gaps", 1, 4096), ("tau_s", 1e-6, 3600.0), ("tick_s", 1e-6, 3600.0),
            ("order", 1, 16), ("forget", 0.5, 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} of a forecast is from {low:g} to {high:g}, got {value:g}", where="forecast")
