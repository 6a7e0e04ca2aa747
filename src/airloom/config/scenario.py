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

from airloom import units
from airloom.config.run import RunConfig, named_file, run_config
from airloom.config.scenario_entries import CellEntry, ScenarioEntry, over
from airloom.config.scenario_links import check_changes, shared_links, with_access
from airloom.config.scenario_ues import target_ues
from airloom.config.scenario_values import antenna, background, coherence, forecast, handover, hour, point, tasks
from airloom.config.strict_yaml import Quantity, at, parse, parse_mapping, read_text
from airloom.config.topology import TopologyEntry, build_topology, check_path, load_topology
from airloom.core.objective import LATENCY
from airloom.core.scenario import Cell, Load, Scenario
from airloom.core.topology import Topology
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
        area = point(entry.area, at(where, "$.area"))
        if min(area) <= 0.0:
            raise ConfigError("width and height must be above 0 m", where=at(where, "$.area"))
    cells = tuple(
        _cell(cell, entry, base, at(where, f"$.cells[{i}]"), [c.device for c in entry.cells[:i]])
        for i, cell in enumerate(entry.cells)
    )
    ues, devices = target_ues(entry, base, cells, area, path)
    topology = with_access(base, ues, devices, cells)
    check_path(topology, at(where, "$.links" if cells else "$.topology"), entry.result_returns)
    links = shared_links(entry, topology, ues, cells, where)
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
    check_changes(run.changes, ues, cells, where)
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
        at_m=point(entry.at, f"{place}.at"),
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


def _fairness(value: Quantity, place: str) -> float:
    found = units.parse_seconds(value, where=place)
    if found <= 0.0:
        raise ConfigError("the schedulers' averages need a time above 0", where=place)
    return found
