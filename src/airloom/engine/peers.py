"""Who is up, who may come next downstream, and the way to any other host.

Every host knows the topology and learns who is up; from these all derive the same routes.
"""

from __future__ import annotations

from airloom.core.topology import Conditions, DeviceState, Topology
from airloom.planner.route import feasible_next_hops, parents


class Peers:
    """The live part of the topology as one host sees it; derived when it is asked for.

    Attributes:
        up: ids of the hosts known to be up, itself included.
    """

    def __init__(self, topology: Topology, device: str, *, result_returns: bool = True) -> None:
        self._topology, self.device, self._result_returns = topology, device, result_returns
        self._known = {d.id for d in topology.devices}
        self._ways: dict[tuple[str, str], tuple[str, ...]] = {}
        self._toward: dict[str, tuple[str, ...]] = {}
        self.up = {device}
        self._ahead: dict[str, tuple[str, ...]] | None = None

    def set_up(self, peer: str, *, up: bool) -> bool:
        """Whether that changed anything."""
        if peer == self.device or peer not in self._known or (peer in self.up) == up:
            return False
        (self.up.add if up else self.up.discard)(peer)
        self._ahead = None
        return True

    def _derived(self) -> dict[str, tuple[str, ...]]:
        if self._ahead is None:
            down = tuple(DeviceState(id=d.id, up=False) for d in self._topology.devices if d.id not in self.up)
            self._conditions = Conditions(devices=down)
            self._ways, self._toward = {}, {}
            self._ahead = feasible_next_hops(self._topology, self._conditions, result_returns=self._result_returns)
            self._nexts = self._ahead[self.device]
            self._children = tuple(id for id, onward in self._ahead.items() if self.device in onward and id in self.up)
            self._downstream = _all_ahead(self._ahead, self.device)
            self._end = self.device
            while self._ahead[self._end]:
                self._end = self._ahead[self._end][0]
        return self._ahead

    @property
    def nexts(self) -> tuple[str, ...]:
        """The neighbours that may come next on the way to `end`, the nearest way first; none at the end."""
        self._derived()
        return self._nexts

    @property
    def parent(self) -> str | None:
        """The first of `nexts`."""
        return self.nexts[0] if self.nexts else None

    @property
    def end(self) -> str:
        """The last host of this host's chain.

        The sink, or, where that is down or cut off, the live host within reach that is nearest to it. At worst
        this host itself.
        """
        self._derived()
        return self._end

    @property
    def downstream(self) -> tuple[str, ...]:
        """The hosts after this one on any way to `end`, `end` last."""
        self._derived()
        return self._downstream

    @property
    def children(self) -> tuple[str, ...]:
        """Hosts that may come to this one next."""
        self._derived()
        return self._children

    def children_toward(self, source: str) -> tuple[str, ...]:
        """The children that lie on a way of requests of `source`."""
        ahead = self._derived()
        found = self._toward.get(source)
        if found is None:
            on_way = {source, *_all_ahead(ahead, source)} if source in ahead and source in self.up else set()
            found = self._toward[source] = tuple(child for child in self._children if child in on_way)
        return found

    def way(self, device: str, *, without: str = "") -> tuple[str, ...]:
        """The hosts after this one on the way to `device`, `device` last; empty where there is none.

        Args:
            without: a neighbour that this host cannot reach now, whatever is known of it otherwise.
        """
        if device == self.device or device not in self.up:
            return ()
        self._derived()
        key = device, without
        if key not in self._ways:
            conditions = self._conditions
            if without:
                conditions = Conditions(devices=(*conditions.devices, DeviceState(id=without, up=False)))
            ahead = parents(self._topology, device, conditions, result_returns=False)
            way = _follow(ahead, self.device)
            self._ways[key] = way if way[-1:] == (device,) else ()
        return self._ways[key]


def _follow(ahead: dict[str, str | None], start: str) -> tuple[str, ...]:
    way: list[str] = []
    at = ahead[start]
    while at is not None and len(way) < len(ahead):
        way.append(at)
        at = ahead[at]
    return tuple(way)


def _all_ahead(ahead: dict[str, tuple[str, ...]], start: str) -> tuple[str, ...]:
    """Every host that the next hops from `start` lead to, each after all that lead to it."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(host: str) -> None:
        for onward in ahead[host]:
            if onward not in seen:
                seen.add(onward)
                visit(onward)
        order.append(host)

    visit(start)
    return tuple(reversed(order[:-1]))
