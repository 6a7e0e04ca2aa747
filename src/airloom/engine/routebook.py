"""Routes that hosts of one topology derive alike, worked out once for all hosts of a process.

A UE at the edge, whose every neighbour is no UE, passes nothing on: the routes of all others are the same
without it, and its own take no more than its cells. So a handover costs the routes of one UE, however many there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import msgspec

from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.planner.route import feasible_next_hops, parents

Key = tuple[str, str]
NONE: frozenset[Key] = frozenset()
T = TypeVar("T")
_MOST = 4096


class RouteBook:
    """The routes of a topology under what is known to be down.

    Attributes:
        edges: UEs that pass nothing on.
        cells: by edge UE, the neighbours that it has links to, and back where the result returns.
    """

    def __init__(self, topology: Topology, *, result_returns: bool = True) -> None:
        self._topology, self._result_returns = topology, result_returns
        ues = {device.id for device in topology.devices if device.role == "ue"}
        links = {(link.src, link.dst) for link in topology.links}
        meshed = {src for src, dst in links if src in ues and dst in ues}
        meshed |= {dst for src, dst in links if src in ues and dst in ues}
        self.edges = frozenset(ues - meshed - {topology.sink})
        self.cells: dict[str, tuple[str, ...]] = {}
        for src, dst in sorted(links):
            if src in self.edges and (not result_returns or (dst, src) in links):
                self.cells[src] = (*self.cells.get(src, ()), dst)
        self._views: dict[frozenset[str], Topology] = {}
        self._next_hops: OrderedDict[object, dict[str, tuple[str, ...]]] = OrderedDict()
        self._parents: OrderedDict[object, dict[str, str | None]] = OrderedDict()

    def next_hops(self, device: str, down: frozenset[str], cut: frozenset[Key]) -> dict[str, tuple[str, ...]]:
        """As `planner.route.feasible_next_hops` has it, of all that is no edge, and of `device`.

        Args:
            down: hosts that are; those at the edge beside `device` do not matter.
            cut: links that are down.
        """
        edges = self.edges & {device}
        return _remembered(
            self._next_hops,
            (edges, down, cut),
            lambda: feasible_next_hops(self._view(edges), _conditions(down, cut), result_returns=self._result_returns),
        )

    def toward(self, goal: str, device: str, down: frozenset[str], cut: frozenset[Key]) -> dict[str, str | None]:
        """The next hop toward `goal` of all that is no edge, and of `device`."""
        edges = self.edges & {device, goal}
        return _remembered(
            self._parents,
            (edges, goal, down, cut),
            lambda: parents(self._view(edges), goal, _conditions(down, cut), result_returns=False),
        )

    def _view(self, edges: frozenset[str]) -> Topology:
        found = self._views.get(edges)
        if found is None:
            left_out = self.edges - edges
            found = self._views[edges] = msgspec.structs.replace(
                self._topology,
                devices=tuple(device for device in self._topology.devices if device.id not in left_out),
                links=tuple(link for link in self._topology.links if not {link.src, link.dst} & left_out),
            )
        return found


def _conditions(down: frozenset[str], cut: frozenset[Key]) -> Conditions:
    return Conditions(
        devices=tuple(DeviceState(id=id, up=False) for id in sorted(down)),
        links=tuple(LinkState(src=src, dst=dst, up=False) for src, dst in sorted(cut)),
    )


def _remembered(memory: OrderedDict[object, T], key: object, make: Callable[[], T]) -> T:
    found = memory.get(key)
    if found is None:
        found = memory[key] = make()
        if len(memory) > _MOST:
            memory.popitem(last=False)
    return found
