"""The links of a scenario file: those that join every UE to every cell, and those that others use too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from airloom import units
from airloom.config.scenario_entries import LinkEntry, RadioEntry, ScenarioEntry, over
from airloom.config.scenario_values import antenna, background
from airloom.config.strict_yaml import at
from airloom.core.scenario import Antenna, Cell, SharedLink, Ue
from airloom.core.topology import Conditions, Device, Link, Topology
from airloom.errors import ConfigError


def with_access(topology: Topology, ues: Sequence[Ue], devices: Sequence[Device], cells: Sequence[Cell]) -> Topology:
    """The topology with every UE and a link each way to every cell; as the source's where that has one."""
    ids, sites = {ue.id for ue in ues}, {cell.device for cell in cells}
    given = {(link.src, link.dst): link for link in topology.links}
    kept = [
        link
        for link in topology.links
        if not ((link.src in ids and link.dst in sites) or (link.src in sites and link.dst in ids))
    ]
    for ue in ues:
        for cell in cells:
            for src, dst, like in (
                (ue.id, cell.device, (topology.source, cell.device)),
                (cell.device, ue.id, (cell.device, topology.source)),
            ):
                own = given.get((src, dst), given.get(like))
                if own is not None and own.nr is None:
                    made = msgspec.structs.replace(own, src=src, dst=dst, rate_bps=cell.capacity_bps, trace="")
                else:
                    made = Link(
                        src=src,
                        dst=dst,
                        rate_bps=cell.capacity_bps,
                        delay_s=cell.delay_s,
                        overhead_s=cell.overhead_s,
                        loss=cell.loss,
                    )
                kept.append(made)
    return msgspec.structs.replace(topology, devices=(*topology.devices, *devices), links=tuple(kept))


def shared_links(
    file: ScenarioEntry, topology: Topology, ues: Sequence[Ue], cells: Sequence[Cell], where: str
) -> tuple[SharedLink, ...]:
    """What is said under `links`, one for each direction.

    Raises:
        ConfigError: names the place: no such link, one that cannot be shared, a radio out of reach.
    """
    there = {(link.src, link.dst): link for link in topology.links}
    ids, sites = {ue.id for ue in ues}, {cell.device for cell in cells}
    found: dict[tuple[str, str], SharedLink] = {}
    for i, entry in enumerate(file.links):
        place = at(where, f"$.links[{i}]")
        src, arrow, dst = (part.strip() for part in entry.link.partition("->"))
        if not (src and arrow and dst):
            raise ConfigError(f"a link reads SRC->DST, got {entry.link!r}", where=f"{place}.link")
        for pair in ((src, dst), (dst, src)) if entry.both else ((src, dst),):
            link = there.get(pair)
            if link is None:
                known = ", ".join(sorted(f"{a}->{b}" for a, b in there if a not in ids and b not in ids))
                raise ConfigError(f"no link {pair[0]}->{pair[1]}: there are {known}", where=f"{place}.link")
            if (pair[0] in ids and pair[1] in sites) or (pair[0] in sites and pair[1] in ids):
                raise ConfigError("others on an access link are its cell's: see `cells`", where=f"{place}.link")
            if link.nr is not None or link.trace:
                what = "its radio (`nr`)" if link.nr is not None else "its trace"
                raise ConfigError(f"the rate of {pair[0]}->{pair[1]} follows from {what} already", where=place)
            if math.isinf(link.rate_bps):
                raise ConfigError("an unlimited link cannot be shared: give its rate in the topology", where=place)
            if pair in found:
                raise ConfigError(f"{pair[0]}->{pair[1]} is there twice: keep one of them", where=place)
            found[pair] = _shared(entry, file, pair, cells, place, first=pair == (src, dst))
    return tuple(found.values())


def check_changes(changes: Sequence[Conditions], ues: Sequence[Ue], cells: Sequence[Cell], where: str) -> None:
    """Refuse changes of an access link's delay or loss, which are its cell's.

    Raises:
        ConfigError: names the link.
    """
    ids, sites = {ue.id for ue in ues}, {cell.device for cell in cells}
    for change in changes:
        for link in change.links:
            ends = {link.src, link.dst}
            if ends & ids and ends & sites and (link.delay_s is not None or link.loss is not None):
                raise ConfigError(
                    f"{link.src}->{link.dst} is an access link: a change gives its rate, or takes it away",
                    where=at(where, "$.changes"),
                )


def _shared(
    entry: LinkEntry, file: ScenarioEntry, pair: tuple[str, str], cells: Sequence[Cell], place: str, *, first: bool
) -> SharedLink:
    if not 1 <= entry.flows <= 1000:
        raise ConfigError(f"1 to 1000 flows, got {entry.flows}", where=f"{place}.flows")
    radio = None
    if entry.radio is not None:
        if entry.kind != "backhaul":
            raise ConfigError(f"a {entry.kind} link has no radio: write `kind: backhaul`", where=f"{place}.radio")
        sites = {cell.device: cell for cell in cells}
        for end in pair:
            if end not in sites:
                raise ConfigError(f"{end} has no position: a radio joins two of `cells`", where=f"{place}.link")
        radio = antenna(over(RadioEntry(), file.cell.radio, entry.radio), f"{place}.radio")
        _within_reach(radio, [sites[end] for end in pair], place)
    elif entry.kind == "access":
        raise ConfigError("access links follow from `cells`: this is backhaul or wired", where=f"{place}.kind")
    published = None
    if entry.published is not None and first:
        mean, deviation = (units.parse_rate(v, where=f"{place}.published[{k}]") for k, v in enumerate(entry.published))
        published = (mean, deviation)
    return SharedLink(
        src=pair[0],
        dst=pair[1],
        kind=entry.kind,
        background=background(over(file.background, entry.background), f"{place}.background"),
        antenna=radio,
        flows=entry.flows,
        label=entry.label if first else "",
        published=published,
    )


def _within_reach(radio: Antenna, ends: Sequence[Cell], place: str) -> None:
    from airloom.radio.cell.friis import snr_db

    metres = math.dist(ends[0].at_m, ends[1].at_m)
    found = float(snr_db(radio, metres))
    if found < radio.min_snr_db:
        raise ConfigError(
            f"{ends[0].device} and {ends[1].device} are {metres:.0f} m apart, where the SNR is {found:.1f} dB of the "
            f"{radio.min_snr_db:g} dB that are needed: bring them closer or give the antenna more gain",
            where=f"{place}.radio",
        )
