"""Paths solved one by one, under objectives and floors that one pass over the mesh cannot weigh.

Few are all solved. Many come in the order of a lower bound, the least weighted sum of any plan on each,
until none that is left can be better than the best so far.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, HopCost, Option, Problem
from airloom.errors import Infeasible, NoRoute
from airloom.planner.chain import solve
from airloom.planner.mesh import Mesh, solve_mesh
from airloom.planner.objective.outcome import Unreachable
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.wave import Floats, step_over

_ROUNDING = 1e-12  # sums of the same costs in another order
#: So many paths are solved one by one at most.
MOST_ROUTES = 64

#: Prices of a path, source first.
Price = Callable[[Sequence[str]], Problem]


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


def best_of(
    routes: Iterator[tuple[float, tuple[str, ...]]],
    price: Price,
    objective: Objective | None,
    roles: Mapping[str, str],
) -> Route:
    """The best of paths that come with a lower bound, ascending; of equals the first.

    Raises:
        Infeasible, NoRoute: why the first path leaves no plan, where none does.
    """
    best: tuple[float, tuple[str, ...]] | None = None
    nearest: tuple[float, tuple[str, ...]] | None = None
    refused: Infeasible | NoRoute | None = None
    considered, proven = 0, True
    for bound, route in routes:
        if best is not None and bound >= best[0] * (1.0 - _ROUNDING):
            break
        if considered == MOST_ROUTES:
            proven = False
            break
        considered += 1
        try:
            value, excess = _value(price(route), objective, roles)
        except (Infeasible, NoRoute) as error:
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
