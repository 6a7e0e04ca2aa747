"""Changes of the network while it runs, as people write them: in a run file and on the command line."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from airloom import units
from airloom.config.nr import parse_snr
from airloom.config.strict_yaml import Entry, Quantity, convert
from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.errors import ConfigError

S = TypeVar("S", LinkState, DeviceState)


class Change(Entry, frozen=True):
    """`{at: 10 s, link: mec->cloud, rate: 5 Mbit/s, both: true}` or `{at: 12 s, device: mec, up: false}`."""

    at: Quantity = 0
    link: str | None = None
    device: str | None = None
    rate: Quantity | None = None
    delay: Quantity | None = None
    loss: Quantity | None = None
    snr: Quantity | None = None
    load: Quantity | None = None
    up: bool | None = None
    both: bool = False


def to_conditions(change: Change, *, place: str) -> Conditions:
    """What one change means, and nothing else; `place` names it in errors."""
    at_s = units.parse_seconds(change.at, where=f"{place}.at")
    if (change.link is None) == (change.device is None):
        raise ConfigError("a change is of a `link` or of a `device`: name one of them", where=place)
    if change.device is not None:
        if change.both or any(given is not None for given in (change.rate, change.delay, change.loss, change.snr)):
            raise ConfigError(
                "a device has a `load` and is `up` or not; rate, delay, loss and snr are a link's", where=place
            )
        if change.load is None and change.up is None:
            raise ConfigError(f"nothing changes: give the `load` of {change.device}, or `up`", where=place)
        load = 0.0 if change.load is None else units.parse_number(change.load, where=f"{place}.load")
        if load < 0:
            raise ConfigError(f"a load cannot be negative, got {change.load!r}", where=f"{place}.load")
        return Conditions(at_s=at_s, devices=(DeviceState(id=change.device, load=load, up=change.up is not False),))
    if change.load is not None:
        raise ConfigError("a link has no load: give its rate, delay, loss or up", where=f"{place}.load")
    src, arrow, dst = (part.strip() for part in (change.link or "").partition("->"))
    if not (src and arrow and dst):
        raise ConfigError(f"a link reads SRC->DST, got {change.link!r}", where=f"{place}.link")
    if all(given is None for given in (change.rate, change.delay, change.loss, change.snr, change.up)):
        raise ConfigError(f"nothing changes: give a rate, delay, loss, snr or up of {src}->{dst}", where=place)
    if change.rate is None:
        rate = None
    elif change.rate == "unlimited":
        rate = math.inf
    else:
        rate = units.parse_rate(change.rate, where=f"{place}.rate")
    state = LinkState(
        src=src,
        dst=dst,
        rate_bps=rate,
        delay_s=None if change.delay is None else units.parse_seconds(change.delay, where=f"{place}.delay"),
        loss=None if change.loss is None else units.parse_probability(change.loss, where=f"{place}.loss"),
        up=change.up is not False,
        snr_db=None if change.snr is None else parse_snr(change.snr, where=f"{place}.snr"),
    )
    other = msgspec.structs.replace(state, src=dst, dst=src)
    return Conditions(at_s=at_s, links=(state, other) if change.both else (state,))


def parse_change(text: str, *, where: str = "") -> Conditions:
    """`link=mec->cloud,rate=5 Mbit/s` or `device=mec,load=2`, as after `--set`, as conditions."""
    fields: dict[str, Any] = {}
    for item in text.split(","):
        key, sign, value = (part.strip() for part in item.partition("="))
        if not (key and sign and value) or key in fields:
            raise ConfigError(f"expected KEY=VALUE,KEY=VALUE with each key once, got {text!r}", where=where)
        fields[key] = value
    # Everything on a command line is text: `up=false` is read as a bool.
    return to_conditions(convert(fields, Change, where=where, strict=False), place=f"{where}: $" if where else "$")


def merged(before: Conditions, after: Conditions) -> Conditions:
    """`before` with the changes of `after`: what `after` leaves open stays as it was."""
    links = {(state.src, state.dst): state for state in before.links}
    for state in after.links:
        old = links.get((state.src, state.dst))
        links[state.src, state.dst] = state if old is None else _over(old, state)
    devices = {state.id: state for state in before.devices} | {state.id: state for state in after.devices}
    return Conditions(at_s=after.at_s, links=tuple(links.values()), devices=tuple(devices.values()))


def _over(old: LinkState, new: LinkState) -> LinkState:
    return LinkState(
        src=new.src,
        dst=new.dst,
        rate_bps=old.rate_bps if new.rate_bps is None else new.rate_bps,
        delay_s=old.delay_s if new.delay_s is None else new.delay_s,
        loss=old.loss if new.loss is None else new.loss,
        up=new.up,
        snr_db=old.snr_db if new.snr_db is None else new.snr_db,
    )


def check_names(conditions: Conditions, topology: Topology, *, where: str) -> None:
    """Every link and device of `conditions` must be one of the topology's, and have what is changed."""
    links = {(link.src, link.dst): link for link in topology.links}
    for state in conditions.links:
        name = f"{state.src}->{state.dst}"
        link = links.get((state.src, state.dst))
        if link is None:
            known = ", ".join(sorted(f"{src}->{dst}" for src, dst in links))
            raise ConfigError(f"no link {name}: there are {known}", where=where)
        if state.snr_db is not None and link.nr is None:
            raise ConfigError(f"{name} has no SNR, as it is no 5G radio (`nr`): give its rate or loss", where=where)
        if link.nr is not None and (state.rate_bps is not None or state.loss is not None):
            raise ConfigError(f"{name} is a 5G radio, rate and loss follow from its SNR: give snr", where=where)
    devices = {device.id for device in topology.devices}
    for device in conditions.devices:
        if device.id not in devices:
            raise ConfigError(f"no device {device.id!r}: there are {', '.join(sorted(devices))}", where=where)


def change_title(change: Conditions) -> str:
    """A change in a few words, "mec->cloud at 5.00 Mbit/s"."""
    parts = []
    for link in change.links:
        says = [units.format_rate(link.rate_bps)] if link.rate_bps is not None else []
        says += [f"{units.format_seconds(link.delay_s)} delay"] if link.delay_s is not None else []
        says += [f"{units.format_percent(link.loss)} loss"] if link.loss is not None else []
        says += [f"{link.snr_db:g} dB SNR"] if link.snr_db is not None else []
        shown = f"at {', '.join(says)}" if says else "up"
        parts.append(f"{link.src}->{link.dst} {shown if link.up else 'down'}")
    for device in change.devices:
        parts.append(f"{device.id} at load {device.load:g}" if device.up else f"{device.id} down")
    return "; ".join(parts)
