"""Which way data goes: the next hop toward the sink, for every host.

Every host knows the whole topology and who is up, and derives the same routes from it. Routes
depend on nominal figures and on what is up, not on measured rates: those differ from host to host
and would let two of them point at each other. What rates change is how much runs where.
"""

from __future__ import annotations

import heapq

from airloom.core.topology import Conditions, Link, Topology
from airloom.errors import NoRoute

# A transfer of this size decides between routes: about an image or a small feature map.
NOMINAL_BYTES = 65536

# Seconds to the sink, hops to it, and a position in the topology: of equals the first listed.
Distance = tuple[float, int]


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
    goal: str, into: dict[str, list[Link]], order: dict[str, int]
) -> tuple[dict[str, Distance], dict[str, str]]:
    """Distance of every host that reaches `goal`, and its next hop; Dijkstra from the goal upstream."""
    distance: dict[str, Distance] = {}
    ahead: dict[str, str] = {}
    queue: list[tuple[float, int, int, str, str]] = [(0.0, 0, order[goal], goal, "")]
    while queue:
        seconds, hops, _, host, onward = heapq.heappop(queue)
        if host in distance:
            continue
        distance[host] = (seconds, hops)
        if onward:
            ahead[host] = onward
        for link in into[host]:
            if link.src not in distance:
                # The position of the next hop breaks ties between ways of the same length.
                heapq.heappush(queue, (seconds + _seconds(link), hops + 1, order[host], link.src, host))
    return distance, ahead


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
    goal = sink or topology.sink
    order = {device.id: position for position, device in enumerate(topology.devices)}
    whole, _ = _toward(goal, _usable(topology, None, result_returns), order)
    into = _usable(topology, conditions, result_returns)
    found: dict[str, str | None] = {}
    # Ends in the order of their nearness: whoever reaches the first one makes for it.
    for end in sorted(whole, key=lambda id: (whole[id], order[id])):
        if end in found:
            continue
        reached, ahead = _toward(end, into, order)
        for host in reached:
            # Whoever got a nearer end before keeps it; those on its way there have the same one.
            found.setdefault(host, ahead.get(host))
    return {device.id: found.get(device.id) for device in topology.devices}


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
    whole, _ = _toward(goal, _usable(topology, None, result_returns), _positions(topology))
    if begin not in whole:
        one_way, _ = _toward(goal, _usable(topology, None, False), _positions(topology))
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
