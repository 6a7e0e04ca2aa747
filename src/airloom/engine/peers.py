"""Who is up, who comes next downstream, and the way to any other host.

Every host knows the topology and learns who is up; from these all derive the same routes.
"""

from __future__ import annotations

from airloom.core.topology import Conditions, DeviceState, Topology
from airloom.planner.route import parents


class Peers:
    """The live part of the topology as one host sees it.

    Attributes:
        up: ids of the hosts known to be up, itself included.
        end: the last host of this host's chain: the sink, or, where that is down or cut off, the
            live host within reach that is nearest to it. At worst itself.
        parent: the next host on the way to `end`, None at the end.
        downstream: the hosts after this one on the way to `end`, `end` last.
        children: hosts whose parent this host is.
    """

    def __init__(self, topology: Topology, device: str, *, result_returns: bool = True) -> None:
        self._topology, self.device, self._result_returns = topology, device, result_returns
        self._known = {d.id for d in topology.devices}
        self._ways: dict[str, tuple[str, ...]] = {}
        self.up = {device}
        self.end = device
        self.parent: str | None = None
        self.downstream: tuple[str, ...] = ()
        self.children: tuple[str, ...] = ()
        self._derive()

    def set_up(self, peer: str, *, up: bool) -> bool:
        """Whether that changed anything."""
        if peer == self.device or peer not in self._known or (peer in self.up) == up:
            return False
        (self.up.add if up else self.up.discard)(peer)
        self._derive()
        return True

    def _derive(self) -> None:
        self._ways = {}
        down = tuple(DeviceState(id=d.id, up=False) for d in self._topology.devices if d.id not in self.up)
        self._conditions = Conditions(devices=down)
        ahead = parents(self._topology, None, self._conditions, result_returns=self._result_returns)
        self.parent = ahead[self.device]
        self.children = tuple(id for id, parent in ahead.items() if parent == self.device and id in self.up)
        self.downstream = _follow(ahead, self.device)
        self.end = (self.device, *self.downstream)[-1]

    def way(self, device: str) -> tuple[str, ...]:
        """The hosts after this one on the way to `device`, `device` last; empty where there is none."""
        if device == self.device or device not in self.up:
            return ()
        if device not in self._ways:
            ahead = parents(self._topology, device, self._conditions, result_returns=False)
            way = _follow(ahead, self.device)
            self._ways[device] = way if way[-1:] == (device,) else ()
        return self._ways[device]


def _follow(ahead: dict[str, str | None], start: str) -> tuple[str, ...]:
    way: list[str] = []
    at = ahead[start]
    while at is not None and len(way) < len(ahead):
        way.append(at)
        at = ahead[at]
    return tuple(way)
