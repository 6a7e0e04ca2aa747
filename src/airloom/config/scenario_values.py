"""The values that the parts of a scenario file stand for: radios, other users, tasks, forecasts and the like."""

from __future__ import annotations

import msgspec

from airloom import units
from airloom.config.scenario_entries import (
    BackgroundEntry,
    CoherenceEntry,
    ForecastEntry,
    HandoverEntry,
    RadioEntry,
    TasksEntry,
)
from airloom.config.strict_yaml import Quantity
from airloom.core.forecast import METHODS, WHENS
from airloom.core.scenario import Antenna, Background, Coherence, Forecast, Handover, TaskKind, Tasks
from airloom.errors import ConfigError

_DAY_H = 24.0


def antenna(entry: RadioEntry, place: str) -> Antenna:
    """A radio; ConfigError names the key that is missing or out of range."""
    from airloom.radio.cell.throughput import throughput

    for key in ("carrier", "bandwidth"):
        if getattr(entry, key) is None:
            raise ConfigError(f"`{key}` is missing: give it here or in `cell: {{radio: ...}}`", where=place)
    figures: dict[str, float] = {}
    for name, key, read in (
        ("eirp_dbm", "eirp", units.parse_dbm),
        ("noise_figure_db", "noise_figure", units.parse_decibels),
        ("gain_dbi", "gain", units.parse_dbi),
        ("loss_db", "loss", units.parse_decibels),
        ("min_snr_db", "min_snr", units.parse_decibels),
        ("shadowing_db", "shadowing", units.parse_decibels),
        ("shadowing_m", "shadowing_distance", units.parse_metres),
    ):
        if (value := getattr(entry, key)) is not None:
            figures[name] = read(value, where=f"{place}.{key}")
    for name in ("noise_figure_db", "shadowing_db"):
        if figures.get(name, 0.0) < 0.0:
            raise ConfigError(f"cannot be negative, got {figures[name]:g} dB", where=f"{place}.{name[:-3]}")
    if figures.get("shadowing_m", 1.0) <= 0.0:
        raise ConfigError("a distance must be above 0 m", where=f"{place}.shadowing_distance")
    whole: dict[str, int] = {}
    if entry.scs is not None:
        whole["scs_khz"] = round(units.parse_hertz(entry.scs, where=f"{place}.scs") / 1e3)
    if entry.layers is not None:
        whole["mimo_layers"] = _within(entry.layers, 1, 4, "MIMO layers", f"{place}.layers")
    if entry.mcs_table is not None:
        whole["mcs_table"] = _within(entry.mcs_table, 1, 3, "MCS tables", f"{place}.mcs_table")
    made = Antenna(
        carrier_hz=units.parse_hertz(entry.carrier or 0, where=f"{place}.carrier"),
        bandwidth_hz=units.parse_hertz(entry.bandwidth or 0, where=f"{place}.bandwidth"),
    )
    made = msgspec.structs.replace(made, **figures, **whole)
    try:
        throughput(made)
    except ValueError as error:
        raise ConfigError(str(error), where=f"{place}.bandwidth") from None
    return made


def background(entry: BackgroundEntry, place: str) -> Background:
    """Other users; ConfigError names the key that is out of range."""
    default = Background()
    made = Background(
        users=_least(entry.users, 0.0, f"{place}.users", default.users),
        presence=default.presence
        if entry.presence is None
        else units.parse_probability(entry.presence, where=f"{place}.presence"),
        stay_s=default.stay_s if entry.stay is None else units.parse_seconds(entry.stay, where=f"{place}.stay"),
        rate_bps=0.0 if not entry.rate else units.parse_rate(entry.rate, where=f"{place}.rate"),
        rate_spread=_least(entry.spread, 0.0, f"{place}.spread", default.rate_spread),
        swing=_least(entry.swing, 0.0, f"{place}.swing", default.swing),
        swing_s=default.swing_s
        if entry.swing_time is None
        else units.parse_seconds(entry.swing_time, where=f"{place}.swing_time"),
        peak_hour=default.peak_hour if entry.peak is None else hour(entry.peak, f"{place}.peak"),
        trough=0.0 if entry.trough is None else units.parse_probability(entry.trough, where=f"{place}.trough"),
        source=entry.source or "",
    )
    if made.users > 0.0 and made.rate_bps == 0.0:
        raise ConfigError("users without a `rate` want nothing: give it, or leave `users` out", where=place)
    if made.presence == 0.0:
        raise ConfigError("users who are never there: leave `users` out", where=f"{place}.presence")
    if made.stay_s <= 0.0:
        raise ConfigError("users stay for more than 0 s", where=f"{place}.stay")
    if made.users / made.presence > 10_000:
        raise ConfigError(f"at most 10000 other users of a link, got {made.users:g}", where=f"{place}.users")
    return made


def hour(value: Quantity, place: str) -> float:
    """A time of day, `18.5 h`, in hours."""
    found = units.parse_seconds(value, where=place) / 3600.0
    if found > _DAY_H:
        raise ConfigError(f"a day has 24 h, got {value!r}", where=place)
    return found


def handover(entry: HandoverEntry, place: str) -> Handover:
    hysteresis = units.parse_decibels(entry.hysteresis, where=f"{place}.hysteresis")
    if hysteresis < 0.0:
        raise ConfigError(f"a hysteresis cannot be negative, got {entry.hysteresis!r}", where=f"{place}.hysteresis")
    return Handover(
        hysteresis_db=hysteresis,
        time_to_trigger_s=units.parse_seconds(entry.time_to_trigger, where=f"{place}.time_to_trigger"),
        interruption_s=units.parse_seconds(entry.interruption, where=f"{place}.interruption"),
    )


def coherence(entry: Quantity | CoherenceEntry, place: str) -> Coherence:
    """One time for all kinds of links, or one for each; all multiples of the shortest."""
    if not isinstance(entry, CoherenceEntry):
        entry = CoherenceEntry(access=entry, backhaul=entry, wired=entry)
    times = {}
    for kind in ("access", "backhaul", "wired"):
        times[kind] = units.parse_seconds(getattr(entry, kind), where=f"{place}.{kind}")
        if not 1e-3 <= times[kind] <= 60.0:
            raise ConfigError(
                f"a coherence time is from 1 ms to 60 s, got {getattr(entry, kind)!r}", where=f"{place}.{kind}"
            )
    least = min(times.values())
    for kind, time_s in times.items():
        if abs(time_s / least - round(time_s / least)) > 1e-6:
            raise ConfigError(
                f"must be a multiple of the shortest, {units.format_seconds(least)}: got {getattr(entry, kind)!r}",
                where=f"{place}.{kind}",
            )
    return Coherence(access_s=times["access"], backhaul_s=times["backhaul"], wired_s=times["wired"])


def tasks(entry: TasksEntry, *, deadline_s: float, count: int | None, place: str) -> Tasks:
    said = [key for key in ("every", "poisson", "back_to_back") if getattr(entry, key)]
    if len(said) > 1:
        raise ConfigError(f"`{said[0]}` and `{said[1]}` say the same thing: keep one of them", where=place)
    default = Tasks()
    kind: TaskKind = "back-to-back" if entry.back_to_back else "poisson" if entry.poisson is not None else "every"
    every_s = default.every_s
    value = entry.poisson if entry.poisson is not None else entry.every
    if value is not None:
        where = f"{place}.{'poisson' if entry.poisson is not None else 'every'}"
        every_s = units.parse_seconds(value, where=where)
        if every_s == 0.0:
            raise ConfigError("no time between tasks: write `back_to_back: true`", where=where)
    return Tasks(kind=kind, every_s=every_s, deadline_s=deadline_s, count=count)


def forecast(entry: str | ForecastEntry, place: str) -> Forecast:
    if isinstance(entry, str):
        entry = ForecastEntry(method=entry)
    methods = (*METHODS, "perfect")
    if entry.method and entry.method not in methods:
        raise ConfigError(f"no forecast {entry.method!r}: there are {', '.join(methods)}", where=place)
    if entry.past < 1:
        raise ConfigError(f"at least one past gap, got {entry.past}", where=f"{place}.past")
    when = next((known for known in WHENS if known == entry.when), None)
    if entry.when is not None and when is None:
        raise ConfigError(f"no rule {entry.when!r}: there are {', '.join(WHENS)}", where=f"{place}.when")
    said: dict[str, float] = {}
    for key, name in (("coherence", "coherence_s"), ("tau", "tau_s"), ("tick", "tick_s")):
        if (value := getattr(entry, key)) is not None:
            said[name] = units.parse_seconds(value, where=f"{place}.{key}")
    if entry.forget is not None:
        said["forget"] = units.parse_probability(entry.forget, where=f"{place}.forget")
    made = Forecast(
        method=entry.method,
        past=entry.past,
        error=units.parse_probability(entry.error, where=f"{place}.error"),
        when=when,
        trend=entry.trend,
    )
    made = msgspec.structs.replace(made, **said, **({} if entry.order is None else {"order": entry.order}))
    try:
        _ = made.policy
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("forecast: "), where=place) from None
    return made


def point(pair: tuple[Quantity, Quantity], place: str) -> tuple[float, float]:
    """A place on the plane, in metres."""
    return units.parse_metres(pair[0], where=place), units.parse_metres(pair[1], where=place)


def _within(value: int, low: int, high: int, what: str, place: str) -> int:
    if not low <= value <= high:
        raise ConfigError(f"{what} are {low} to {high}, got {value}", where=place)
    return value


def _least(value: Quantity | None, least: float, place: str, default: float) -> float:
    number = default if value is None else units.parse_number(value, where=place)
    if number < least:
        raise ConfigError(f"must be at least {least:g}, got {value!r}", where=place)
    return number
