"""Plans under an objective: what they carry, what stands beside them, and what is said where none keeps the bounds."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from airloom.config import load_topology
from airloom.config.objective import parse_objective
from airloom.core.objective import Objective
from airloom.core.plan import Plan
from airloom.core.problem import Problem
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.errors import ConfigError, Infeasible
from airloom.planner.check import check_plan
from airloom.planner.decide import decide
from airloom.planner.deciding import LEAST_LATENCY, UnreachablePlan, broken_bounds
from airloom.planner.inputs import load_profile
from airloom.planner.objective.outcome import outcome
from airloom.planner.objective.vectors import vectors
from airloom.planner.phases import predicted_phase
from airloom.planner.planning import price_plan, roles_of

EXAMPLES = Path(__file__).parents[2] / "examples"
PROFILE = load_profile(EXAMPLES / "resnet20.json")
KEPT = 6


@pytest.fixture(scope="module")
def net() -> Topology:
    return load_topology(EXAMPLES / "objectives.yaml")


def objective(*minimize: str, require: tuple[str, ...] = (), solver: str | None = None) -> Objective:
    found = parse_objective(minimize, require, solver)
    assert found is not None
    return found


def planned(net: Topology, what: Objective | None, runner_ups: int = 3) -> tuple[Plan, Problem]:
    return decide(net, {"": PROFILE}, private_operators=KEPT, runner_ups=runner_ups, objective=what)


def best(problem: Problem, what: Objective, net: Topology) -> tuple[float, bool]:
    """By trying every assignment of three hosts: the least value that keeps the bounds, and whether any does."""
    priced, last = vectors(problem, what, roles_of(net)), problem.num_operators
    values = [
        priced.value(costs)
        for first, second in itertools.combinations_with_replacement(range(KEPT, last + 1), 2)
        if priced.meets(costs := priced.cost((first, second, last)))
    ]
    return min(values, default=float("inf")), bool(values)


@pytest.mark.parametrize(
    ("minimize", "require"),
    [
        (("energy",), ()),
        (("energy",), ("latency<=50ms",)),
        (("energy@ue",), ("latency<=62ms", "money<=0.0000009")),
        (("money",), ("latency<=60ms",)),
        (("latency",), ("energy<=0.3 J",)),
        (("energy=0.5", "latency=3"), ("bytes<=0.1 MiB",)),
    ],
)
def test_no_assignment_is_better(net: Topology, minimize: tuple[str, ...], require: tuple[str, ...]) -> None:
    what = objective(*minimize, require=require)
    plan, problem = planned(net, what)
    least, possible = best(problem, what, net)
    assert possible
    weights = {term.name: term.weight for term in what.minimize}
    value = sum(weights.get(cost.name, 0.0) * cost.predicted for cost in plan.costs)
    assert plan.gap is not None
    assert least <= value * (1 + 1e-9)
    assert value <= least * (1 + plan.gap + 1e-9)
    assert all(cost.kept for cost in plan.costs)
    assert plan.objective == what
    # Whatever it was to be good at, a plan tells latency and energy.
    assert {"latency", "energy"} <= {cost.name for cost in plan.costs}
    assert {cost.name: cost.predicted for cost in plan.costs}["latency"] == pytest.approx(plan.predicted_s)
    assert check_plan(plan, net, PROFILE) == ()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_what_stands_beside_a_plan_is_priced_under_the_same_objective(net: Topology) -> None:
    what = objective("energy", require=("latency<=50ms",))
    plan, problem = planned(net, what)
    priced = vectors(problem, what, roles_of(net))
    by_scheme = {other.scheme: other for other in plan.alternatives if other.scheme}
    # The first operators stay on the ue, so that the cloud cannot have all.
    assert list(by_scheme) == ["ue-only", "single-split", LEAST_LATENCY, "convex", "linear"]
    for other in plan.alternatives:
        costs = {cost.name: cost.predicted for cost in other.costs}
        came = outcome(priced, other.stops)
        assert [costs["energy"], costs["latency"]] == pytest.approx(list(came.costs))
        assert other.predicted_s == pytest.approx(costs["latency"])
        assert other.kept == (costs["latency"] <= 0.05)
    assert not by_scheme["ue-only"].kept
    own = plan.costs[0].predicted
    assert all(other.costs[0].predicted >= own * (1 - 1e-9) for other in plan.alternatives if other.kept)
    # No assignment that another host's stop makes is missed: the nearest is the first that keeps the bound.
    near = [other for other in plan.alternatives if not other.scheme]
    assert len(near) == 3
    assert [other.kept for other in near] == sorted((other.kept for other in near), reverse=True)
    assert planned(net, what, runner_ups=0)[0].alternatives == ()


def test_a_plan_without_an_objective_tells_its_costs_too(net: Topology) -> None:
    plan, _ = planned(net, None)
    assert plan.objective is None
    assert plan.predicted_j is not None
    assert [(cost.name, cost.predicted) for cost in plan.costs] == [
        ("latency", pytest.approx(plan.predicted_s)),
        ("energy", plan.predicted_j),
    ]


def test_least_latency_as_an_objective_is_the_plan_without_one(net: Topology) -> None:
    assert planned(net, objective("latency"))[0].stops == planned(net, None)[0].stops


def test_bounds_that_cannot_be_kept_bring_the_closest_plan(net: Topology) -> None:
    with pytest.raises(UnreachablePlan, match=r"latency.*30\.0 ms") as error:
        planned(net, objective("energy", require=("latency<=30ms",)))
    assert isinstance(error.value, Infeasible)
    assert "\n" not in str(error.value)
    closest = error.value.plan
    # Nothing is faster, so nothing is closer to the bound.
    assert closest.predicted_s == pytest.approx(planned(net, None)[0].predicted_s)
    assert [cost.kept for cost in closest.costs if cost.limit is not None] == [False]


@pytest.mark.parametrize("solver", ["convex", "linear"])
def test_solvers_that_promise_nothing_say_what_they_break(net: Topology, solver: str) -> None:
    plan, problem = planned(net, objective("energy", require=("latency<=50ms",), solver=solver))
    assert plan.gap is None
    assert any(not cost.kept for cost in plan.costs)
    assert "exact" in {other.scheme for other in plan.alternatives}
    assert plan.objective is not None
    [line] = broken_bounds(plan, problem, plan.objective, net)
    assert line.startswith("costs: latency comes to ")
    assert line.endswith("the bound is 50.0 ms")


def test_a_role_that_is_not_there(net: Topology) -> None:
    with pytest.raises(ConfigError, match="mec"):
        planned(net, objective("energy@mec"))


def test_a_phase_has_what_its_requests_should_cost(net: Topology) -> None:
    what = objective("energy", require=("latency<=50ms",))
    plan, problem = planned(net, what, runner_ups=0)
    phase, expected = predicted_phase(problem, net, PROFILE, objective=what)
    assert expected.stops == plan.stops
    assert phase.costs == plan.costs[:2]
    # The same assignment after its link has slowed down: longer, and the bound is broken.
    slow = Conditions(links=(LinkState("ue", "gnb", rate_bps=20e6),))
    _, slower = decide(net, {"": PROFILE}, private_operators=KEPT, conditions=slow)
    phase, kept = predicted_phase(slower, net, PROFILE, pinned=plan, objective=what)
    assert kept is plan
    assert phase.predicted_s == pytest.approx(price_plan(plan, slower)) == pytest.approx(slower.chain_s(plan.stops))
    assert [cost.kept for cost in phase.costs] == [True, False]
    assert phase.predicted_j == pytest.approx(phase.costs[0].predicted)
    # Where no plan keeps the bounds any more, the closest is expected.
    phase, closest = predicted_phase(slower, net, PROFILE, objective=objective("energy", require=("latency<=40ms",)))
    assert phase.stops == closest.stops == decide(net, {"": PROFILE}, private_operators=KEPT, conditions=slow)[0].stops
    assert any(not cost.kept for cost in phase.costs)
