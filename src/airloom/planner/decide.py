"""From a topology and profiles to a plan: chain, prices, optimum, and what it is held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec

from airloom.core.framing import Framing
from airloom.core.objective import Objective
from airloom.core.plan import Alternative, Plan
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, Topology
from airloom.errors import Infeasible
from airloom.planner.beside import beside
from airloom.planner.chain import solve
from airloom.planner.deciding import UnreachablePlan, alternative, plan_for
from airloom.planner.modes import Modes, Pricer, chosen_route, route_notes
from airloom.planner.planning import make_plan
from airloom.planner.pricing import FRAMED, Choices, profile_of

#: Plain requests over the best path.
PLAIN = Modes()
#: The scheme of the alternative that keeps every radio link at 10 % BLER.
LINK_ADAPTATION = "link-adaptation"


def decide(
    topology: Topology,
    profiles: Mapping[str, Profile],
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    result_returns: bool = True,
    contract: Contract | None = None,
    choices: Choices | None = None,
    adapted: Choices | None = None,
    runner_ups: int = 3,
    objective: Objective | None = None,
    modes: Modes = PLAIN,
) -> tuple[Plan, Problem]:
    """The best plan from the topology's source to its sink, and the prices it was made from.

    Where several next hops lead nearer to the sink the path is chosen too (`routing`); a line of the plan's notes
    says so.

    Args:
        choices: of radio links, each MCS that they may use.
        adapted: of radio links, the one that link adaptation would take; the best plan under it
            goes beside the plan, as the alternative of scheme `LINK_ADAPTATION`.
        runner_ups: how many of the best other assignments to put beside it.
        objective: what the plan is to be good at, and the bounds it must keep; None is the least latency.
        modes: a step of training or parameters that are merged in place of plain requests, and a path by hand.

    Raises:
        Infeasible: the limits, or the accuracy floor, leave no way.
        UnreachablePlan: no plan keeps every bound of the objective; carries the closest one.
        ConfigError: the objective counts devices that there are none of.
        NoRoute: the topology has no path from source to sink.
    """
    price = Pricer(
        topology,
        profiles,
        conditions=conditions,
        framing=framing,
        private_operators=private_operators,
        result_returns=result_returns and modes.training is None,
        contract=contract,
        choices=choices,
        modes=modes,
    )
    route, nominal = chosen_route(price, objective)
    problem, profile = price(route.chain), profile_of(topology.source, profiles)
    try:
        plan = _decided(price, route.chain, problem, profile, adapted, runner_ups, objective)
    except UnreachablePlan as error:
        if route.proven:
            raise
        why = f"{error}; of the paths, {route.considered} were looked at and there are more"
        raise UnreachablePlan(why, error.plan) from None
    if runner_ups > 0:
        found = beside(plan, problem, price, objective, nominal)
        plan = msgspec.structs.replace(plan, alternatives=(*plan.alternatives, *found))
    parts = price.parts(plan.chain, plan.stops, plan.predicted_s)
    return msgspec.structs.replace(plan, parts=parts, notes=(*plan.notes, *route_notes(route, modes))), problem


def _decided(
    price: Pricer,
    hosts: tuple[str, ...],
    problem: Problem,
    profile: Profile,
    adapted: Choices | None,
    runner_ups: int,
    objective: Objective | None,
) -> Plan:
    """The best plan on a path."""
    topology = price.topology

    def priced(radio: Choices) -> Problem:
        return dataclasses.replace(price, choices=radio)(hosts)

    if objective is not None:
        plan = plan_for(problem, objective, topology, profile, runner_ups=runner_ups)
        if adapted:
            found = alternative(priced(adapted), objective, topology, LINK_ADAPTATION)
            plan = msgspec.structs.replace(plan, alternatives=(*plan.alternatives, *found))
        return plan
    plan = make_plan(problem, solve(problem), topology, profile, runner_ups=runner_ups)
    if not adapted:
        return plan
    try:
        usual = solve(priced(adapted))
    except Infeasible:
        return plan
    kept = Alternative(stops=usual.stops, predicted_s=usual.seconds, scheme=LINK_ADAPTATION)
    return msgspec.structs.replace(plan, alternatives=(*plan.alternatives, kept))
