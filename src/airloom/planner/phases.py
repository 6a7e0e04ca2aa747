"""What a planner expects of a stretch of a run, as reports put it beside what came."""

from __future__ import annotations

from airloom.core.objective import Objective
from airloom.core.plan import Plan
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.run import Phase
from airloom.core.topology import Conditions, Topology
from airloom.planner.chain import solve
from airloom.planner.deciding import UnreachablePlan, plan_for
from airloom.planner.objective.assignment import as_planned
from airloom.planner.planning import costs_under, make_plan, predicted_j, price_plan


def predicted_phase(
    problem: Problem,
    topology: Topology,
    profile: Profile,
    *,
    pinned: Plan | None = None,
    name: str = "whole run",
    first_request: int = 0,
    conditions: Conditions | None = None,
    objective: Objective | None = None,
    chain: tuple[str, ...] = (),
) -> tuple[Phase, Plan]:
    """The phase in which `problem` holds, and its plan: the pinned one, or what the tables should come to.

    Args:
        objective: what requests are to be good at; where no plan keeps its bounds then, hosts take the closest.
        chain: the run's, in whose order stops are told; those of a plan over another path are left out.
    """
    if pinned is not None:
        plan, seconds = pinned, price_plan(pinned, problem)
    else:
        plan = _expected(problem, topology, profile, objective)
        seconds = plan.predicted_s
    possible = seconds < float("inf")
    options = as_planned(problem, plan) if possible else ()
    contract = plan.predicted_accuracy is not None
    phase = Phase(
        name=name,
        first_request=first_request,
        conditions=conditions or Conditions(),
        predicted_s=seconds,
        stops=plan.stops if not chain or plan.chain == chain[: len(plan.chain)] else (),
        predicted_j=predicted_j(problem, plan.stops, topology, options) if possible else None,
        predicted_accuracy=plan.predicted_accuracy,
        transfers=plan.transfers if contract else (),
        notes=plan.notes,
        costs=costs_under(problem, plan.stops, options, objective, topology) if possible and objective else (),
    )
    return phase, plan


def _expected(problem: Problem, topology: Topology, profile: Profile, objective: Objective | None) -> Plan:
    if objective is None:
        return make_plan(problem, solve(problem), topology, profile, runner_ups=0)
    try:
        return plan_for(problem, objective, topology, profile, runner_ups=0)
    except UnreachablePlan as error:
        return error.plan
