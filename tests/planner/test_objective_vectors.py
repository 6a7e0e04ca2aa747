"""A problem in several metrics: every price by hand, and against the functions that price a plan."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_instances import ROLES, coded_problem, random_objective, rich_problem

from airloom.core.objective import LATENCY, Bound, Objective, Term
from airloom.core.problem import HopCost, HostCost, Option, Problem
from airloom.errors import ConfigError
from airloom.planner.objective.assignment import assignment_costs
from airloom.planner.objective.vectors import metrics_of, vectors


def _by_hand() -> Problem:
    hosts = (
        HostCost("h0", np.array([0.0, 1.0, 3.0]), constant_s=0.5, energy_w=2.0, price_per_s=1.0),
        HostCost("h1", np.array([0.0, 0.1, 0.2]), energy_w=10.0, price_per_s=4.0),
    )
    option = Option("a", nbytes=100, transfer_s=1.0, code_s=0.25, decode_s=0.5, energy_j=3.0, receive_j=0.75)
    back = Option(nbytes=7, transfer_s=0.125, energy_j=0.5, receive_j=0.0625)
    return Problem(hosts, (HopCost("h0", "h1", ((option,), (option,), ()), back),))


def test_prices_by_hand() -> None:
    terms = tuple(Term(metric) for metric in ("latency", "energy", "bytes", "money"))
    problem = vectors(_by_hand(), Objective(minimize=terms), ROLES)
    # Operator 0 on h0 (1.5 s), coding 0.25, transfer 1, decoding 0.5, operator 1 on h1 (0.1), back 0.125.
    assert problem.cost((1, 2)) == pytest.approx(
        [1.5 + 1.75 + 0.1 + 0.125, 2 * 1.75 + 3 + 0.75 + 10 * 0.6 + 0.5625, 107, 1.75 + 4 * 0.6]
    )
    assert problem.cost((2, 2)) == pytest.approx([3.5, 7.0, 0.0, 3.5])


def test_only_the_devices_that_are_named_count() -> None:
    terms = (Term("energy", devices=("ue",)), Term("energy", devices=("h1",)), Term("bytes", devices=("ue",)))
    problem = vectors(_by_hand(), Objective(minimize=terms, require=(Bound("bytes", 9.0, ("mec",)),)), ROLES)
    assert problem.names == ("energy@ue", "energy@h1", "bytes@ue", "bytes@mec")
    # Sending and coding are the UE's, hearing and decoding the other's; the result's way back the other way round.
    assert problem.cost((1, 2)) == pytest.approx([2 * 1.75 + 3 + 0.0625, 0.75 + 10 * 0.6 + 0.5, 100, 7])
    assert problem.weights.tolist() == [1, 1, 1, 0]
    assert problem.bounds.tolist() == [np.inf] * 3 + [9]


def test_terms_of_one_name_add_and_the_tightest_bound_holds() -> None:
    wanted = Objective(
        minimize=(Term("energy", 2.0), Term("energy", 0.5)), require=(Bound("latency", 5.0), Bound("latency", 3.0))
    )
    problem = vectors(_by_hand(), wanted, ROLES)
    assert (problem.weights.tolist(), problem.bounds.tolist()) == ([2.5, 0.0], [np.inf, 3.0])


def test_a_device_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="'edge', which is no device and no role"):
        vectors(_by_hand(), Objective(minimize=(Term("energy", devices=("edge",)),)), ROLES)


@given(seed=st.integers(0, 2**32), coded=st.booleans())
@settings(max_examples=150, deadline=None)
def test_equals_the_price_of_a_plan(seed: int, coded: bool) -> None:
    rng = np.random.default_rng(seed)
    hosts, operators = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    problem = coded_problem(rng, hosts, operators) if coded else rich_problem(rng, hosts, operators)
    wanted = random_objective(rng)
    priced = vectors(problem, wanted, ROLES)
    latency = vectors(problem, LATENCY, ROLES)
    for head in itertools.combinations_with_replacement(range(operators + 1), hosts - 1):
        stops = (*head, operators)
        seconds = problem.chain_s(stops)
        assert latency.cost(stops)[0] == pytest.approx(seconds, abs=1e-9)
        costs, ways = priced.priced(stops)
        assert np.isfinite(costs).all() == np.isfinite(seconds)
        if np.isfinite(seconds):
            options = priced.options(stops, ways)
            beside = assignment_costs(problem, stops, options, metrics_of(wanted), ROLES)
            assert costs == pytest.approx([beside[name] for name in priced.names], abs=1e-9)
            assert priced.cost(stops, ways) == pytest.approx(costs)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_ways_that_are_dropped_are_worse_than_one_that_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = rich_problem(rng, 2, 4)
    crossing = vectors(problem, random_objective(rng), ROLES).crossing(0, 1)
    for cut, row in enumerate(problem.hops[0].options[:-1]):
        ways = [k for k in range(len(crossing.costs)) if np.isfinite(crossing.costs[k, 0, cut])]
        assert bool(ways) == bool(row)
        kept = crossing.costs[ways, :, cut]
        assert {crossing.route(k, cut)[0] for k in ways} <= set(row)
        for one, other in itertools.permutations(range(len(ways)), 2):
            assert (kept[one] < kept[other]).any()
