"""The UEs of a scenario file: who they are, what each has, and the way it goes, which has to stay within coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from airloom import units
from airloom.config.scenario_entries import ScenarioEntry, UeDevice, UeEntry
from airloom.config.scenario_values import point
from airloom.config.strict_yaml import at
from airloom.config.topology import DeviceEntry, build_device
from airloom.core.scenario import Cell, Ue
from airloom.core.scenario import Path as Way
from airloom.core.topology import Device, Topology
from airloom.errors import ConfigError

#: The fastest that 5G is made for: 500 km/h (TS 22.261 clause 7.1, TS 38.913 clause 7.16).
_FASTEST_MPS = 500 / 3.6


def target_ues(
    file: ScenarioEntry, topology: Topology, cells: Sequence[Cell], area: tuple[float, float] | None, path: Path
) -> tuple[tuple[Ue, ...], tuple[Device, ...]]:
    """The target UEs, and the devices of those that the topology does not have.

    Args:
        area: width and height in metres, within which UEs have to stay.
        path: the scenario's file, to name places in it and to find profiles beside it.

    Raises:
        ConfigError: names the place: an id or a device that cannot be, a way out of the area or of coverage.
    """
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
        if speed_mps > _FASTEST_MPS + 1e-9:
            raise ConfigError(
                f"5G is made for at most 500 km/h (TS 22.261), got {entry.speed!r}", where=f"{place}.speed"
            )
    if entry.at is not None:
        points: tuple[tuple[float, float], ...] = (point(entry.at, f"{place}.at"),)
    elif entry.path is not None:
        points = tuple(point(pair, f"{place}.path[{k}]") for k, pair in enumerate(entry.path))
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
