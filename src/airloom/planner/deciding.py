"""A plan under an objective, and beside it what other ways of deciding come to under the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

import msgspec

from airloom.core.objective import Bound, Objective, Solver, format_amount
from airloom.core.plan import Alternative, Plan, PlanCost
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.topology import Topology
from airloom.errors import Infeasible
from airloom.planner.baselines import cloud_only, single_splits, ue_only
from airloom.planner.chain import solve
from airloom.planner.objective.assignment import as_planned
from airloom.planner.objective.outcome import Outcome, Unreachable, outcome
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import VectorProblem, vectors
from airloom.planner.planning import costs_under, make_plan, price_plan, roles_of, usual_costs

#: The scheme of the alternative that answers soonest, whatever it costs.
LEAST_LATENCY = "least-latency"
#: Schemes of alternatives that other solvers found.
OTHER_SOLVERS: tuple[Solver, ...] = get_args(Solver)


class UnreachablePlan(Infeasible):
    """No plan keeps every bound.

    Attributes:
        plan: the closest one: the largest of its costs over their bounds is least.
    """

    def __init__(self, message: str, plan: Plan) -> None:
        super().__init__(message)
        self.plan = plan


def plan_for(
    problem: Problem, objective: Objective, topology: Topology, profile: Profile, *, runner_ups: int = 3
) -> Plan:
    """The plan that `objective` asks for.

    Args:
        runner_ups: how many other assignments to put beside it, besides the baselines and the other
            solvers; with 0 neither are there.

    Raises:
        UnreachablePlan: the exact solver finds that no plan keeps every bound; carries the closest one.
        Infeasible: memory and privacy leave no plan at all.
        ConfigError: the objective counts devices that there are none of.
    """
    try:
        found = solve_objective(problem, objective, roles_of(topology))
    except Unreachable as error:
        closest = _plan(problem, error.closest, objective, topology, profile)
        raise UnreachablePlan(str(error), closest) from None
    plan = _plan(problem, found, objective, topology, profile)
    if runner_ups < 1:
        return plan
    beside = alternatives(problem, objective, topology, found, runner_ups)
    return msgspec.structs.replace(plan, alternatives=beside)


def broken_bounds(plan: Plan, problem: Problem, objective: Objective, topology: Topology) -> tuple[str, ...]:
    """The bounds that a chain plan breaks under the prices of `problem`, a line each.

    Raises:
        ConfigError: the plan is of another chain, or of stages side by side; or no such device is counted.
    """
    if price_plan(plan, problem) == float("inf"):
        return ("costs: memory or privacy forbid it under these prices",)
    costs = costs_under(problem, plan.stops, as_planned(problem, plan), objective, topology)
    return tuple(
        f"costs: {cost.name} comes to {format_amount(cost.name, cost.predicted)}, the bound is "
        f"{format_amount(cost.name, cost.limit or 0.0)}"
        for cost in costs
        if not cost.kept
    )


def _plan(problem: Problem, found: Outcome, objective: Objective, topology: Topology, profile: Profile) -> Plan:
    plan = make_plan(problem, found.solution, topology, profile, runner_ups=0, options=found.options)
    own = found.plan_costs
    names = {cost.name for cost in own}
    usual = usual_costs(problem, found.solution.stops, found.options, topology)
    return msgspec.structs.replace(
        plan,
        alternatives=(),
        objective=objective,
        costs=(*own, *(cost for cost in usual if cost.name not in names)),
        gap=found.gap,
    )


def alternatives(
    problem: Problem, objective: Objective, topology: Topology, found: Outcome, runner_ups: int
) -> tuple[Alternative, ...]:
    """Baselines, the fastest plan, what the other solvers choose, and the best assignments near the plan."""
    priced = vectors(problem, _with_usual(objective, found), roles_of(topology))

    def beside(stops: tuple[int, ...], scheme: str) -> Alternative:
        came = outcome(priced, stops)
        return Alternative(
            stops=came.solution.stops, predicted_s=came.solution.seconds, scheme=scheme, costs=came.plan_costs
        )

    schemes: list[Alternative] = []
    for scheme, solution in (("ue-only", ue_only(problem)), ("cloud-only", cloud_only(problem))):
        if solution is not None:
            schemes.append(beside(solution.stops, scheme))
    splits = [solution.stops for solution in single_splits(problem)]
    if splits:
        schemes.append(beside(_ranked(priced, splits)[0], "single-split"))
    schemes.append(beside(solve(problem).stops, LEAST_LATENCY))
    for solver in OTHER_SOLVERS:
        if solver != objective.solver:
            schemes += alternative(problem, msgspec.structs.replace(objective, solver=solver), topology, solver)
    near = _ranked(priced, dict.fromkeys(_neighbours(found.solution.stops)))
    return (*schemes, *(beside(stops, "") for stops in near[:runner_ups]))


def alternative(problem: Problem, objective: Objective, topology: Topology, scheme: str) -> tuple[Alternative, ...]:
    """What `objective` makes of other prices, or the closest to it; nothing where nothing is possible."""
    try:
        found = solve_objective(problem, objective, roles_of(topology))
    except Unreachable as error:
        found = error.closest
    except Infeasible:
        return ()
    costs = found.plan_costs
    if "latency" not in found.names:
        costs = (*costs, PlanCost("latency", found.solution.seconds))
    seconds = found.solution.seconds
    return (Alternative(stops=found.solution.stops, predicted_s=seconds, scheme=scheme, costs=costs),)


def _with_usual(objective: Objective, found: Outcome) -> Objective:
    """The objective, and latency without a bound where it does not name it, so that every alternative tells it."""
    if "latency" in found.names:
        return objective
    return msgspec.structs.replace(objective, require=(*objective.require, Bound("latency", float("inf"))))


def _ranked(priced: VectorProblem, assignments: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Those that can be, the best first: what keeps the bounds by its value, then what breaks them by how far."""
    ranks = []
    for stops in assignments:
        costs, _ = priced.priced(stops)
        if not costs.max(initial=0.0) < float("inf"):
            continue
        met = priced.meets(costs)
        ranks.append((not met, priced.value(costs) if met else priced.excess(costs), stops))
    return [stops for _, _, stops in sorted(ranks, key=lambda rank: rank[:2])]


def _neighbours(stops: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Assignments in which one host stops elsewhere, those that ran nothing after it with it."""
    last = len(stops) - 1
    for p in range(last):
        low = stops[p - 1] if p else 0
        for q in range(p, last):
            if stops[q] != stops[p]:
                break
            for stop in range(low, stops[q + 1] + 1):
                if stop != stops[p]:
                    yield (*stops[:p], *((stop,) * (q - p + 1)), *stops[q + 1 :])
