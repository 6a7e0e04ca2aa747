"""The topology file: devices and the directed links between them.

name: phone to cloud
source: ue
sink: cloud
devices:
  - {id: ue, role: ue, speed: 0.1, memory: 512 MiB, power: {busy: 3 W, send: [[1 Mbit/s, 1.2 W], [50 Mbit/s, 2.5 W]]}}
  - {id: cloud, role: cloud, price: 0.1 per hour}
links:
  - {from: ue, to: cloud, rate: 50 Mbit/s, delay: 10 ms, loss: 1 %, burst: 5 ms, both: true}

A link over 5G NR has its radio in place of rate and loss: `nr: {snr: 10 dB}` (`airloom.config.nr`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec

from airloom import units
from airloom.config.nr import NrEntry, parse_nr, with_radio
from airloom.config.rate_trace import read_rate_rows
from airloom.config.strict_yaml import Entry, Quantity, at, parse, read_text
from airloom.core.speed import UNKNOWN, speed_class, with_radio_power
from airloom.core.topology import DEVICE_ID, Device, Link, Power, Role, Topology
from airloom.errors import ConfigError

_EMPTY = "write one by hand (docs/formats.md) or start with `airloom init`"


class PowerEntry(Entry, frozen=True):
    """Power figures as people write them."""

    idle: Quantity | None = None
    busy: Quantity | None = None
    radio_per_bit: Quantity = 0
    radio: str = ""
    send: tuple[tuple[Quantity, Quantity], ...] = ()
    receive: tuple[tuple[Quantity, Quantity], ...] = ()
    source: str = ""


class DeviceEntry(Entry, frozen=True):
    """A device as people write it."""

    id: str
    role: Role
    speed: Quantity | None = None
    factor: Quantity | None = None
    speed_class: str = msgspec.field(name="class", default="")
    profile: str = ""
    memory: Quantity | None = None
    computes: bool = True
    power: PowerEntry = PowerEntry()
    price: Quantity | None = None
    address: str = ""


class _Link(Entry, frozen=True):
    src: str = msgspec.field(name="from")
    dst: str = msgspec.field(name="to")
    rate: Quantity | None = None
    delay: Quantity = 0
    overhead: Quantity = 0
    loss: Quantity = 0
    burst: Quantity = 0
    trace: str = ""
    nr: NrEntry | None = None
    both: bool = False


class TopologyEntry(Entry, frozen=True):
    """A topology as people write it."""

    source: str
    sink: str
    devices: tuple[DeviceEntry, ...]
    links: tuple[_Link, ...] = ()
    name: str = ""


def load_topology(path: Path, *, result_returns: bool = True) -> Topology:
    """Read a topology file; files that it names are taken relative to it.

    Args:
        result_returns: also require a way back from the sink.

    Raises:
        ConfigError: names the place and what to do.
    """
    return parse_topology(read_text(path), where=str(path), base=path.parent, result_returns=result_returns)


def parse_topology(text: str, *, where: str = "", base: Path = Path(), result_returns: bool = True) -> Topology:
    """YAML text as a topology; `where` names it in errors, `base` is where the files it names lie."""
    entry = parse(text, TopologyEntry, where=where, hint=_EMPTY)
    topology = build_topology(entry, place=at(where, "$"), base=base)
    check_path(topology, at(where, "$.links"), result_returns)
    return topology


def build_topology(entry: TopologyEntry, *, place: str, base: Path) -> Topology:
    """What an entry says, each part checked; not that there is a way from source to sink (`check_path`).

    Args:
        place: of the entry, for errors.
        base: where the files that it names lie.
    """
    if not entry.devices:
        raise ConfigError("no devices: list at least the source", where=f"{place}.devices")
    devices: list[Device] = []
    for i, device in enumerate(entry.devices):
        here = f"{place}.devices[{i}]"
        if device.id in {d.id for d in devices}:
            raise ConfigError(f"a second device {device.id!r}: give it another id", where=f"{here}.id")
        devices.append(build_device(device, here, base))
    known = {device.id for device in devices}
    links: list[Link] = []
    for i, link in enumerate(entry.links):
        here = f"{place}.links[{i}]"
        for key, end in (("from", link.src), ("to", link.dst)):
            if end not in known:
                raise ConfigError(_no_device(end, known), where=f"{here}.{key}")
        for built in _links(link, here, base):
            if any((built.src, built.dst) == (other.src, other.dst) for other in links):
                raise ConfigError(f"a second link {built.src}->{built.dst}: keep one of them", where=here)
            links.append(built)
    for key, end in (("source", entry.source), ("sink", entry.sink)):
        if end not in known:
            raise ConfigError(_no_device(end, known), where=f"{place}.{key}")
    return Topology(devices=tuple(devices), links=tuple(links), source=entry.source, sink=entry.sink, name=entry.name)


def _no_device(id: str, known: set[str]) -> str:
    return f"no device {id!r}: there are {', '.join(sorted(known))}"


def _positive(value: Quantity, place: str, what: str) -> float:
    number = units.parse_number(value, where=place)
    if number <= 0:
        raise ConfigError(f"{what} must be above 0, got {value!r}", where=place)
    return number


def _file(name: str, base: Path, place: str) -> str:
    """The absolute path of a file that must be there, or "" for none."""
    if not name:
        return ""
    path = (base / name).absolute()
    if not path.is_file():
        raise ConfigError(f"no file {path}: paths are relative to this file", where=place)
    return str(path)


def build_device(entry: DeviceEntry, place: str, base: Path) -> Device:
    """One entry of `devices`; `place` names it in errors, `base` is where the profile that it names lies."""
    if not DEVICE_ID.fullmatch(entry.id):
        raise ConfigError(
            f"an id has up to 64 letters, digits, `-`, `_` and `.`, got {entry.id!r}", where=f"{place}.id"
        )
    factor = 1.0
    if entry.speed is not None and entry.factor is not None:
        raise ConfigError("`speed` and `factor` say the same thing: keep one of them", where=f"{place}.speed")
    if entry.speed is not None:
        factor = 1.0 / _positive(entry.speed, f"{place}.speed", "a speed")
        if not math.isfinite(factor):
            raise ConfigError(f"a speed of {entry.speed!r} is too little", where=f"{place}.speed")
    elif entry.factor is not None:
        factor = _positive(entry.factor, f"{place}.factor", "a factor")
    known = None
    if entry.speed_class:
        known = speed_class(entry.speed_class, where=f"{place}.class")
        if entry.speed is None and entry.factor is None:
            factor = UNKNOWN
    return Device(
        id=entry.id,
        role=entry.role,
        factor=factor,
        profile=_file(entry.profile, base, f"{place}.profile"),
        memory_bytes=None if entry.memory is None else units.parse_bytes(entry.memory, where=f"{place}.memory"),
        computes=entry.computes,
        power=_power(entry.power, f"{place}.power", Power() if known is None else known.power),
        speed_class=entry.speed_class,
        price_per_s=known.price_per_s
        if entry.price is None and known is not None
        else units.parse_price(entry.price or 0, where=f"{place}.price"),
        address=entry.address,
    )


def _power(entry: PowerEntry, place: str, usual: Power) -> Power:
    """What is said, and for the rest the `usual` figures of the machine's class."""
    power = Power(
        idle_w=usual.idle_w if entry.idle is None else units.parse_watts(entry.idle, where=f"{place}.idle"),
        busy_w=usual.busy_w if entry.busy is None else units.parse_watts(entry.busy, where=f"{place}.busy"),
        radio_j_per_bit=units.parse_joules(entry.radio_per_bit, where=f"{place}.radio_per_bit"),
        send_w=_curve(entry.send, f"{place}.send"),
        receive_w=_curve(entry.receive, f"{place}.receive"),
        source=entry.source or (usual.source if entry.idle is None and entry.busy is None else ""),
    )
    if power.radio_j_per_bit and power.send_w:
        raise ConfigError("`radio_per_bit` and `send` both price what is sent: keep one of them", where=place)
    if entry.radio:
        if power.radio_j_per_bit or power.send_w or power.receive_w:
            raise ConfigError("`radio` gives the power of sending and receiving: leave the rest out", where=place)
        return with_radio_power(power, entry.radio, where=f"{place}.radio")
    return power


def _curve(entry: tuple[tuple[Quantity, Quantity], ...], place: str) -> tuple[tuple[float, float], ...]:
    """(bit/s, W), rates ascending."""
    points: list[tuple[float, float]] = []
    for i, (rate, watts) in enumerate(entry):
        point = (units.parse_rate(rate, where=f"{place}[{i}][0]"), units.parse_watts(watts, where=f"{place}[{i}][1]"))
        if points and point[0] <= points[-1][0]:
            raise ConfigError(f"rates ascend, got {rate} after {entry[i - 1][0]}", where=f"{place}[{i}][0]")
        points.append(point)
    return tuple(points)


def _links(entry: _Link, place: str, base: Path) -> tuple[Link, ...]:
    if entry.src == entry.dst:
        raise ConfigError(f"a link from {entry.src} to itself: leave it out", where=place)
    if entry.nr is not None:
        return _radio_links(entry, entry.nr, place)
    if entry.rate is None:
        raise ConfigError("`rate` is missing: give it, or the `nr` radio that it follows from", where=place)
    link = Link(
        src=entry.src,
        dst=entry.dst,
        rate_bps=math.inf if entry.rate == "unlimited" else units.parse_rate(entry.rate, where=f"{place}.rate"),
        delay_s=units.parse_seconds(entry.delay, where=f"{place}.delay"),
        overhead_s=units.parse_seconds(entry.overhead, where=f"{place}.overhead"),
        loss=units.parse_probability(entry.loss, where=f"{place}.loss"),
        burst_s=units.parse_seconds(entry.burst, where=f"{place}.burst"),
        trace=_file(entry.trace, base, f"{place}.trace"),
    )
    if link.loss == 1.0:
        raise ConfigError("a link that loses everything is none: leave it out", where=f"{place}.loss")
    if link.trace:
        if math.isinf(link.rate_bps):
            raise ConfigError("a link with a trace needs its mean rate, to plan with", where=f"{place}.rate")
        try:  # not needed before links are acted out, which is late to learn of it
            read_rate_rows(Path(link.trace))
        except ConfigError as error:
            raise ConfigError(str(error), where=f"{place}.trace") from None
    return (link, msgspec.structs.replace(link, src=link.dst, dst=link.src)) if entry.both else (link,)


def _radio_links(entry: _Link, nr: NrEntry, place: str) -> tuple[Link, ...]:
    for key, given in (("rate", entry.rate), ("loss", entry.loss), ("burst", entry.burst), ("trace", entry.trace)):
        if given:
            raise ConfigError(
                f"the {key} of a link with `nr` follows from its radio: leave it out", where=f"{place}.{key}"
            )
    link = with_radio(
        Link(
            src=entry.src,
            dst=entry.dst,
            rate_bps=math.inf,
            delay_s=units.parse_seconds(entry.delay, where=f"{place}.delay"),
            overhead_s=units.parse_seconds(entry.overhead, where=f"{place}.overhead"),
        ),
        parse_nr(nr, f"{place}.nr"),
        place=f"{place}.nr",
    )
    return (link, msgspec.structs.replace(link, src=link.dst, dst=link.src)) if entry.both else (link,)


def check_path(topology: Topology, place: str, result_returns: bool) -> None:
    """There must be a way from source to sink, and the same way back where the result returns."""
    pairs = {(link.src, link.dst) for link in topology.links}

    def reached(allowed: Callable[[str, str], bool]) -> set[str]:
        found, todo = {topology.source}, [topology.source]
        while todo:
            here = todo.pop()
            new = {dst for src, dst in pairs if src == here and dst not in found and allowed(src, dst)}
            found |= new
            todo += sorted(new)
        return found

    forward = reached(lambda src, dst: True)
    if topology.sink not in forward:
        reach = ", ".join(sorted(forward - {topology.source})) or "nothing"
        raise ConfigError(
            f"no links lead from {topology.source} to {topology.sink}: "
            f"{topology.source} reaches {reach}; add a link onward",
            where=place,
        )
    both = reached(lambda src, dst: (dst, src) in pairs)
    if result_returns and topology.sink not in both:
        src, dst = min((dst, src) for src, dst in pairs if src in both and dst in forward - both)
        raise ConfigError(
            f"the result cannot return from {topology.sink} to {topology.source}: "
            f"add the link {src}->{dst}, or write `both: true` on {dst}->{src}",
            where=place,
        )
