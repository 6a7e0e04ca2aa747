"""Which path requests of a source take, where the topology has more than one that leads on.

For the least latency one pass over the mesh says (`mesh`). Under other objectives, and under an accuracy floor,
which prices each hop by the whole path, the paths are solved one by one: all of them where they are
few, else in the order of a lower bound until none that is left can be better.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from airloom.core.objective import Objective
from airloom.core.problem import HopCost, HostCost
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError, NoRoute
from airloom.planner import candidates
from airloom.planner.candidates import Price, Route, best_of, routes_by_cost, scalar_problem
from airloom.planner.mesh import Mesh, solve_mesh

Ways = Mapping[str, tuple[str, ...]]


def best_route(
    source: str,
    ways: Ways,
    price: Price,
    *,
    objective: Objective | None = None,
    roles: Mapping[str, str] | None = None,
    separable: bool = True,
    part: Price | None = None,
) -> Route:
    """The path on which the plan that `objective` asks for is best.

    Where there is one path alone it is not priced: whether it has a plan is for whoever plans on it to find.

    Args:
        ways: next hops to choose between, as from `route.feasible_next_hops` or `every_next_hop`.
        price: prices a path.
        objective: None is the least latency.
        roles: by device id, as objectives need them.
        separable: whether a hop costs the same on every path; with an accuracy floor it does not.
        part: prices the source alone and pairs of neighbours, which need not be able to serve requests; `price` too
            where it is None.

    Raises:
        Infeasible: on none of several paths the limits leave a plan.
    """
    few = list(itertools.islice(simple_routes(source, ways), candidates.MOST_ROUTES + 1))
    if len(few) == 1:
        return Route(few[0], 1)
    pairs = price if part is None else part
    if separable and (objective is None or objective.is_latency):
        found = solve_mesh(mesh_of(source, ways, pairs), (source,)).sources[source]
        return Route(found.chain, count_routes(source, ways), found.gap == 0.0)
    if len(few) <= candidates.MOST_ROUTES:
        return best_of(((-np.inf, route) for route in few), price, objective, roles or {})
    if not separable:
        best = best_of(((-np.inf, route) for route in few[: candidates.MOST_ROUTES]), price, objective, roles or {})
        return dataclasses.replace(best, proven=False)
    asked = Objective() if objective is None else objective
    plain = mesh_of(source, ways, lambda path: scalar_problem(pairs(path), asked, roles or {}))
    if mesh_is_acyclic(source, ways):
        return best_of(routes_by_cost(plain, source), price, objective, roles or {})
    # No plan is worth less than the best without bounds: whoever comes to that is proven.
    free = solve_mesh(plain, (source,)).sources[source]
    least = free.seconds * (1.0 - free.gap)
    return best_of(((least, route) for route in (free.chain, *few)), price, objective, roles or {})


def simple_routes(source: str, ways: Ways) -> Iterator[tuple[str, ...]]:
    """Every path from `source` that comes back to no host and cannot be led on; the usual one first."""
    stack: list[tuple[str, ...]] = [(source,)]
    while stack:
        path = stack.pop()
        onward = [(*path, dst) for dst in ways.get(path[-1], ()) if dst not in path]
        if not onward:
            yield path
        stack += onward[::-1]


def count_routes(source: str, ways: Ways, most: int = 1000) -> int:
    """How many paths `simple_routes` has; where ways go in circles, `most` at most."""
    if not mesh_is_acyclic(source, ways):
        return sum(1 for _ in itertools.islice(simple_routes(source, ways), most))

    @functools.cache
    def beyond(id: str) -> int:
        return sum(beyond(dst) for dst in ways.get(id, ())) or 1

    return beyond(source)


def reachable(source: str, ways: Ways) -> tuple[str, ...]:
    """The hosts that requests of `source` may get to, itself first."""
    found = [source]
    for here in found:
        found += [dst for dst in ways.get(here, ()) if dst not in found]
    return tuple(found)


def mesh_of(source: str, ways: Ways, price: Price) -> Mesh:
    """The mesh of all hosts that requests of `source` may get to, priced pair by pair."""
    ids = reachable(source, ways)
    hops: dict[tuple[str, str], HopCost] = {}
    hosts: dict[str, HostCost] = {}
    alone = price((source,))
    for src in ids:
        for dst in ways.get(src, ()):
            pair = price((src, dst))
            hops[src, dst] = pair.hops[0]
            hosts[dst] = pair.hosts[1]
    private = alone.hosts[0].min_stop
    hosts[source] = dataclasses.replace(alone.hosts[0], min_stop=0)
    return Mesh(hosts, hops, {id: tuple(ways.get(id, ())) for id in ids}, private, alone)


def mesh_is_acyclic(source: str, ways: Ways) -> bool:
    """Whether no way from `source` comes back to a host."""
    left = {id: set(ways.get(id, ())) for id in reachable(source, ways)}
    while ends := [id for id, dsts in left.items() if not dsts & left.keys()]:
        for id in ends:
            del left[id]
    return not left


def every_next_hop(
    topology: Topology, conditions: Conditions | None = None, *, result_returns: bool = True
) -> dict[str, tuple[str, ...]]:
    """Every neighbour that is up, nearer to the sink or not; none after the sink.

    Hosts that decide one by one choose among `route.feasible_next_hops` alone; a plan over these has to be pinned.
    """
    moved = conditions or Conditions()
    gone = {state.id for state in moved.devices if not state.up}
    cut = {(state.src, state.dst) for state in moved.links if not state.up}
    up = {
        (link.src, link.dst)
        for link in topology.links
        if not {link.src, link.dst} & gone and (link.src, link.dst) not in cut
    }
    found: dict[str, tuple[str, ...]] = {device.id: () for device in topology.devices}
    for link in topology.links:
        pair = link.src, link.dst
        if pair in up and link.src != topology.sink and (not result_returns or pair[::-1] in up):
            found[link.src] += (link.dst,)
    return found


def check_route(
    route: Sequence[str],
    topology: Topology,
    conditions: Conditions | None = None,
    *,
    result_returns: bool = True,
    where: str = "--route",
) -> tuple[str, ...]:
    """A path that somebody wrote, if requests can take it.

    Raises:
        ConfigError: an unknown device, one that comes twice, or another start than the source.
        NoRoute: two neighbours have no link that is up, or none back for the result.
    """
    known = {device.id for device in topology.devices}
    for id in route:
        if id not in known:
            raise ConfigError(f"no device {id!r}: there are {', '.join(sorted(known))}", where=where)
    again = next((id for k, id in enumerate(route) if id in route[:k]), None)
    if again is not None:
        raise ConfigError(f"comes back to {again}: a request passes each host once", where=where)
    if not route or route[0] != topology.source:
        raise ConfigError(f"starts at the source, {topology.source}, got {','.join(route) or 'nothing'}", where=where)
    links = {(link.src, link.dst) for link in topology.links}
    ways = every_next_hop(topology, conditions, result_returns=result_returns)
    for src, dst in itertools.pairwise(route):
        if src == topology.sink:
            raise ConfigError(f"goes on after the sink, {src}: leave out what follows", where=where)
        if dst not in ways[src]:
            why = "is down" if (src, dst) in links else "is not in the topology"
            if (src, dst) in links and (dst, src) not in links:
                why = "has no link back for the result"
            raise NoRoute(f"{where}: the link {src}->{dst} {why}: take another way")
    return tuple(route)
