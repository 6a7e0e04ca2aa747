"""Who is up: every host floods which neighbours it can reach, and works out who it can reach itself.

The state of a link state routing protocol, small enough for a few dozen hosts: a host counts as up
where a path of links leads to it that both ends report. Hosts of the deployment are trusted to tell
the truth about their own neighbours.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from airloom.core.topology import Topology
from airloom.errors import WireError

# Room for a clock in nanoseconds, and to count on from the largest.
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class Reach(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """`host` says which neighbours it reaches; the highest (incarnation, sequence) is the newest."""

    host: str
    incarnation: Count
    sequence: Count
    neighbours: tuple[str, ...]


def neighbours(topology: Topology, host: str) -> tuple[str, ...]:
    """The hosts adjacent to `host` by a link in either direction, in the topology's order."""
    near = {link.dst for link in topology.links if link.src == host}
    near |= {link.src for link in topology.links if link.dst == host}
    return tuple(device.id for device in topology.devices if device.id in near)


class Roster:
    """What one host knows of who reaches whom."""

    def __init__(self, topology: Topology, me: str, incarnation: int) -> None:
        self.me = me
        self._allowed = {device.id: set(neighbours(topology, device.id)) for device in topology.devices}
        self._known: dict[str, Reach] = {me: Reach(me, incarnation, 0, ())}

    def set_neighbour(self, peer: str, up: bool) -> Reach | None:
        """A neighbour came or went; returns what to flood, None if nothing changed."""
        mine = self._known[self.me]
        near = set(mine.neighbours)
        if (peer in near) == up:
            return None
        near ^= {peer}
        return self._say(Reach(self.me, mine.incarnation, mine.sequence + 1, tuple(sorted(near))))

    def hear(self, data: bytes) -> tuple[Reach, ...]:
        """Take in reports; returns those that were new and go on to the other neighbours."""
        try:
            reports = msgspec.msgpack.decode(data, type=list[Reach])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WireError(f"not a roster: {error}") from None
        if len(reports) > len(self._allowed):
            raise WireError(f"a roster of {len(reports)} hosts; the topology has {len(self._allowed)}")
        news: list[Reach] = []
        for report in reports:
            if report.host not in self._allowed or not set(report.neighbours) <= self._allowed[report.host]:
                raise WireError(f"a roster names links of {report.host!r} that the topology lacks")
            known = self._known.get(report.host)
            if known is not None and (known.incarnation, known.sequence) >= (report.incarnation, report.sequence):
                continue
            if report.host == self.me:
                # An earlier life of ours, from before the clock was set back: speak louder than it.
                mine = self._known[self.me]
                news.append(self._say(Reach(self.me, report.incarnation + 1, 0, mine.neighbours)))
                continue
            self._known[report.host] = report
            news.append(report)
        return tuple(news)

    def everything(self) -> bytes:
        """All that is known, for a neighbour that has just come up."""
        return encode(tuple(self._known.values()))

    def up(self) -> frozenset[str]:
        """The other hosts that can be reached."""
        reached, queue = {self.me}, [self.me]
        while queue:
            here = self._known[queue.pop()]
            for peer in here.neighbours:
                said = self._known.get(peer)
                if peer not in reached and said is not None and here.host in said.neighbours:
                    reached.add(peer)
                    queue.append(peer)
        return frozenset(reached - {self.me})

    def _say(self, report: Reach) -> Reach:
        self._known[self.me] = report
        return report


def encode(reports: tuple[Reach, ...]) -> bytes:
    """Reports as bytes for `Roster.hear`."""
    return msgspec.msgpack.encode(reports)
