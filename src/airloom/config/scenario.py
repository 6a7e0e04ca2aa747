"""The scenario file: a run file whose network moves. `airloom run` and `airloom simulate` both take it.

topology: iab.yaml
model: resnet18
duration: 60 s
tasks: {every: 500 ms}
cell: {capacity: 200 Mbit/s, radio: {carrier: 28 GHz, bandwidth: 50 MHz, eirp: 40 dBm}}
cells:
  - {device: gnb1, at: [150 m, 300 m]}
ues:
  - {id: ue, path: [[100 m, 200 m], [500 m, 200 m]], speed: 40 km/h}
links:
  - {link: gnb1->core, background: {users: 3, rate: 10 Mbit/s}, both: true}

docs/scenarios.md has all keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from airloom import units
from airloom.config.run import RunConfig, named_file, run_config
from airloom.config.scenario_entries import (
    FASTEST_MPS,
    CellEntry,
    LinkEntry,
    RadioEntry,
    ScenarioEntry,
    UeDevice,
    UeEntry,
    antenna,
    background,
    coherence,
    forecast,
    handover,
    hour,
    over,
    tasks,
)
from airloom.config.strict_yaml import Quantity, at, parse, parse_mapping, read_text
from airloom.config.topology import (
    DeviceEntry,
    TopologyEntry,
    build_device,
    build_topology,
    check_path,
    load_topology,
)
from airloom.core.objective import LATENCY
from airloom.core.scenario import Antenna, Cell, Load, Scenario, SharedLink, Ue
from airloom.core.scenario import Path as Way
from airloom.core.topology import Conditions, Device, Link, Topology
from airloom.core.value import Value
from airloom.errors import ConfigError

_REQUESTS = 200
_HINT = "start from one of examples/scenarios"
#: Keys that a scenario has and a run file has not.
_OWN = frozenset({"ues", "cells", "cell", "links", "tasks", "duration", "warm_up", "load", "coherence", "forecast"})


class ScenarioFile(Value, frozen=True):
    """What a scenario file says.

    Attributes:
        run: what it shares with a run file; `topology` names the topology's file, or this file where
            the topology stands in it. What runs is `scenario.topology`, which also has what follows from
            cells and UEs.
    """

    run: RunConfig
    scenario: Scenario


def is_scenario(path: Path) -> bool:
    """Whether the file is a scenario and no run file: one with any key of its own, or a topology inside it.

    Raises:
        ConfigError: it cannot be read, or is no YAML mapping.
    """
    found = parse_mapping(read_text(path), where=str(path), hint=_HINT)
    if "devices" in found and "topology" not in found:
        raise ConfigError("this is a topology: name it in a run file or a scenario, as `topology:`", where=str(path))
    return bool(_OWN & found.keys()) or isinstance(found.get("topology"), dict)


def load_scenario(path: Path, *, load: Load | None = None) -> ScenarioFile:
    """Read a scenario file and check it; files that it names are relative to it.

    Args:
        load: in place of the file's.

    Raises:
        ConfigError: names the place and what to do; also for mistakes in the topology.
    """
    where = str(path)
    entry = parse(read_text(path), ScenarioEntry, where=where, hint=_HINT)
    base, topology_file = _topology(entry, path)
    if entry.cells and not entry.ues:
        raise ConfigError(f"no UEs: say where {base.source}, the source, is", where=at(where, "$.ues"))
    area = None
    if entry.area is not None:
        area = _point(entry.area, at(where, "$.area"))
        if min(area) <= 0.0:
            raise ConfigError("width and height must be above 0 m", where=at(where, "$.area"))
    cells = tuple(
        _cell(cell, entry, base, at(where, f"$.cells[{i}]"), [c.device for c in entry.cells[:i]])
        for i, cell in enumerate(entry.cells)
    )
    ues, devices = _ues(entry, base, cells, area, path)
    topology = _with_access(base, ues, devices, cells)
    check_path(topology, at(where, "$.links" if cells else "$.topology"), entry.result_returns)
    links = _links(entry, topology, ues, cells, where)
    duration_s = None
    if entry.duration is not None:
        duration_s = units.parse_seconds(entry.duration, where=at(where, "$.duration"))
        if duration_s == 0.0:
            raise ConfigError("a duration of 0 leaves no time", where=at(where, "$.duration"))
    count = entry.requests if entry.requests is not None or duration_s is not None else _REQUESTS
    deadline_s = units.parse_seconds(entry.deadline, where=at(where, "$.deadline"))
    asked = tasks(entry.tasks, deadline_s=deadline_s, count=count, place=at(where, "$.tasks"))
    requests = count
    if requests is None:
        requests = max(1, math.ceil((duration_s or 0.0) / asked.every_s)) * len(ues)
    run = run_config(entry, path, topology, topology_file=topology_file, requests=requests)
    _check_changes(run.changes, ues, cells, where)
    scenario = Scenario(
        topology=topology,
        ues=ues,
        cells=cells,
        links=links,
        area_m=area,
        load=load or entry.load,
        fairness_s=_fairness(entry.fairness, at(where, "$.fairness")),
        handover=handover(entry.handover, at(where, "$.handover")),
        coherence=coherence(entry.coherence, at(where, "$.coherence")),
        tasks=asked,
        duration_s=duration_s,
        warm_up_s=units.parse_seconds(entry.warm_up, where=at(where, "$.warm_up")),
        start_hour=hour(entry.time_of_day, at(where, "$.time_of_day")),
        changes=run.changes,
        forecast=forecast(entry.forecast, at(where, "$.forecast")),
        objective=run.objective or LATENCY,
        seed=entry.seed,
        name=entry.name or topology.name,
    )
    return ScenarioFile(run=run, scenario=scenario)


def _topology(entry: ScenarioEntry, path: Path) -> tuple[Topology, Path]:
    """The topology as it stands, without the access links that follow from cells."""
    if isinstance(entry.topology, TopologyEntry):
        place = at(str(path), "$.topology")
        return build_topology(entry.topology, place=place, base=path.parent), path.absolute()
    file = named_file(path, entry.topology, "topology")
    if entry.cells:
        found = parse(read_text(file), TopologyEntry, where=str(file))
        return build_topology(found, place=at(str(file), "$"), base=file.parent), file
    return load_topology(file, result_returns=entry.result_returns), file


def _cell(entry: CellEntry, file: ScenarioEntry, topology: Topology, place: str, before: Sequence[str]) -> Cell:
    known = {device.id: device for device in topology.devices}
    if entry.device not in known:
        raise ConfigError(f"no device {entry.device!r}: there are {', '.join(sorted(known))}", where=f"{place}.device")
    if known[entry.device].role == "ue":
        raise ConfigError(f"{entry.device} is a UE: a cell is a base station's", where=f"{place}.device")
    if entry.device in before:
        raise ConfigError(f"a second cell of {entry.device}: keep one of them", where=f"{place}.device")
    shared = file.cell
    capacity = entry.capacity if entry.capacity is not None else shared.capacity
    own = next((ln for ln in topology.links if (ln.src, ln.dst) == (topology.source, entry.device)), None)
    if capacity is None and (own is None or math.isinf(own.rate_bps)):
        raise ConfigError("`capacity` is missing: give it here or in `cell:`", where=place)
    ways = {}
    for way in ("uplink", "downlink"):
        other = over(shared.background, getattr(shared, way), entry.background, getattr(entry, way))
        ways[way] = background(other, f"{place}.{way}")

    def said(key: str) -> Quantity:
        value: Quantity | None = getattr(entry, key)
        common: Quantity | None = getattr(shared, key)
        return value if value is not None else common if common is not None else 0

    radius = units.parse_metres(said("radius") or "200 m", where=f"{place}.radius")
    if radius <= 0.0:
        raise ConfigError("a radius must be above 0 m", where=f"{place}.radius")
    return Cell(
        device=entry.device,
        at_m=_point(entry.at, f"{place}.at"),
        antenna=antenna(over(shared.radio, entry.radio), f"{place}.radio"),
        capacity_bps=own.rate_bps
        if capacity is None and own is not None
        else units.parse_rate(capacity or 0, where=f"{place}.capacity"),
        radius_m=radius,
        uplink=ways["uplink"],
        downlink=ways["downlink"],
        delay_s=units.parse_seconds(said("delay"), where=f"{place}.delay"),
        overhead_s=units.parse_seconds(said("overhead"), where=f"{place}.overhead"),
        loss=units.parse_probability(said("loss"), where=f"{place}.loss"),
    )


def _ues(
    file: ScenarioEntry, topology: Topology, cells: Sequence[Cell], area: tuple[float, float] | None, path: Path
) -> tuple[tuple[Ue, ...], tuple[Device, ...]]:
    """The target UEs, and the devices of those that the topology does not have."""
    known = {device.id: device for device in topology.devices}
    entries = file.ues or (UeEntry(id=topology.source, at=(0, 0)),)
    ues: dict[str, Ue] = {}
    devices: list[Device] = []
    for i, entry in enumerate(entries):
        place = at(str(path), f"$.ues[{i}]")
        if not 1 <= entry.count <= 10_000:
            raise ConfigError(f"1 to 10000 UEs, got {entry.count}", where=f"{place}.count")
        activity = units.parse_probability(entry.activity, where=f"{place}.activity")
        if activity == 0.0:
            raise ConfigError("a UE that never has something to send is none: leave it out", where=f"{place}.activity")
        for k in range(entry.count):
            id = entry.id if k == 0 else f"{entry.id}{k + 1}"
            if id in ues:
                raise ConfigError(f"a second UE {id!r}: give it another id", where=f"{place}.id")
            device = known.get(id)
            if device is None:
                device = _device(entry.device, id, known[topology.source], place, path.parent)
                devices.append(device)
            elif entry.device is not None and k == 0:
                raise ConfigError(f"{id} is in the topology: say there what it has", where=f"{place}.device")
            if device.role != "ue":
                raise ConfigError(f"{id} is a {device.role}: a UE's role is `ue`", where=f"{place}.id")
            ues[id] = Ue(id=id, path=_way(entry, id, cells, area, file.seed, place), activity=activity)
    if topology.source not in ues:
        raise ConfigError(f"where is {topology.source}, the source? add it", where=at(str(path), "$.ues"))
    return tuple(ues.values()), tuple(devices)


def _device(entry: UeDevice | None, id: str, source: Device, place: str, base: Path) -> Device:
    if entry is None:
        if source.role != "ue":
            raise ConfigError(f"{source.id}, the source, is no UE to copy: say what `device` this is", where=place)
        return msgspec.structs.replace(source, id=id, address="")
    said = {f: getattr(entry, f) for f in entry.__struct_fields__}
    return build_device(DeviceEntry(id=id, role="ue", **said), f"{place}.device", base)


def _way(
    entry: UeEntry, id: str, cells: Sequence[Cell], area: tuple[float, float] | None, seed: int, place: str
) -> Way:
    from airloom.radio.cell.coverage import hole, wandering

    said = [key for key in ("at", "path", "wander") if getattr(entry, key) is not None]
    if len(said) != 1:
        raise ConfigError("say where it is: one of `at`, `path` and `wander`", where=place)
    key = said[0]
    speed_mps = 0.0
    if entry.speed is not None:
        speed_mps = units.parse_speed(entry.speed, where=f"{place}.speed")
        if speed_mps > FASTEST_MPS + 1e-9:
            raise ConfigError(
                f"5G is made for at most 500 km/h (TS 22.261), got {entry.speed!r}", where=f"{place}.speed"
            )
    if entry.at is not None:
        points: tuple[tuple[float, float], ...] = (_point(entry.at, f"{place}.at"),)
    elif entry.path is not None:
        points = tuple(_point(point, f"{place}.path[{k}]") for k, point in enumerate(entry.path))
        if not points:
            raise ConfigError("a path needs a waypoint: add one", where=f"{place}.path")
    else:
        if area is None or not cells:
            raise ConfigError("to wander, a UE needs an `area` with `cells`: give them", where=f"{place}.wander")
        if entry.wander is None or not 1 <= entry.wander <= 100:
            raise ConfigError(f"1 to 100 random waypoints, got {entry.wander}", where=f"{place}.wander")
        try:
            points = wandering(cells, area, entry.wander, seed=seed, ue=id)
        except ValueError as error:
            raise ConfigError(str(error), where=f"{place}.wander") from None
    if len(points) > 1 and speed_mps == 0.0:
        raise ConfigError("`speed` is missing: a path needs one above 0, as in 40 km/h", where=place)
    if len(points) == 1 and speed_mps > 0.0:
        raise ConfigError("it has a speed and nowhere to go: give a path with more waypoints", where=f"{place}.speed")
    way = Way(waypoints=points, speed_mps=speed_mps, at_end=entry.end)
    if area is not None:
        for k, (x, y) in enumerate(points):
            if not (0.0 <= x <= area[0] and 0.0 <= y <= area[1]):
                spot = f"{place}.{key}[{k}]" if key == "path" else f"{place}.{key}"
                raise ConfigError(
                    f"({x:g} m, {y:g} m) lies outside the area of {area[0]:g} m x {area[1]:g} m", where=spot
                )
    if cells and (found := hole(cells, way)) is not None:
        raise ConfigError(
            f"out of coverage: {units.format_seconds(found.at_s)} after the start {id} is at "
            f"({found.x_m:.0f} m, {found.y_m:.0f} m), where the best cell, {found.cell.device}, has "
            f"{found.snr_db:.1f} dB SNR of the {found.cell.antenna.min_snr_db:g} dB it needs: "
            "lead it elsewhere or add a cell",
            where=f"{place}.{key}",
        )
    return way


def _with_access(topology: Topology, ues: Sequence[Ue], devices: Sequence[Device], cells: Sequence[Cell]) -> Topology:
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


def _links(
    file: ScenarioEntry, topology: Topology, ues: Sequence[Ue], cells: Sequence[Cell], where: str
) -> tuple[SharedLink, ...]:
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


def _check_changes(changes: Sequence[Conditions], ues: Sequence[Ue], cells: Sequence[Cell], where: str) -> None:
    ids, sites = {ue.id for ue in ues}, {cell.device for cell in cells}
    for change in changes:
        for link in change.links:
            ends = {link.src, link.dst}
            if ends & ids and ends & sites and (link.delay_s is not None or link.loss is not None):
                raise ConfigError(
                    f"{link.src}->{link.dst} is an access link: a change gives its rate, or takes it away",
                    where=at(where, "$.changes"),
                )


def _fairness(value: Quantity, place: str) -> float:
    found = units.parse_seconds(value, where=place)
    if found <= 0.0:
        raise ConfigError("the schedulers' averages need a time above 0", where=place)
    return found


def _point(pair: tuple[Quantity, Quantity], place: str) -> tuple[float, float]:
    return units.parse_metres(pair[0], where=place), units.parse_metres(pair[1], where=place)
