"""Which path requests of a source take, where the topology has more than one that leads on.

For the least latency one pass over the mesh says (`mesh`). Under other objectives, and under an accuracy floor,
which prices each hop by the whole path, the paths are solved one by one: all of them where they are
few, else in the order of a lower bound until none that is left can be better.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, HopCost, HostCost, Option, Problem
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError, Infeasible, NoRoute
from airloom.planner.chain import solve
from airloom.planner.mesh import Mesh, solve_mesh
from airloom.planner.objective.outcome import Unreachable
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.wave import Floats, step_over

#: So many paths are solved one by one at most.
MOST_ROUTES = 64

#: Prices of a path, source first.
Price = Callable[[Sequence[str]], Problem]
Ways = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Route:
    """The path that was chosen.

    Attributes:
        chain: hosts, source first.
        considered: how many paths were weighed.
        proven: whether no other path over the same next hops can be better.
    """

    chain: tuple[str, ...]
    considered: int
    proven: bool = True


def best_route(
    source: str,
    ways: Ways,
    price: Price,
    *,
    objective: Objective | None = None,
    roles: Mapping[str, str] | None = None,
    separable: bool = True,
) -> Route:
    """The path on which the plan that `objective` asks for is best.

    Args:
        ways: next hops to choose between, as from `route.feasible_next_hops` or `every_next_hop`.
        price: prices a path; asked for pairs of neighbours too.
        objective: None is the least latency.
        roles: by device id, as objectives need them.
        separable: whether a hop costs the same on every path; with an accuracy floor it does not.

    Raises:
        Infeasible: on no path the limits leave a plan.
    """
    few = list(itertools.islice(simple_routes(source, ways), MOST_ROUTES + 1))
    if len(few) == 1:
        return Route(few[0], 1)
    if separable and (objective is None or objective.is_latency):
        found = solve_mesh(mesh_of(source, ways, price), (source,)).sources[source]
        return Route(found.chain, count_routes(source, ways), found.gap == 0.0)
    if len(few) <= MOST_ROUTES:
        return _best_of(((-np.inf, route) for route in few), price, objective, roles or {})
    if not separable or not mesh_is_acyclic(source, ways):
        best = _best_of(((-np.inf, route) for route in few[:MOST_ROUTES]), price, objective, roles or {})
        return dataclasses.replace(best, proven=False)
    asked = Objective() if objective is None else objective
    plain = mesh_of(source, ways, lambda pair: scalar_problem(price(pair), asked, roles or {}))
    return _best_of(routes_by_cost(plain, source), price, objective, roles or {})


def simple_routes(source: str, ways: Ways) -> Iterator[tuple[str, ...]]:
    """Every path from `source` that comes back to no host and cannot be led on; the usual one first."""
    stack: list[tuple[str, ...]] = [(source,)]
    while stack:
        path = stack.pop()
        onward = [(*path, dst) for dst in ways.get(path[-1], ()) if dst not in path]
        if not onward:
            yield path
        stack += onward[::-1]


def count_routes(source: str, ways: Ways, most: int = 100_000) -> int:
    """How many paths there are, `most` at most."""
    return sum(1 for _ in itertools.islice(simple_routes(source, ways), most))


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


# --- paths one by one -------------------------------------------------------------------------------


def _best_of(
    routes: Iterator[tuple[float, tuple[str, ...]]],
    price: Price,
    objective: Objective | None,
    roles: Mapping[str, str],
) -> Route:
    """The best of paths that come with a lower bound, ascending; of equals the first."""
    best: tuple[float, tuple[str, ...]] | None = None
    nearest: tuple[float, tuple[str, ...]] | None = None
    refused: Infeasible | None = None
    considered, proven = 0, True
    for bound, route in routes:
        if best is not None and bound >= best[0]:
            break
        if considered == MOST_ROUTES:
            proven = False
            break
        considered += 1
        try:
            value, excess = _value(price(route), objective, roles)
        except Infeasible as error:
            refused = refused or error
            continue
        if excess > 0.0:
            nearest = min(nearest or (excess, route), (excess, route), key=lambda found: found[0])
        elif best is None or value < best[0]:
            best = value, route
    # Where no path keeps every bound, whoever asked for the plan says so of the closest one.
    chosen = best or nearest
    if chosen is None:
        raise refused or Infeasible("no path leads on from the source")
    return Route(chosen[1], considered, proven)


def _value(problem: Problem, objective: Objective | None, roles: Mapping[str, str]) -> tuple[float, float]:
    """What is minimised, and by how much the bounds are exceeded: 0 where they are kept."""
    if objective is None:
        return solve(problem).seconds, 0.0
    try:
        found = solve_objective(problem, objective, roles)
    except Unreachable as error:
        found = error.closest
    excess = 0.0 if found.meets else float(np.max(found.costs / found.bounds))
    return found.value, excess


def scalar_problem(problem: Problem, objective: Objective, roles: Mapping[str, str]) -> Problem:
    """`problem` with the weighted sum of `objective` in place of seconds, its bounds left out.

    No plan of the objective is worth less than the optimum of this: bounds only take plans away.
    """
    priced = vectors(problem, objective, roles)
    weights = priced.weights
    hosts = tuple(
        dataclasses.replace(host, elapsed_s=weights @ elapsed, constant_s=float(weights @ constant), haul=None)
        for host, elapsed, constant in zip(problem.hosts, priced.elapsed, priced.constant, strict=True)
    )
    hops = []
    for p, hop in enumerate(problem.hops):
        costs = priced.crossing(p, p + 1).costs
        # A weight of 0 on what cannot be carried is no price.
        unusable = np.isinf(costs).any(axis=1)
        values: Floats = np.tensordot(weights, np.where(np.isinf(costs), 0.0, costs), axes=(0, 1))
        values[unusable] = np.inf
        rows = tuple((Option(transfer_s=float(value)),) for value in values.min(axis=0))
        hops.append(HopCost(src=hop.src, dst=hop.dst, options=rows))
    return dataclasses.replace(problem, hosts=hosts, hops=tuple(hops))


def routes_by_cost(mesh: Mesh, source: str) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Paths of a mesh without circles with the least cost of any plan on each, ascending.

    What is left after a path is taken out is divided by the first host that goes on differently
    (Lawler 1972); the best of each part is a wave over that host's other next hops and back up the path.
    """
    told = {id: decision.cost_s for id, decision in solve_mesh(mesh, (source,)).hosts.items()}
    queue: list[tuple[float, int, tuple[str, ...], int, frozenset[str]]] = []
    counter = itertools.count()

    def push(prefix: tuple[str, ...], barred: frozenset[str]) -> None:
        onward = tuple(dst for dst in mesh.ways[prefix[-1]] if dst not in barred)
        if mesh.ways[prefix[-1]] and not onward:
            return
        cost, chosen = _best_beyond(mesh, prefix, onward, told)
        if np.isfinite(cost):
            rest = _greedy(mesh, chosen, told)
            heapq.heappush(queue, (cost, next(counter), (*prefix, *rest), len(prefix), barred))

    push((source,), frozenset())
    while queue:
        cost, _, route, first, barred = heapq.heappop(queue)
        yield cost, route
        for at in range(first, len(route)):
            push(route[:at], (barred if at == first else frozenset()) | {route[at]})


def _best_beyond(
    mesh: Mesh, prefix: tuple[str, ...], onward: tuple[str, ...], told: Mapping[str, Floats]
) -> tuple[float, tuple[str, int] | None]:
    """The least cost of a plan that starts with `prefix` and goes on to one of `onward`: to which, at which cut."""
    hosts = [mesh.source_host(prefix[0]), *(mesh.hosts[id] for id in prefix[1:])]
    message, table, choice = step_over(hosts[-1], [(mesh.hops[prefix[-1], dst], told[dst]) for dst in onward])
    tables = [table]
    for host, src, dst in zip(reversed(hosts[:-1]), reversed(prefix[:-1]), reversed(prefix[1:]), strict=True):
        message, table, _ = step_over(host, [(mesh.hops[src, dst], message)])
        tables.insert(0, table)
    if not onward or not np.isfinite(message[0]):
        return float(message[0]), None
    cut = 0
    for table in tables:
        cut = table.stop_at(cut)
    return float(message[0]), (_onward(onward, choice, cut), cut)


def _greedy(mesh: Mesh, start: tuple[str, int] | None, told: Mapping[str, Floats]) -> tuple[str, ...]:
    """The hosts from `start` on, each as the messages have it; the usual ones once the work is done."""
    hosts: list[str] = []
    while start is not None:
        id, cut = start
        hosts.append(id)
        onward = mesh.ways[id]
        if not onward:
            break
        _, table, choice = step_over(mesh.hosts[id], [(mesh.hops[id, dst], told[dst]) for dst in onward])
        cut = table.stop_at(cut)
        start = _onward(onward, choice, cut), cut
    return tuple(hosts)


def _onward(ways: tuple[str, ...], choice: Cuts, cut: int) -> str:
    """Where the live set of `cut` goes; once the work is done the usual way."""
    return ways[int(choice[cut])] if cut < len(choice) - 1 else ways[0]
