"""Which configuration of a progressive model to send, and by which steps it arrives.

Source: Ayed et al., "Accordion", "Practical Implementation": Step 2 (a look-up table of configurations, the link's
throughput and the deadline say what to send) and Step 5 (the same table says what to add to what is there).

A transfer takes `overhead_s + 8 * nbytes / rate_bps` seconds, where chunks are asked for one by one `chunk_s` more for
each, and nothing where nothing lacks. Where the accuracy of
configurations was not measured, the larger is taken as the better; `Choice.note` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import Configuration, Manifest
from airloom.core.value import Value
from airloom.errors import ConfigError, Infeasible
from airloom.planner.lookup import Lookup, lookup
from airloom.planner.upgrades import arrival, runnable, upgrade_path
from airloom.units import format_bytes, format_joules, format_percent, format_seconds

__all__ = [
    "Choice", "Demand", "Lookup", "NoConfiguration", "arrival", "choose", "runnable", "transfer_s", "upgrade_path",
]  # fmt: skip

# Limits hold to one part in a thousand million: 8 * 6 MB / 240 Mbit/s is 0.2 s.
_EPSILON = 1e-9

_POSITIVE = ("rate_bps", "latency_factor")
_NOT_NEGATIVE = (
    "deadline_s", "overhead_s", "chunk_s", "max_nbytes", "max_macs", "max_latency_s", "max_joules", "joules_per_mac",
    "watts",
)  # fmt: skip


class Demand(Value, frozen=True):
    """What a UE asks for (Step 1); all that is None does not limit.

    Attributes:
        deadline_s: the last byte is there within; needs `rate_bps`.
        rate_bps: of the link, bit/s.
        overhead_s: before the first byte comes: round trips, what the server takes.
        chunk_s: for each chunk, where each is asked for by itself: a round trip.
        accuracy: at least this, 0 to 1; then the fewest bytes are sent that give it.
        max_nbytes: to send now, over what is there already.
        max_macs: of one answer.
        max_latency_s: of one answer, on the UE.
        latency_factor: how many times as long as the manifest's device the UE takes.
        max_joules: of one answer: `joules_per_mac * macs + watts * latency_s * latency_factor`.
        joules_per_mac, watts: of that model; at least one of them where `max_joules` is given.
        have: indices of the chunks that the UE holds.
    """

    deadline_s: float | None = None
    rate_bps: float | None = None
    overhead_s: float = 0.0
    chunk_s: float = 0.0
    accuracy: float | None = None
    max_nbytes: int | None = None
    max_macs: int | None = None
    max_latency_s: float | None = None
    latency_factor: float = 1.0
    max_joules: float | None = None
    joules_per_mac: float | None = None
    watts: float | None = None
    have: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in (*_POSITIVE, *_NOT_NEGATIVE, "accuracy"):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise ConfigError(f"{name} is a finite number, got {value}")
            if value < 0 or (value == 0 and name in _POSITIVE):
                raise ConfigError(f"{name} is {'above' if name in _POSITIVE else 'at least'} 0, got {value}")
        if self.accuracy is not None and self.accuracy > 1:
            raise ConfigError(f"accuracy lies in [0, 1], got {self.accuracy}: write 90 % as 0.9")
        if self.max_joules is not None and self.joules_per_mac is None and self.watts is None:
            raise ConfigError("max_joules needs joules_per_mac or watts: what an answer costs follows from them")


class Choice(Value, frozen=True):
    """What to send.

    Attributes:
        chunks: indices that lack, in order of arrival.
        nbytes: of those chunks.
        expected_s: until the last byte is there; None where no rate is known.
        decided_by: the limit that kept a better configuration away, a name of `Demand`'s; "" where none did.
        note: what the choice rests on, where that is less than a measurement; "" else.
    """

    configuration: Configuration
    chunks: tuple[int, ...]
    nbytes: int
    expected_s: float | None
    decided_by: str = ""
    note: str = ""


class NoConfiguration(Infeasible):
    """No configuration meets a demand.

    Attributes:
        nearest: that which comes nearest, None where the table cannot say.
    """

    def __init__(self, message: str, *, nearest: Configuration | None = None) -> None:
        self.nearest = nearest
        super().__init__(message)


def choose(manifest: Manifest | Lookup, demand: Demand) -> Choice:
    """The most accurate configuration within all limits; of equals, that with the fewest bytes to send.

    With `demand.accuracy`, the configuration within all limits that needs the fewest bytes to be as accurate.

    Args:
        manifest: or its `Lookup`, which saves working it out again.

    Raises:
        NoConfiguration: none is within the limits; the line names the nearest and what it lacks.
        ConfigError: the demand asks what the manifest cannot know, or `have` names a chunk that is not.
    """
    table = lookup(manifest)
    nbytes = table.needs @ (table.lacking(demand.have) * table.chunk_nbytes)
    counts = table.needs @ table.lacking(demand.have)
    limits = _limits(table, demand, nbytes, counts)
    inside = np.ones(len(nbytes), bool)
    for limit in limits:
        inside &= limit.met
    if not inside.any():
        raise _none_within(table, limits)
    ranks = _ranks(table, nbytes)
    if demand.accuracy is None:
        row = int(np.flatnonzero(inside)[np.argmax(ranks[inside])])
        decided_by = _decided_by(table, limits, ranks, row)
    else:
        if not table.measured.any():
            raise ConfigError(f"nobody measured how accurate {table.manifest.model} is: ask for a deadline or a size")
        enough = inside & table.measured & ~(np.nan_to_num(table.accuracy) < demand.accuracy - _EPSILON)
        if not enough.any():
            raise _not_accurate(table, limits, demand.accuracy, inside, ranks)
        rows = np.flatnonzero(enough)
        row = int(rows[np.lexsort((-ranks[rows], table.macs[rows], nbytes[rows]))[0]])
        decided_by = "accuracy"
    configuration = table.manifest.configurations[row]
    chunks = tuple(k for k in table.needed[row] if k not in demand.have)
    return Choice(
        configuration=configuration,
        chunks=chunks,
        nbytes=int(nbytes[row]),
        expected_s=transfer_s(int(nbytes[row]), demand, chunks=len(chunks)),
        decided_by=decided_by,
        note=""
        if table.measured[row]
        else f"nobody measured how accurate {configuration.name} is: larger passes for better",
    )


def transfer_s(nbytes: int, demand: Demand, *, chunks: int = 0) -> float | None:
    """Seconds until `nbytes` in so many chunks are there; None without a rate."""
    if nbytes == 0:
        return 0.0
    if demand.rate_bps is None:
        return None
    return demand.overhead_s + chunks * demand.chunk_s + 8.0 * nbytes / demand.rate_bps


class _Limit(NamedTuple):
    """One limit over all rows: [n] what they take, and whether that is within."""

    name: str
    values: NDArray[np.float64]
    bound: float
    text: Callable[[float], str]

    @property
    def met(self) -> NDArray[np.bool_]:
        return self.values <= self.bound * (1 + _EPSILON)

    def excess(self) -> NDArray[np.float64]:
        """[n] how many times over the bound; 0 within."""
        over = self.values / self.bound if self.bound > 0 else np.where(self.values > 0, np.inf, 0.0)
        return np.where(self.met, 0.0, over)


def _limits(table: Lookup, demand: Demand, nbytes: NDArray[np.float64], counts: NDArray[np.float64]) -> list[_Limit]:
    limits = []
    latency = np.where(np.isnan(table.latency_s), np.inf, table.latency_s) * demand.latency_factor
    if demand.deadline_s is not None:
        if demand.rate_bps is None:
            raise ConfigError("deadline_s needs rate_bps: how many bytes arrive in time follows from it")
        seconds = demand.overhead_s + counts * demand.chunk_s + 8.0 * nbytes / demand.rate_bps
        seconds = np.where(nbytes > 0, seconds, 0.0)
        limits.append(_Limit("deadline_s", seconds, demand.deadline_s, format_seconds))
    if demand.max_nbytes is not None:
        limits.append(_Limit("max_nbytes", nbytes, demand.max_nbytes, format_bytes))
    if demand.max_macs is not None:
        _counted(table)
        limits.append(_Limit("max_macs", table.macs, demand.max_macs, lambda macs: f"{macs:,.0f} MACs"))
    if demand.max_latency_s is not None:
        _timed(table)
        limits.append(_Limit("max_latency_s", latency, demand.max_latency_s, format_seconds))
    if demand.max_joules is not None:
        joules = np.zeros(len(nbytes))
        if demand.joules_per_mac:
            _counted(table)
            joules += demand.joules_per_mac * table.macs
        if demand.watts:
            _timed(table)
            joules += demand.watts * latency
        limits.append(_Limit("max_joules", joules, demand.max_joules, format_joules))
    return limits


def _counted(table: Lookup) -> None:
    if not table.macs.any():
        raise ConfigError(f"nobody counted the MACs of {table.manifest.model}: ask for a size or a latency")


def _timed(table: Lookup) -> None:
    if np.isnan(table.latency_s).all():
        raise ConfigError(f"nobody measured how long {table.manifest.model} takes: ask for a size or for MACs")


def _ranks(table: Lookup, nbytes: NDArray[np.float64]) -> NDArray[np.intp]:
    """[n] the higher the better: accuracy, then size where nobody measured it, then fewer bytes, then fewer MACs."""
    larger = np.where(table.measured, 0.0, table.nbytes)
    order = np.lexsort((-table.macs, -nbytes, larger, ~table.measured, table.worth))
    ranks = np.empty(len(order), np.intp)
    ranks[order] = np.arange(len(order))
    return ranks


def _decided_by(table: Lookup, limits: list[_Limit], ranks: NDArray[np.intp], row: int) -> str:
    """The limit that kept the next better configuration away."""
    better = np.flatnonzero((ranks > ranks[row]) & ~_equal(table, row))
    if not len(better):
        return ""
    following = better[np.argmin(ranks[better])]
    return next(limit.name for limit in limits if not limit.met[following])


def _equal(table: Lookup, row: int) -> NDArray[np.bool_]:
    """[n] whether as good as `row`, bytes and MACs apart."""
    same: NDArray[np.bool_] = (table.worth == table.worth[row]) & (table.measured == table.measured[row])
    return same if table.measured[row] else same & (table.nbytes == table.nbytes[row])


def _none_within(table: Lookup, limits: list[_Limit]) -> NoConfiguration:
    worst = np.max([limit.excess() for limit in limits], axis=0)
    row = int(np.lexsort((table.nbytes, worst))[0])
    nearest = table.manifest.configurations[row]
    return NoConfiguration(
        f"no configuration of {table.manifest.model} is within the limits: the nearest, {nearest.name}, "
        f"{_over(limits, row)}",
        nearest=nearest,
    )


def _not_accurate(
    table: Lookup, limits: list[_Limit], accuracy: float, inside: NDArray[np.bool_], ranks: NDArray[np.intp]
) -> NoConfiguration:
    wanted = f"no configuration of {table.manifest.model} is {format_percent(accuracy)} accurate"
    rows = np.flatnonzero(inside & table.measured)
    if not len(rows):
        return NoConfiguration(f"{wanted} within the limits, of which any that is was measured")
    row = int(rows[np.argmax(ranks[rows])])
    nearest = table.manifest.configurations[row]
    line = f"{wanted}{' within the limits' if limits else ''}: the nearest, {nearest.name}, is "
    line += format_percent(float(table.accuracy[row]))
    enough = np.flatnonzero(table.measured & ~(np.nan_to_num(table.accuracy) < accuracy - _EPSILON))
    if len(enough):
        other = int(enough[np.argmin(table.nbytes[enough])])
        line += f"; {table.manifest.configurations[other].name} would be, but {_over(limits, other)}"
    return NoConfiguration(line, nearest=nearest)


def _over(limits: list[_Limit], row: int) -> str:
    limit = max(limits, key=lambda limit: float(limit.excess()[row]))
    value = float(limit.values[row])
    if not math.isfinite(value):
        return "was never timed"
    return f"takes {limit.text(value)} ({limit.name} is {limit.text(limit.bound)})"
