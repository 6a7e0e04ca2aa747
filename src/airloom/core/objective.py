"""What a plan is to be good at: metrics to minimise, each with a weight, and bounds that it must keep.

HiveMind (section V) tells best effort from quality assurance: the first is minimised as far as it
goes, the second must stay below a threshold and is worth nothing further down.
"""

from __future__ import annotations

from typing import Literal, get_args

from airloom import units
from airloom.core.value import Value
from airloom.errors import ConfigError

#: latency in s; energy in J beyond idle, modelled from power figures; bytes on the wire, each hop
#: counted; money in the currency of the devices' prices.
Metric = Literal["latency", "energy", "bytes", "money"]
#: How several metrics become one decision (`planner.objective`).
Solver = Literal["exact", "convex", "linear"]
METRICS: tuple[Metric, ...] = get_args(Metric)
UNITS: dict[Metric, str] = {"latency": "s", "energy": "J", "bytes": "B", "money": ""}


class Term(Value, frozen=True):
    """Best effort: `weight` times the metric is minimised.

    Attributes:
        weight: per s, J, byte or unit of money; weights of several terms set their rate of exchange.
        devices: ids or roles whose share counts (a link's share is its sender's and, of energy, its
            receiver's); empty counts all. Of latency all counts.
    """

    metric: Metric
    weight: float = 1.0
    devices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return named(self.metric, self.devices)

    @property
    def text(self) -> str:
        """What `parse_term` reads back to an equal value."""
        return self.name if self.weight == 1.0 else f"{self.name}={self.weight!r}"


class Bound(Value, frozen=True):
    """Quality assurance: the metric of one request must not exceed `limit` (s, J, bytes, money)."""

    metric: Metric
    limit: float
    devices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return named(self.metric, self.devices)

    @property
    def text(self) -> str:
        """What `parse_bound` reads back to an equal value."""
        return f"{self.name}<={self.limit!r} {UNITS[self.metric]}".rstrip()


class Objective(Value, frozen=True):
    """What is minimised under which bounds, and by which solver; the least latency where nothing is said."""

    minimize: tuple[Term, ...] = (Term("latency"),)
    require: tuple[Bound, ...] = ()
    solver: Solver = "exact"

    @property
    def is_latency(self) -> bool:
        """Whether this asks for the least latency and nothing else."""
        return not self.require and all(term.metric == "latency" for term in self.minimize)


LATENCY = Objective()


def named(metric: Metric, devices: tuple[str, ...] = ()) -> str:
    """`energy`, or `energy@ue,gnb` where not all devices count."""
    return f"{metric}@{','.join(devices)}" if devices else metric


def format_amount(name: str, amount: float) -> str:
    """An amount of a metric for people, with its unit: `("energy@ue", 0.31)` -> `310 mJ`."""
    match name.partition("@")[0]:
        case "latency":
            return units.format_seconds(amount)
        case "energy":
            return units.format_joules(amount) if amount != float("inf") else "never"
        case "bytes":
            return units.format_bytes(amount) if amount != float("inf") else "never"
        case _:
            return units.format_money(amount)


def parse_term(text: str, *, where: str = "--minimize") -> Term:
    """`energy`, `energy@ue,gnb` or, with a weight, `energy=0.2`.

    Raises:
        ConfigError: no such metric, or a weight that is not above 0.
    """
    name, _, weight = text.partition("=")
    metric, devices = _metric(name, where)
    value = units.parse_number(weight.strip(), where=where) if weight.strip() else 1.0
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"a weight is above 0, got {weight.strip()!r}", where=where)
    return Term(metric=metric, weight=value, devices=devices)


def parse_bound(text: str, *, where: str = "--require") -> Bound:
    """`latency<=120ms`, `energy@ue<=0.5 J`, `bytes<=2 MiB`, `money<=0.001`.

    Raises:
        ConfigError: no such metric, no `<=`, or a limit that is no quantity of it.
    """
    name, sign, limit = text.partition("<=")
    if not sign:
        raise ConfigError(f"expected METRIC<=LIMIT, as in latency<=120ms, got {text!r}", where=where)
    metric, devices = _metric(name, where)
    limit = limit.strip()
    match metric:
        case "latency":
            value = units.parse_seconds(limit, where=where)
        case "energy":
            value = units.parse_joules(limit, where=where)
        case "bytes":
            value = float(units.parse_bytes(limit, where=where))
        case "money":
            value = units.parse_number(limit, where=where)
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"a bound is above 0 and finite, got {limit!r}", where=where)
    return Bound(metric=metric, limit=value, devices=devices)


def _metric(text: str, where: str) -> tuple[Metric, tuple[str, ...]]:
    name, place, rest = text.strip().partition("@")
    devices = tuple(device.strip() for device in rest.split(",") if device.strip())
    for metric in METRICS:
        if metric == name.strip():
            if metric == "latency" and devices:
                raise ConfigError("latency is that of the whole request: leave the devices out", where=where)
            if place and not devices:
                raise ConfigError(f"which devices or roles? write {metric}@ue, or leave the @ out", where=where)
            return metric, devices
    raise ConfigError(f"no metric {name.strip()!r}: there are {', '.join(METRICS)}", where=where)
