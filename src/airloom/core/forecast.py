"""How hosts look ahead: the method that forecasts a link's rate, and when its forecast is used."""

from __future__ import annotations

from typing import Any, Literal, get_args

from airloom import units
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

    @property
    def text(self) -> str:
        """What `parse_forecast` reads it from."""
        given = [
            f"{key}={value!r}{' s' if is_time else ''}"
            for key, (name, is_time) in _SETTINGS.items()
            if (value := getattr(self, name)) is not None and value != getattr(_USUAL, name)
        ]
        return ",".join((self.method, f"when={self.when}", *given, *(("trend",) if self.trend else ())))

    def __post_init__(self) -> None:
        for name, low, high in (
            ("coherence_s", 0.0, 3600.0), ("gaps", 1, 4096), ("tau_s", 1e-6, 3600.0), ("tick_s", 1e-6, 3600.0),
            ("order", 1, 16), ("forget", 0.5, 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} of a forecast is from {low:g} to {high:g}, got {value:g}", where="forecast")


_USUAL = ForecastPolicy()
#: What may follow a method's name: the field, and whether it is a time.
_SETTINGS: dict[str, tuple[str, bool]] = {
    "coherence": ("coherence_s", True), "gaps": ("gaps", False), "tau": ("tau_s", True), "tick": ("tick_s", True),
    "order": ("order", False), "forget": ("forget", False),
}  # fmt: skip


def parse_forecast(text: str, *, where: str = "--forecast") -> ForecastPolicy:
    """`ewma`, `kalman,trend` or `autoregressive,tick=50ms,when=within,coherence=50ms`.

    Raises:
        ConfigError: no such method or setting, or a setting out of range.
    """
    method, *rest = (part.strip() for part in text.split(","))
    given: dict[str, Any] = {"method": _one_of(method, METHODS, "method", where)}
    for part in rest:
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if key == "trend" and not sign:
            given["trend"] = True
        elif key == "when" and sign:
            given["when"] = _one_of(value, WHENS, "rule", where)
        elif key in _SETTINGS and sign:
            name, is_time = _SETTINGS[key]
            number = units.parse_seconds(value, where=where) if is_time else units.parse_number(value, where=where)
            whole = isinstance(getattr(_USUAL, name), int)
            if whole and number != int(number):
                raise ConfigError(f"{key} of a forecast is a whole number, got {value}", where=where)
            given[name] = int(number) if whole else number
        else:
            known = ", ".join((*(f"{key}=" for key in _SETTINGS), "when=", "trend"))
            raise ConfigError(f"no setting {part!r} of a forecast: there are {known}", where=where)
    try:
        return ForecastPolicy(**given)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("forecast: "), where=where) from None


def _one_of(text: str, names: tuple[str, ...], what: str, where: str) -> str:
    if text not in names:
        raise ConfigError(f"no {what} {text!r} of a forecast: there are {', '.join(names)}", where=where)
    return text
