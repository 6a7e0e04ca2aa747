"""What a planner expects of a stretch of a run, as reports put it beside what came."""

from __future__ import annotations

from airloom.core.plan import Plan
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.run import Phase
from airloom.core.topology import Conditions, Topology
from airloom.planner.chain import solve
from airloom.planner.planning import make_plan, predicted_j, price_plan


def predicted_phase(
    problem: Problem,
    topology: Topology,
    profile: Profile,
    *,
    pinned: Plan | None = None,
    name: str = "whole run",
    first_request: int = 0,
    conditions: Conditions | None = None,
) -> tuple[Phase, Plan]:
    """The phase in which `problem` holds, and its plan: the pinned one, or what the tables should come to."""
    if pinned is not None:
        plan, seconds = pinned, price_plan(pinned, problem)
    else:
        plan = make_plan(problem, solve(problem), topology, profile, runner_ups=0)
        seconds = plan.predicted_s
    contract = plan.predicted_accuracy is not None
    phase = Phase(
        name=name,
        first_request=first_request,
        conditions=conditions or Conditions(),
        predicted_s=seconds,
        stops=plan.stops,
        predicted_j=predicted_j(problem, plan.stops, topology),
        predicted_accuracy=plan.predicted_accuracy,
        transfers=plan.transfers if contract else (),
        notes=plan.notes,
    )
    return phase, plan
