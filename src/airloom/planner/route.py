"""Which way data goes: the next hop toward the sink, for every host.

Every host knows the whole topology and who is up, and derives the same routes from it. Routes
depend on nominal figures and on what is up, not on measured rates: those differ from host to host
and would let two of them point at each other. What rates change is how much runs where.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from airloom.core.topology import Conditions, Link, Topology
from airloom.errors import NoRoute

# A transfer of this size decides between routes: about an image or a small feature map.
NOMINAL_BYTES = 65536

# UEs that have to pass things on on the way to the sink, whoever starts there included, seconds to the sink, hops.
Distance = tuple[int, float, int]


def _seconds(link: Link) -> float:
    return link.overhead_s + link.delay_s + 8 * NOMINAL_BYTES / link.rate_bps


def _usable(topology: Topology, conditions: Conditions | None, result_returns: bool) -> dict[str, list[Link]]:
    """Links that may carry requests, by the host they lead to, in the order of the topology."""
    gone = {state.id for state in conditions.devices if not state.up} if conditions else set()
    cut = {(state.src, state.dst) for state in conditions.links if not state.up} if conditions else set()
    up = {
        (link.src, link.dst): link
        for link in topology.links
        if link.src not in gone and link.dst not in gone and (link.src, link.dst) not in cut
    }
    into: dict[str, list[Link]] = {device.id: [] for device in topology.devices}
    for (src, dst), link in up.items():
        if not result_returns or (dst, src) in up:
            into[dst].append(link)
    return into


def _toward(
    goal: str, into: dict[str, list[Link]], order: dict[str, int], ues: frozenset[str]
) -> tuple[dict[str, Distance], dict[str, str]]:
    """Distance of every host that reaches `goal`, and its next hop; Dijkstra from the goal upstream.

    UEs are the edge of the network: none passes on what is another's where there is any other way.
    """
    distance: dict[str, Distance] = {}
    ahead: dict[str, str] = {}
    queue: list[tuple[int, float, int, int, str, str]] = [(0, 0.0, 0, order[goal], goal, "")]
    while queue:
        passing, seconds, hops, _, host, onward = heapq.heappop(queue)
        if host in distance:
            continue
        distance[host] = (passing, seconds, hops)
        if onward:
            ahead[host] = onward
        for link in into[host]:
            if link.src not in distance:
                # The position of the next hop breaks ties between ways of the same length.
                more = passing + (link.src in ues)
                heapq.heappush(queue, (more, seconds + _seconds(link), hops + 1, order[host], link.src, host))
    return distance, ahead


def _ues(topology: Topology) -> frozenset[str]:
    return frozenset(device.id for device in topology.devices if device.role == "ue")


def parents(
    topology: Topology,
    sink: str | None = None,
    conditions: Conditions | None = None,
    *,
    result_returns: bool = True,
) -> dict[str, str | None]:
    """The next hop toward the sink for every host; None for a host that is the end of its chain.

    A host from which the sink cannot be reached makes for the host that it still reaches and that
    lies nearest to the sink in the topology as it was; that one is the end of the chain, at worst
    the host itself. All hosts that reach each other agree on it, and no routes go in circles.
    """
    return {id: way.ahead for id, way in _ways_out(topology, sink, conditions, result_returns).items()}


class _WayOut(NamedTuple):
    """Where a host makes for, how far that is, and its next hop there; None at the end itself."""

    end: str
    distance: Distance
    ahead: str | None


def _ways_out(
    topology: Topology, sink: str | None, conditions: Conditions | None, result_returns: bool
) -> dict[str, _WayOut]:
    goal, order, ues = sink or topology.sink, _positions(topology), _ues(topology)
    whole, _ = _toward(goal, _usable(topology, None, result_returns), order, ues)
    into = _usable(topology, conditions, result_returns)
    found: dict[str, _WayOut] = {}
    # Ends in the order of their nearness: whoever reaches the first one makes for it.
    for end in sorted(whole, key=lambda id: (whole[id], order[id])):
        if end in found:
            continue
        reached, ahead = _toward(end, into, order, ues)
        for host, distance in reached.items():
            # Whoever got a nearer end before keeps it; those on its way there have the same one.
            found.setdefault(host, _WayOut(end, distance, ahead.get(host)))
    for device in topology.devices:
        found.setdefault(device.id, _WayOut(device.id, (0, 0.0, 0), None))
    return {device.id: found[device.id] for device in topology.devices}


def feasible_next_hops(
    topology: Topology,
    conditions: Conditions | None = None,
    *,
    sink: str | None = None,
    result_returns: bool = True,
) -> dict[str, tuple[str, ...]]:
    """Every next hop that a host may choose between: its neighbours that are strictly nearer to the end of its chain.

    The one of `parents` comes first, the others in the order of the topology's links; empty at the end of a
    chain. Nearer is by nominal figures, which all hosts know: UEs that would have to pass things on, seconds
    for a nominal transfer, hops. Whatever each host chooses, no request goes in circles. A neighbour
    that makes for another end, since links are down, is none of them.
    """
    ways = _ways_out(topology, sink, conditions, result_returns)
    out: dict[str, list[str]] = {device.id: [] for device in topology.devices}
    into = _usable(topology, conditions, result_returns)
    usable = {(link.src, link.dst) for links in into.values() for link in links}
    for link in topology.links:
        here, there = ways[link.src], ways[link.dst]
        if (link.src, link.dst) in usable and here.end == there.end and there.distance < here.distance:
            out[link.src].append(link.dst)
    return {id: tuple(sorted(hops, key=lambda dst: dst != ways[id].ahead)) for id, hops in out.items()}


def chain(
    topology: Topology,
    source: str | None = None,
    sink: str | None = None,
    conditions: Conditions | None = None,
    *,
    result_returns: bool = True,
) -> tuple[str, ...]:
    """The hosts from source to sink: fewest seconds for a nominal transfer, then fewest hops.

    Where `conditions` cut the sink off, the chain ends at the host nearest to it, as `parents` has it.

    Raises:
        NoRoute: the topology itself has no way from source to sink (and back, where the result returns).
    """
    begin, goal = source or topology.source, sink or topology.sink
    whole, _ = _toward(goal, _usable(topology, None, result_returns), _positions(topology), _ues(topology))
    if begin not in whole:
        one_way, _ = _toward(goal, _usable(topology, None, False), _positions(topology), _ues(topology))
        if begin in one_way:
            raise NoRoute(
                f"the result cannot come back from {goal} to {begin}: every way there has a link without its "
                "reverse; add the links back, write `both: true`, or plan with --no-result-back"
            )
        raise NoRoute(f"no links lead from {begin} to {goal}: add the missing link or change source and sink")
    onward = parents(topology, goal, conditions, result_returns=result_returns)
    hosts = [begin]
    while (following := onward[hosts[-1]]) is not None:
        hosts.append(following)
    return tuple(hosts)


def _positions(topology: Topology) -> dict[str, int]:
    return {device.id: position for position, device in enumerate(topology.devices)}


def way_between(
    topology: Topology, src: str, dst: str, conditions: Conditions | None = None
) -> tuple[Link, ...] | None:
    """The links from one device to any other, by the figures of `chain`; None where there is no way now.

    What travels here needs no way back, and may pass hosts in any direction.
    """
    into = _usable(topology, conditions, False)
    reached, ahead = _toward(dst, into, _positions(topology), _ues(topology))
    if src not in reached:
        return None
    links = {(link.src, link.dst): link for link in topology.links}
    found: list[Link] = []
    while src != dst:
        found.append(links[src, ahead[src]])
        src = ahead[src]
    return tuple(found)
