"""Frontiers passed from host to host: all that is worth it, no more, and what a host decides with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_instances import ROLES, random_objective, rich_problem, try_all

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Floats, Problem
from airloom.errors import Infeasible
from airloom.planner.objective import dominance, stepping
from airloom.planner.objective.exact import solve_exact
from airloom.planner.objective.frontier import (
    Choice,
    Frontier,
    FrontierTable,
    choose,
    choose_all,
    frontier_step,
    host_vectors,
)
from airloom.planner.objective.thinning import thin
from airloom.planner.objective.vectors import vectors


def _passed(
    problem: Problem, wanted: Objective, *, bounds: Floats | None = None, width: int | None = None
) -> list[tuple[Frontier, FrontierTable]]:
    """Every host's frontier and table, source first."""
    found: list[tuple[Frontier, FrontierTable]] = []
    told: Frontier | None = None
    for p in range(len(problem.hosts) - 1, -1, -1):
        end = p == len(problem.hosts) - 1
        own = host_vectors(
            problem.hosts[p],
            None if end else problem.hops[p],
            wanted,
            ROLES,
            receiver=None if end else problem.hosts[p + 1],
        )
        told, table = frontier_step(own, told, bounds=bounds, width=width)
        found.insert(0, (told, table))
    return found


def _decided(told: list[tuple[Frontier, FrontierTable]], first: Choice, weights: Floats) -> tuple[int, ...]:
    """Where the label that the source chose leads, each host asked in turn."""
    stops, choice = [first.stop], first
    for frontier, table in told[1:]:
        if choice.onward < 0:
            stops.append(stops[-1])
            continue
        next_choice = choose(frontier, table, choice.stop, weights, label=choice.onward)
        assert next_choice is not None
        choice = next_choice
        stops.append(choice.stop)
    return tuple(stops)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_the_source_hears_of_every_plan_that_nothing_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    wanted = random_objective(rng, least=2)
    told = _passed(problem, wanted)[0][0].at(0)
    tried = [one.costs for one in try_all(vectors(problem, wanted, ROLES))]
    assert told.shape[0] <= len(tried)
    for costs in tried:
        assert (told <= costs + 1e-9).all(axis=1).any()
    for costs in told:
        assert min(np.abs(costs - other).max() for other in tried) <= 1e-9


@given(seed=st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_the_source_decides_as_the_exact_solver_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    wanted = random_objective(rng)
    priced = vectors(problem, wanted, ROLES)
    told = _passed(problem, wanted, bounds=priced.bounds)
    choice = choose(*told[0], 0, priced.weights, priced.bounds)
    try:
        right = solve_exact(priced)
    except Infeasible:
        assert choice is None or not choice.meets
        return
    assert choice is not None
    assert choice.meets
    assert priced.value(choice.costs) == pytest.approx(right.value, rel=1e-8, abs=1e-9)
    stops = _decided(told, choice, priced.weights)
    assert priced.value(priced.cost(stops)) <= right.value * (1 + 1e-8) + 1e-9
    assert priced.meets(priced.cost(stops))


@given(seed=st.integers(0, 2**32), width=st.integers(5, 12))
@settings(max_examples=80, deadline=None)
def test_what_thinning_loses_is_bounded_by_what_it_says(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, 4, 7)
    wanted = Objective(minimize=(Term("energy"),), require=(Bound("latency", 9e9), Bound("bytes", 9e9)))
    whole, thinned = _passed(problem, wanted), _passed(problem, wanted, width=width)
    for (all_ways, _), (some, _) in zip(whole, thinned, strict=True):
        assert some.loss >= 1.0
        for cut in range(problem.num_operators + 1):
            assert len(some.at(cut)) <= width
            for costs in all_ways.at(cut):
                assert (some.at(cut) <= costs * some.loss + 1e-9).all(axis=1).any()
            if len(all_ways.at(cut)):
                assert some.at(cut).min(axis=0) == pytest.approx(all_ways.at(cut).min(axis=0), abs=1e-9)


def test_thinning_at_scale_keeps_its_promise() -> None:
    costs = np.random.default_rng(1).lognormal(0.0, 1.0, (1500, 3))
    for width in (5, 20, 200):
        rows, ratio = thin(costs, np.ones(3), width)
        assert 0 < len(rows) <= width
        covered = (costs[rows][:, None, :] <= costs[None, :, :] * (1 + ratio) + 1e-12).all(axis=2).any(axis=0)
        assert covered.all()


def test_a_host_decides_by_what_is_left_of_each_bound() -> None:
    frontier = Frontier(np.array([[1.0, 9.0], [3.0, 4.0], [6.0, 1.0]]), np.array([0, 3, 3]))
    table = FrontierTable(np.array([1, 1, 1]), np.array([0, 1, 0]), np.array([2, 0, 1]))
    weights = np.array([1.0, 0.0])
    assert choose(frontier, table, 0, weights, np.array([np.inf, np.inf])).label == 0
    second = choose(frontier, table, 0, weights, np.array([np.inf, 5.0]))
    assert (second.label, second.stop, second.way, second.onward, second.meets) == (1, 1, 1, 0, True)
    short = choose(frontier, table, 0, weights, np.array([np.inf, 0.5]))
    assert (short.label, short.meets) == (2, False)
    spent = choose(frontier, table, 0, weights, np.array([np.inf, -1.0]))
    assert (spent.label, spent.meets) == (2, False)
    assert choose(frontier, table, 0, weights, label=1).way == 1
    assert choose(frontier, table, 0, weights, label=3) is None
    assert choose(frontier, table, 1, weights) is None


def test_a_frontier_too_narrow_to_keep_what_it_must_is_refused() -> None:
    problem = rich_problem(np.random.default_rng(0), 2, 3)
    with pytest.raises(ValueError, match="at least 3 ways wide, got 2"):
        _passed(problem, Objective(), width=2)


@given(seed=st.integers(0, 2**32), together=st.sampled_from((1, 3, 10)))
@settings(max_examples=80, deadline=None)
def test_a_frontier_is_the_same_however_many_ways_are_held_against_each_other_at_once(seed: int, together: int) -> None:
    rng = np.random.default_rng(seed)
    problem, wanted = rich_problem(rng, 3, 6), random_objective(rng, least=2)
    whole = _passed(problem, wanted)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stepping, "TOGETHER", together)
        patched.setattr(dominance, "TOGETHER", together)
        piecewise = _passed(problem, wanted)
    for (one, table), (other, other_table) in zip(whole, piecewise, strict=True):
        assert one.offsets.tolist() == other.offsets.tolist()
        assert one.costs == pytest.approx(other.costs, rel=1e-12, abs=1e-12)
        assert table.stop.tolist() == other_table.stop.tolist()


@given(seed=st.integers(0, 2**32), together=st.sampled_from((1, 5, 256)))
@settings(max_examples=80, deadline=None)
def test_groups_keep_what_nothing_of_their_own_beats(seed: int, together: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 7, int(rng.integers(1, 7)))
    costs = rng.integers(0, 4, (int(sizes.sum()), int(rng.integers(1, 4)))).astype(float)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dominance, "TOGETHER", together)
        kept = dominance.keep_of_each(costs, sizes)
    starts = np.cumsum(sizes) - sizes
    wanted = []
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        for row in range(start, start + size):
            others = [other for other in range(start, start + size) if other != row]
            wanted += (
                [row]
                if not any(
                    (costs[other] <= costs[row]).all() and ((costs[other] != costs[row]).any() or other < row)
                    for other in others
                )
                else []
            )
    assert kept.tolist() == wanted


@given(seed=st.integers(0, 2**32), share=st.floats(0.0, 1.5))
@settings(max_examples=80, deadline=None)
def test_the_choice_of_all_cuts_is_that_of_each(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    problem, wanted = rich_problem(rng, 3, 6), random_objective(rng, least=1)
    priced = vectors(problem, wanted, ROLES)
    left = priced.bounds.copy()
    left[np.isfinite(left)] *= share
    for frontier, table in _passed(problem, wanted):
        rows = choose_all(frontier, priced.weights, left)
        for cut, row in enumerate(rows.tolist()):
            one = choose(frontier, table, cut, priced.weights, left)
            assert row == (-1 if one is None else int(frontier.offsets[cut]) + one.label)
