"""What training, collaborative and recurrent plans, and chosen routes, are held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec

from airloom.core.objective import Bound, Objective
from airloom.core.plan import Alternative, Plan
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.topology import Topology
from airloom.errors import Infeasible
from airloom.planner.chain import solve
from airloom.planner.modes import Pricer
from airloom.planner.objective.outcome import Unreachable, outcome
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import metrics_of, vectors
from airloom.planner.planning import roles_of
from airloom.planner.pricing import profile_of
from airloom.planner.recurrent import module_problem

#: Schemes of alternatives that only some plans have, and what people call them.
NOMINAL_ROUTE, PREVIOUS = "nominal-route", "previous"
WITHOUT_PARAMETERS, MODULE_SPLIT = "without-parameters", "module-split"
TITLES_BESIDE: Mapping[str, str] = {
    NOMINAL_ROUTE: "the usual route",
    PREVIOUS: "as it was",
    WITHOUT_PARAMETERS: "without parameter transfer",
    MODULE_SPLIT: "module split (paper's standard)",
}


def beside(
    plan: Plan, problem: Problem, price: Pricer, objective: Objective | None, nominal: Sequence[str]
) -> tuple[Alternative, ...]:
    """The alternatives that a plan's route and modes call for, those that are possible.

    Args:
        nominal: the path of the nominal figures.
    """
    topology, modes = price.topology, price.modes
    found: list[Alternative | None] = []
    if tuple(nominal) != plan.chain:
        # As a part: where its hosts cannot serve alone there is no plan on it, and nothing to tell.
        usual = _solved(price.part(nominal), objective, topology, NOMINAL_ROUTE)
        found.append(usual and msgspec.structs.replace(usual, chain=tuple(nominal)))
    previous = modes.training.previous if modes.training is not None else None
    if previous is not None and previous.chain == plan.chain and len(previous.stops) == len(plan.chain):
        found.append(_assigned(problem, previous.stops, objective, topology, PREVIOUS))
    if modes.collaboration is not None:
        blind = dataclasses.replace(price, modes=dataclasses.replace(modes, collaboration=None))
        standard = _solved(blind(plan.chain), objective, topology, WITHOUT_PARAMETERS)
        if standard is not None:
            found.append(_assigned(problem, standard.stops, objective, topology, WITHOUT_PARAMETERS))
    profile: Profile = profile_of(topology.source, price.profiles)
    if profile.modules is not None and modes.training is None and modes.collaboration is None and not price.contract:
        module = module_problem(
            topology,
            plan.chain,
            price.profiles,
            conditions=price.conditions,
            framing=price.framing,
            private_operators=price.private_operators,
            result_returns=price.result_returns,
            choices=price.choices,
        )
        found.append(_solved(module, objective, topology, MODULE_SPLIT))
    return tuple(other for other in found if other is not None)


def _solved(problem: Problem, objective: Objective | None, topology: Topology, scheme: str) -> Alternative | None:
    """The plan of the same objective under other prices, or the closest to it; None where nothing is possible."""
    try:
        best = solve(problem) if objective is None else solve_objective(problem, objective, roles_of(topology)).solution
    except Unreachable as error:
        best = error.closest.solution
    except Infeasible:
        return None
    return _assigned(problem, best.stops, objective, topology, scheme)


def _assigned(
    problem: Problem, stops: tuple[int, ...], objective: Objective | None, topology: Topology, scheme: str
) -> Alternative | None:
    """An assignment under the prices of `problem`; None where it cannot be."""
    seconds = problem.chain_s(stops)
    if seconds == float("inf"):
        return None
    if objective is None:
        return Alternative(stops=stops, predicted_s=seconds, scheme=scheme)
    came = outcome(vectors(problem, with_latency(objective), roles_of(topology)), stops)
    return Alternative(stops, came.solution.seconds, scheme, came.plan_costs)


def with_latency(objective: Objective) -> Objective:
    """The objective, and latency without a bound where it does not name it, so that every alternative tells it."""
    if "latency" in metrics_of(objective):
        return objective
    return msgspec.structs.replace(objective, require=(*objective.require, Bound("latency", float("inf"))))
