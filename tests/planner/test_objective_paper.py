"""HiveMind's two solvers against the shortest path in the paper's graph, vertex by vertex (Eq. 5, 6, 11, 12)."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
from objective_instances import ROLES, coded_problem, random_objective, rich_problem

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Floats, HopCost, HostCost, Option, Problem
from airloom.errors import Infeasible
from airloom.planner.objective.convex import SHARE, solve_convex
from airloom.planner.objective.exact import solve_exact
from airloom.planner.objective.linear import even_weights, solve_linear
from airloom.planner.objective.outcome import Unreachable
from airloom.planner.objective.vectors import VectorProblem, vectors

Edge = Callable[[Floats], float]


def _vertices(problem: VectorProblem, p: int) -> list[tuple[int, int, int]]:
    """(host, start, stop), relay vertices included where hosts may run nothing."""
    host, last = problem.hosts[p], problem.num_operators
    return [
        (p, start, stop)
        for start in range(last + 1)
        for stop in range(start, last + 1)
        if host.fits(start, stop)
        and (stop == last or stop >= host.min_stop)
        and (stop > start or problem.relays or p == 0)
    ]


def _shortest(problem: VectorProblem, edge: Edge) -> float:
    """Edges from each stage to each next one cost `edge` of the transfer between them and the second stage."""
    last = problem.num_operators
    graph = nx.DiGraph()
    graph.add_nodes_from(["start", "end"])
    for p in range(len(problem.hosts)):
        for vertex in _vertices(problem, p):
            _, start, stop = vertex
            stage = problem.stage(p, start, stop)
            if p == 0 and start == 0:
                graph.add_edge("start", vertex, weight=edge(stage))
            if stop == last:
                graph.add_edge(vertex, "end", weight=0.0)
            for q in (crossing.src for row in problem.crossings for crossing in row if crossing.dst == p):
                ways = problem.crossing(q, p).costs[:, :, start]
                weights = [edge(stage + way) for way in ways if np.isfinite(way).all()]
                best = min(weights, default=np.inf)
                if start < last and np.isfinite(best):
                    for before in _vertices(problem, q):
                        if before[2] == start:
                            graph.add_edge(before, vertex, weight=best)
    finite = [(a, b, w) for a, b, w in graph.edges(data="weight") if np.isfinite(w)]
    reduced = nx.DiGraph()
    reduced.add_nodes_from(graph)
    reduced.add_weighted_edges_from(finite)
    try:
        return float(nx.dijkstra_path_length(reduced, "start", "end"))
    except nx.NetworkXNoPath:
        return np.inf


def _edge_sum(problem: VectorProblem, stops: tuple[int, ...], ways: tuple[int, ...], edge: Edge) -> float:
    """The cost of a path in that graph."""
    transfers = problem.transfers(stops)
    total = edge(problem.stage(0, 0, stops[0]))
    for (p, q), way in zip(transfers, ways, strict=True):
        total += edge(problem.stage(q, stops[q - 1], stops[q]) + problem.crossing(p, q).costs[way, :, stops[p]])
    return total


@pytest.mark.parametrize("make", [rich_problem, coded_problem])
@pytest.mark.parametrize("seed", range(4))
def test_linear_is_the_shortest_path_of_eq_11(seed: int, make: type) -> None:
    rng = np.random.default_rng(seed)
    solved = 0
    for _ in range(15):
        priced = vectors(make(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6))), random_objective(rng), ROLES)
        for weights in (rng.random(len(priced.names)), None):
            try:
                found = solve_linear(priced, weights=weights)
            except Infeasible:
                assert _shortest(priced, lambda phi: float(phi.sum())) == np.inf
                break
            used = even_weights(priced) if weights is None else weights
            right = _shortest(priced, lambda phi, used=used: float(used @ phi))
            assert used @ found.costs == pytest.approx(right, abs=1e-9)
            solved += 1
    assert solved > 10


def _eq_12(problem: VectorProblem, phi: Floats) -> float:
    """As printed: -1 / (phi - bound) for what is bounded, weights times phi for the rest; infinity at a bound."""
    total = float(problem.weights @ phi)
    for cost, bound in zip(phi, problem.bounds, strict=True):
        if np.isfinite(bound):
            if cost >= bound:
                return np.inf
            total += -1.0 / (cost - bound)
    return total


@pytest.mark.parametrize("make", [rich_problem, coded_problem])
@pytest.mark.parametrize("seed", range(4))
def test_convex_is_the_shortest_path_of_eq_12(seed: int, make: type) -> None:
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(20):
        problem = make(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
        priced = vectors(problem, random_objective(rng), ROLES)

        def edge(phi: Floats, priced: VectorProblem = priced) -> float:
            return _eq_12(priced, phi)

        try:
            found = solve_convex(priced, literal=True)
        except Infeasible:
            assert _shortest(priced, edge) == np.inf
            outcomes.append("none")
            continue
        assert _edge_sum(priced, found.solution.stops, found.ways, edge) == pytest.approx(_shortest(priced, edge))
        assert found.gap is None
        outcomes.append("meets" if found.meets else "exceeds")
    assert {"none", "meets"} <= set(outcomes)


@pytest.mark.parametrize("seed", range(4))
def test_convex_without_units_is_the_shortest_path_of_its_own_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    solved = 0
    for _ in range(15):
        problem = rich_problem(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
        priced = vectors(problem, random_objective(rng), ROLES)
        free = _shortest(priced, lambda phi, w=priced.weights: float(w @ phi)) or 1.0

        def edge(phi: Floats, priced: VectorProblem = priced, free: float = free) -> float:
            x = phi / priced.bounds
            return np.inf if (x >= 1.0).any() else float(priced.weights @ phi / free + SHARE * (x / (1.0 - x)).sum())

        right = _shortest(priced, edge)
        if not np.isfinite(right):
            with pytest.raises(Infeasible):
                solve_convex(priced)
            continue
        found = solve_convex(priced)
        assert _edge_sum(priced, found.solution.stops, found.ways, edge) == pytest.approx(right)
        solved += 1
    assert solved >= 3


def _three_hosts() -> Problem:
    """Fast hosts that cost energy, slow ones that cost time; each edge well below 10 s, the frugal path at 12 s."""
    hosts = tuple(
        HostCost(f"h{p}", np.array([0.0, 4.0, 8.0, 12.0]) / speed, energy_w=watts)
        for p, (speed, watts) in enumerate(((1.0, 1.0), (2.0, 5.0), (4.0, 40.0)))
    )
    option = Option(transfer_s=0.1, energy_j=0.1)
    hops = tuple(HopCost(f"h{p}", f"h{p + 1}", ((option,),) * 4) for p in range(2))
    return Problem(hosts, hops)


def test_the_bound_of_a_path_is_kept_by_the_exact_solver_only() -> None:
    problem = _three_hosts()
    wanted = Objective(minimize=(Term("energy"),), require=(Bound("latency", 9.0),))
    priced = vectors(problem, wanted, ROLES)
    convex, linear, exact = solve_convex(priced), solve_linear(priced), solve_exact(priced)
    # Two edges of 8 s and 2.1 s are each below the bound, their sum is not.
    assert convex.solution.stops == (2, 3, 3)
    assert (convex.meets, convex.solution.seconds) == (False, pytest.approx(10.1))
    # The weighted sum takes more time off than was asked for, or less.
    assert exact.meets
    assert exact.solution.seconds <= 9.0
    assert exact.value <= min(o.value for o in (linear, exact) if o.meets)
    assert exact.solution.stops == (1, 3, 3)


def test_linear_weights_of_ones_own() -> None:
    priced = vectors(_three_hosts(), Objective(minimize=(Term("energy"),), require=(Bound("latency", 9.0),)), ROLES)
    assert solve_linear(priced, weights=np.array([0.0, 1.0])).solution.stops == (0, 0, 3)
    assert solve_linear(priced, weights=np.array([1.0, 0.0])).solution.stops == (3, 3, 3)


def test_all_three_agree_where_nothing_is_bounded() -> None:
    for seed in range(20):
        problem = rich_problem(np.random.default_rng(seed), 4, 6)
        wanted = Objective(minimize=(Term("energy"), Term("latency", 0.25)))
        priced = vectors(problem, wanted, ROLES)
        values = [_value(solver, priced) for solver in (solve_exact, solve_linear, solve_convex)]
        assert values[0] == pytest.approx(values[1])
        assert values[0] == pytest.approx(values[2])


def _value(solver: Callable[[VectorProblem], object], priced: VectorProblem) -> float:
    try:
        return solver(priced).value
    except Unreachable:
        raise
    except Infeasible:
        return -1.0


def test_a_stage_at_a_bound_is_out_of_the_question() -> None:
    hosts = (HostCost("h0", np.array([0.0, 3.0, 6.0])), HostCost("h1", np.array([0.0, 3.0, 6.0])))
    hop = HopCost("h0", "h1", ((Option(transfer_s=0.5),),) * 3)
    for bound, stops in ((7.0, (2, 2)), (6.0, (1, 2))):
        wanted = Objective(minimize=(Term("latency"),), require=(Bound("latency", bound),))
        assert solve_convex(vectors(Problem(hosts, (hop,)), wanted, ROLES)).solution.stops == stops
    tight = Objective(minimize=(Term("latency"),), require=(Bound("latency", 3.0),))
    with pytest.raises(Infeasible, match="alone, with the transfer into it, reaches a bound"):
        solve_convex(vectors(Problem(hosts, (hop,)), tight, ROLES))
