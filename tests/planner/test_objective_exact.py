"""The exact solver against every assignment there is: values, bounds, ties, proofs, and the closest plan."""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_instances import ROLES, Tried, coded_problem, random_objective, rich_problem, try_all
from planner_instances import plain_problem

from airloom.core.objective import LATENCY, Bound, Objective, Term
from airloom.core.problem import Problem
from airloom.errors import Infeasible
from airloom.planner.chain import solve
from airloom.planner.objective.exact import solve_exact
from airloom.planner.objective.outcome import Outcome, Unreachable
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import VectorProblem, vectors


def _check(problem: VectorProblem, tried: list[Tried], **options: float) -> Outcome | None:
    """Solve and hold against all assignments; None where no plan meets the bounds."""
    meeting = [one for one in tried if problem.meets(one.costs)]
    if not meeting:
        with pytest.raises(Infeasible) as caught:
            solve_exact(problem, **options)
        assert isinstance(caught.value, Unreachable) == bool(tried)
        if isinstance(caught.value, Unreachable):
            closest = caught.value.closest
            assert not closest.meets
            assert closest.excess == pytest.approx(min(problem.excess(one.costs) for one in tried), rel=1e-9)
        return None
    found = solve_exact(problem, **options)
    assert found.meets
    assert problem.meets(problem.cost(found.solution.stops, found.ways))
    best = min(problem.value(one.costs) for one in meeting)
    assert found.gap is not None
    assert found.value - best <= found.gap * found.value + 1e-8 * max(best, 1e-9)
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [rich_problem, coded_problem])
def test_equals_brute_force(seed: int, make: type) -> None:
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(60):
        problem = make(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
        priced = vectors(problem, random_objective(rng), ROLES)
        found = _check(priced, try_all(priced))
        counts["none" if found is None else "bound" if np.isfinite(priced.bounds).any() else "free"] += 1
        assert found is None or found.gap == 0.0
    assert min(counts["none"], counts["bound"], counts["free"]) >= 3


@given(seed=st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_of_equal_plans_the_one_with_more_room_then_the_latest_stops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, int(rng.integers(2, 5)), int(rng.integers(2, 6)), coarse=True)
    priced = vectors(problem, random_objective(rng), ROLES)
    tried = try_all(priced)
    found = _check(priced, tried)
    if found is None:
        return
    bounded = np.isfinite(priced.bounds)
    scale = np.exp2(np.floor(np.log2(priced.bounds[bounded])))

    def spent(one: Tried) -> float:
        return float((one.costs[bounded] / scale).sum())

    ties = [one for one in tried if priced.meets(one.costs) and abs(priced.value(one.costs) - found.value) < 1e-9]
    least = min(map(spent, ties))
    assert found.solution.stops == max(one.stops for one in ties if spent(one) - least < 1e-9)


def test_nothing_but_latency_is_the_chain_solver() -> None:
    for seed in range(30):
        problem = plain_problem(np.random.default_rng(seed), 6, 40)
        found = solve_objective(problem, LATENCY, ROLES)
        assert (found.solution.stops, found.gap) == (solve(problem).stops, 0.0)
        assert found.costs == pytest.approx([solve(problem).seconds])
        assert found.solution.seconds == pytest.approx(solve(problem).seconds)


def _large(rng: np.random.Generator, hosts: int, operators: int) -> Problem:
    """Hosts further on are faster and cost more, so that metrics pull in different directions."""
    problem = plain_problem(rng, hosts, operators)
    return dataclasses.replace(
        problem,
        hosts=tuple(
            dataclasses.replace(host, energy_w=float(rng.uniform(0.5, 2) * 3**p), price_per_s=float(rng.uniform(1, 9)))
            for p, host in enumerate(problem.hosts)
        ),
        hops=tuple(
            dataclasses.replace(
                hop,
                options=tuple(
                    tuple(msgspec.structs.replace(o, energy_j=float(rng.exponential(0.05)), nbytes=9) for o in row)
                    for row in hop.options
                ),
            )
            for hop in problem.hops
        ),
    )


@pytest.mark.parametrize("seed", range(10))
def test_larger_instances_against_the_frontier_of_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = _large(rng, 4, 12)
    free = vectors(problem, Objective(minimize=(Term("energy"), Term("latency"), Term("money"))), ROLES)
    costs = np.array([one.costs for one in try_all(free)])
    low, at_least_energy = costs.min(axis=0), costs[costs[:, 0].argmin()]
    for share in (0.1, 0.3, 0.6):
        limits = low + share * (at_least_energy - low) + 1e-3
        wanted = Objective(
            minimize=(Term("energy"),), require=(Bound("latency", limits[1]), Bound("money", limits[2] * 1.2))
        )
        priced = vectors(problem, wanted, ROLES)
        _check(priced, try_all(priced))
        _check(priced, try_all(priced), gap=0.01)


def test_too_little_room_says_what_it_has_proven() -> None:
    rng = np.random.default_rng(3)
    open_gaps = 0
    for _ in range(12):
        problem = _large(rng, 5, 14)
        free = vectors(problem, Objective(minimize=(Term("energy"), Term("latency"), Term("money"))), ROLES)
        fast = solve_exact(vectors(problem, LATENCY, ROLES))
        slow = solve_exact(vectors(problem, Objective(minimize=(Term("energy"),)), ROLES))
        between = free.cost(fast.solution.stops) * 0.4 + free.cost(slow.solution.stops) * 0.6
        wanted = Objective(
            minimize=(Term("energy"),), require=(Bound("latency", between[1]), Bound("money", between[2]))
        )
        priced = vectors(problem, wanted, ROLES)
        try:
            exact = solve_exact(priced)
        except Unreachable:
            continue
        rough = solve_exact(priced, room=1)
        assert rough.meets
        assert exact.gap == 0.0
        assert rough.gap is not None
        assert rough.value * (1.0 - rough.gap) <= exact.value * (1.0 + 1e-8)
        open_gaps += rough.gap > 0.0
    assert open_gaps >= 2


@given(seed=st.integers(0, 2**32), factor=st.sampled_from([1e-3, 1e3, 1e6]))
@settings(max_examples=60, deadline=None)
def test_units_do_not_matter(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, 3, 5)
    wanted = random_objective(rng, least=1)
    # All powers and prices in another unit, energies and money with them.
    scaled = dataclasses.replace(
        problem,
        hosts=tuple(
            dataclasses.replace(host, energy_w=host.energy_w * factor, price_per_s=host.price_per_s * factor)
            for host in problem.hosts
        ),
        hops=tuple(
            dataclasses.replace(
                hop,
                options=tuple(
                    tuple(
                        msgspec.structs.replace(o, energy_j=o.energy_j * factor, receive_j=o.receive_j * factor)
                        for o in row
                    )
                    for row in hop.options
                ),
                back=msgspec.structs.replace(
                    hop.back, energy_j=hop.back.energy_j * factor, receive_j=hop.back.receive_j * factor
                ),
            )
            for hop in problem.hops
        ),
    )
    per_unit = {"energy": factor, "money": factor}
    other = Objective(
        minimize=tuple(
            msgspec.structs.replace(t, weight=t.weight / per_unit.get(t.metric, 1.0)) for t in wanted.minimize
        ),
        require=tuple(msgspec.structs.replace(b, limit=b.limit * per_unit.get(b.metric, 1.0)) for b in wanted.require),
    )
    for solver in ("exact", "linear", "convex"):
        named = (msgspec.structs.replace(what, solver=solver) for what in (wanted, other))
        found = [_stops(one, what) for one, what in zip((problem, scaled), named, strict=True)]
        # Rounding may break a tie in another way; what it costs stays.
        (first, value), (second, other_value) = found
        assert (first is None) == (second is None)
        if first is not None:
            assert value == pytest.approx(other_value, rel=1e-6, abs=1e-9)


def _stops(problem: Problem, wanted: Objective) -> tuple[tuple[int, ...] | None, float]:
    try:
        found = solve_objective(problem, wanted, ROLES)
    except Infeasible:
        return None, 0.0
    return found.solution.stops, found.value


def test_the_line_that_says_what_cannot_be_met() -> None:
    problem = plain_problem(np.random.default_rng(1), 3, 10)
    least = solve(problem).seconds
    wanted = Objective(minimize=(Term("energy"),), require=(Bound("latency", least / 2),))
    with pytest.raises(
        Unreachable, match=r"the closest has latency of .* where .* is demanded, 100.0 % over"
    ) as caught:
        solve_objective(problem, wanted, ROLES)
    assert "\n" not in str(caught.value)
    assert caught.value.closest.costs[1] == pytest.approx(least)
    assert not caught.value.closest.meets


def test_a_bound_at_the_very_cost_of_a_plan_is_met() -> None:
    for seed in range(20):
        problem = plain_problem(np.random.default_rng(seed), 5, 30)
        least = solve(problem).seconds
        wanted = Objective(minimize=(Term("energy"),), require=(Bound("latency", least),))
        found = solve_objective(problem, wanted, ROLES)
        assert found.meets
        assert found.costs[1] == pytest.approx(least, rel=1e-9)


def test_no_assignment_at_all_is_told_as_the_chain_solver_tells_it() -> None:
    problem = plain_problem(np.random.default_rng(1), 2, 4)
    none = np.arange(5)
    barred = dataclasses.replace(
        problem, hosts=tuple(dataclasses.replace(host, last_start=none) for host in problem.hosts)
    )
    wanted = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1.0),))
    for solver in ("exact", "linear", "convex"):
        with pytest.raises(Infeasible, match="may run the model"):
            solve_objective(barred, msgspec.structs.replace(wanted, solver=solver), ROLES)
