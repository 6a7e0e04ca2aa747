"""Objectives from a program: terms and bounds as text, one or several; what the plan says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import airloom
from airloom.core.objective import Bound, Objective, Term
from airloom.errors import ConfigError, Infeasible

EXAMPLES = Path(__file__).parents[1] / "examples"
NET = EXAMPLES / "objectives.yaml"
PROFILE = airloom.load_profile(EXAMPLES / "resnet20.json")


def test_one_or_several_terms_and_bounds() -> None:
    one = airloom.plan(PROFILE, NET, private_operators=6, minimize="energy", require="latency<=50ms")
    several = airloom.plan(PROFILE, NET, private_operators=6, minimize=["energy"], require=["latency<=50ms"])
    assert one.plan == several.plan
    assert one.plan.objective == Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.05),))
    assert [(cost.name, cost.kept) for cost in one.costs] == [("energy", True), ("latency", True)]
    assert one.predicted_s <= 0.05
    assert airloom.plan(PROFILE, NET).plan.objective is None


def test_a_simulation_follows_the_objective() -> None:
    for bound, solver in (("latency<=50ms", None), ("latency<=55ms", None), ("latency<=50ms", "convex")):
        plan = airloom.plan(PROFILE, NET, private_operators=6, minimize="energy", require=bound, solver=solver)
        results = [event for event in airloom.simulate(plan, requests=3) if event.kind == "result"]
        assert len(results) == 3
        assert all(event.took_s == pytest.approx(plan.predicted_s, rel=1e-3) for event in results)


def test_more_bounds_than_a_request_carries_are_pinned() -> None:
    bounds = ["latency<=50ms", "money<=1", "bytes<=1 MiB"]
    plan = airloom.plan(PROFILE, NET, private_operators=6, minimize="energy", require=bounds)
    assert all(cost.kept for cost in plan.costs)
    results = [event for event in airloom.simulate(plan, requests=3) if event.kind == "result"]
    assert all(event.took_s == pytest.approx(plan.predicted_s, rel=1e-3) for event in results)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ({"minimize": "speed"}, r"^minimize: no metric 'speed'"),
        ({"minimize": "energy@mec"}, r"^minimize: no device has the role mec: there are cloud, gnb, ue$"),
        ({"require": ["latency<=1"]}, r"^require: a time needs its unit"),
        ({"solver": "fast"}, r"^solver: no solver 'fast'"),
    ],
)
def test_mistakes_name_the_argument(what: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        airloom.plan(PROFILE, NET, **what)  # type: ignore[arg-type]


def test_bounds_that_cannot_be_kept() -> None:
    with pytest.raises(Infeasible, match=r"43\.2 ms where 30\.0 ms is demanded") as error:
        airloom.plan(PROFILE, NET, private_operators=6, require="latency<=30ms")
    assert error.value.plan.stops == (6, 77, 77)  # type: ignore[attr-defined]


def test_a_plan_keeps_its_objective() -> None:
    plan = airloom.plan(PROFILE, NET, minimize="energy")
    with pytest.raises(ConfigError, match="made from a profile alone"):
        airloom.deploy(plan)
