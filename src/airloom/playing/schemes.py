"""The schemes of a scenario: Airloom, and baselines that decide anew for every task.

A baseline is the same hosts on a topology in which only some devices compute: the tables of split costs then hold the
best split between those. So it has the same draw, the same queues and the same retries as Airloom; and its
planning takes no time and knows the network as it is at that moment, whatever Airloom's own knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airloom.core.topology import Topology
from airloom.errors import ConfigError

AIRLOOM = "airloom"
#: What a report calls them, in the order in which it shows them; the last is the one to be judged by.
TITLES = {"ue-only": "UE only", "cloud-only": "cloud only", "single-split": "single split", AIRLOOM: "Airloom"}
NOTES = {
    "ue-only": "every UE runs the whole model itself",
    "cloud-only": "the sink runs the whole model",
    "single-split": "one split between UE and sink, decided anew for every task on the network as it is",
}


def schemes_of(names: Sequence[str], *, where: str = "--scheme") -> tuple[str, ...]:
    """`names`, each once, baselines first; "all" stands for all.

    Raises:
        ConfigError: no scheme of that name.
    """
    for name in names:
        if name != "all" and name not in TITLES:
            raise ConfigError(f"no scheme {name!r}: there are {', '.join((*TITLES, 'all'))}", where=where)
    return tuple(TITLES) if "all" in names else tuple(name for name in TITLES if name in names)


def topology_of(scheme: str, topology: Topology) -> Topology:
    """The topology in which only those devices compute that the scheme uses."""
    if scheme == AIRLOOM:
        return topology
    ues = {device.id for device in topology.devices if device.role == "ue"} | {topology.source}
    computing = {"ue-only": ues, "cloud-only": {topology.sink}, "single-split": {*ues, topology.sink}}[scheme]
    devices = tuple(
        device if device.id in computing else msgspec.structs.replace(device, computes=False)
        for device in topology.devices
    )
    return msgspec.structs.replace(topology, devices=devices)
