"""A scenario with more, or fewer, UEs than its file has: copies of the source, spread along its way."""

from __future__ import annotations

import itertools
import math

import msgspec

from airloom.core.scenario import Path, Scenario
from airloom.errors import ConfigError


def with_ues(scenario: Scenario, count: int, *, where: str = "--ues") -> Scenario:
    """The scenario with `count` UEs: its own first, then copies of the source that begin further along its way.

    Raises:
        ConfigError: none, or the scenario's source is no UE.
    """
    topology = scenario.topology
    if count < 1:
        raise ConfigError(f"at least one UE, got {count}", where=where)
    source = next((ue for ue in scenario.ues if ue.id == topology.source), None)
    if source is None:
        raise ConfigError(f"{topology.source}, the source, is no UE that could be copied", where=where)
    others = [ue for ue in scenario.ues if ue.id != source.id]
    kept = [source, *others[: count - 1]]
    gone = {ue.id for ue in others[count - 1 :]}
    devices = [device for device in topology.devices if device.id not in gone]
    links = [link for link in topology.links if not {link.src, link.dst} & gone]
    names = {device.id for device in devices}
    own = topology.device(source.id)
    access = [link for link in links if source.id in (link.src, link.dst)]
    missing, number = count - len(kept), 1
    for k in range(missing):
        number += 1
        while f"{source.id}{number}" in names:
            number += 1
        id = f"{source.id}{number}"
        devices.append(msgspec.structs.replace(own, id=id, address=""))
        links += [
            msgspec.structs.replace(
                link,
                src=id if link.src == source.id else link.src,
                dst=id if link.dst == source.id else link.dst,
            )
            for link in access
        ]
        path = begun_further(source.path, (k + 1) / (missing + 1))
        kept.append(msgspec.structs.replace(source, id=id, path=path))
    return msgspec.structs.replace(
        scenario,
        ues=tuple(kept),
        topology=msgspec.structs.replace(topology, devices=tuple(devices), links=tuple(links)),
    )


def begun_further(path: Path, share: float) -> Path:
    """A closed way begun `share` (0 to 1) of it further; any other as it is."""
    if path.at_end != "loop" or len(path.waypoints) < 2:
        return path
    points = [*path.waypoints, path.waypoints[0]]
    lengths = [math.dist(a, b) for a, b in itertools.pairwise(points)]
    left = share * sum(lengths)
    for k, length in enumerate(lengths):
        if left < length:
            (ax, ay), (bx, by) = points[k], points[k + 1]
            at = left / length
            start = (ax + at * (bx - ax), ay + at * (by - ay))
            rest = (*path.waypoints[k + 1 :], *path.waypoints[: k + 1])
            return msgspec.structs.replace(path, waypoints=(start, *rest))
        left -= length
    return path
