"""Who is up, who may come next downstream, and the way to any other host.

Every host knows the topology and learns who is up; from these all derive the same routes.
"""

from __future__ import annotations

from collections.abc import Sequence

from airloom.core.topology import Topology
from airloom.engine.routebook import NONE, Key, RouteBook


class Peers:
    """The live part of the topology as one host sees it; derived when it is asked for.

    Attributes:
        up: ids of the hosts known to be up, itself included.
    """

    def __init__(
        self, topology: Topology, device: str, *, result_returns: bool = True, book: RouteBook | None = None
    ) -> None:
        self.device = device
        self._book = book or RouteBook(topology, result_returns=result_returns)
        self._known = {d.id for d in topology.devices}
        self._links = {(link.src, link.dst) for link in topology.links}
        self._ways: dict[tuple[str, str], tuple[str, ...]] = {}
        self._toward: dict[str, tuple[str, ...]] = {}
        # Links that are down: those between hosts that pass things on, and those of each UE at the edge.
        self._cut: frozenset[Key] = NONE
        self._cut_edge: dict[str, frozenset[Key]] = {}
        self.up = {device}
        self._ahead: dict[str, tuple[str, ...]] | None = None

    def set_up(self, peer: str, *, up: bool) -> bool:
        """Whether that changed anything."""
        if peer == self.device or peer not in self._known or (peer in self.up) == up:
            return False
        (self.up.add if up else self.up.discard)(peer)
        self._ahead = None
        return True

    def set_link(self, src: str, dst: str, *, up: bool) -> bool:
        """A link came or went, as in a handover; whether that changed anything here."""
        edge = next((end for end in (src, dst) if end in self._book.edges), "")
        cut = self._cut_edge.get(edge, NONE) if edge else self._cut
        if (src, dst) not in self._links or ((src, dst) not in cut) == up:
            return False
        cut = cut - {(src, dst)} if up else cut | {(src, dst)}
        if edge:
            self._cut_edge[edge] = cut
        else:
            self._cut = cut
        if not edge or self.device in (src, dst):
            self._ahead = None
        else:
            self._ways = {key: way for key, way in self._ways.items() if key[0] != edge}
            self._toward.pop(edge, None)
        return True

    def _derived(self) -> dict[str, tuple[str, ...]]:
        if self._ahead is None:
            book, here = self._book, self.device
            self._ways, self._toward = {}, {}
            self._down = frozenset(self._known - self.up - book.edges)
            self._ahead = book.next_hops(here, self._down, self._cut | self._cut_edge.get(here, NONE))
            self._nexts = self._ahead[here]
            inner = [id for id, onward in self._ahead.items() if here in onward and id in self.up]
            edges = [ue for ue in sorted(book.cells) if ue in self.up and ue != here and here in self._cells(ue)]
            self._children = (*inner, *(ue for ue in edges if ue not in inner))
            self._downstream = _all_ahead(self._ahead, (here,))
            self._end = here
            while self._ahead[self._end]:
                self._end = self._ahead[self._end][0]
        return self._ahead

    def is_next_to(self, peer: str) -> bool:
        """Whether there is a link to `peer`, and both are up."""
        link = self.device, peer
        cut = self._cut_edge.get(peer, NONE) | self._cut_edge.get(self.device, NONE) | self._cut
        return peer in self.up and link in self._links and link not in cut

    def _cells(self, ue: str) -> tuple[str, ...]:
        """Where a UE at the edge may go next."""
        cut = self._cut_edge.get(ue, NONE)
        return tuple(cell for cell in self._book.cells.get(ue, ()) if (ue, cell) not in cut and (cell, ue) not in cut)

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
            on_way: set[str] = set()
            if source in self.up:
                starts = (source,) if source in ahead else tuple(c for c in self._cells(source) if c in self.up)
                on_way = {source, *starts, *_all_ahead(ahead, starts)}
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
            down = self._down | {without} if without else self._down
            cut = self._cut | self._cut_edge.get(device, NONE) | self._cut_edge.get(self.device, NONE)
            ahead = self._book.toward(device, self.device, down, cut)
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


def _all_ahead(ahead: dict[str, tuple[str, ...]], starts: Sequence[str]) -> tuple[str, ...]:
    """Every host that the next hops from `starts` lead to, each after all that lead to it."""
    order: list[str] = []
    seen = set(starts)

    def visit(host: str) -> None:
        for onward in ahead[host]:
            if onward not in seen:
                seen.add(onward)
                visit(onward)
        order.append(host)

    for start in starts:
        visit(start)
    return tuple(host for host in reversed(order) if host not in starts)
