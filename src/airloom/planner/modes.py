"""What a plan is for besides plain requests: training, merging parameters, a path of one's own.

A `Pricer` prices any path under them, so that whoever chooses the path, solves or compares asks one thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airloom.core.framing import Framing
from airloom.core.objective import Objective
from airloom.core.plan import Plan, PlanPart
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, Topology
from airloom.core.value import Basis
from airloom.errors import ConfigError
from airloom.planner.candidates import Route
from airloom.planner.collaborative import Collaboration, parameter_hauls, with_parameters
from airloom.planner.planning import roles_of
from airloom.planner.pricing import FRAMED, Choices, build_problem, profile_of
from airloom.planner.route import chain, feasible_next_hops
from airloom.planner.routing import best_route, check_route, every_next_hop
from airloom.planner.training import Training, TrainingCosts, training_costs


@dataclass(frozen=True)
class Modes:
    """What is planned; plain requests over the best of the feasible paths where nothing is said.

    Attributes:
        training: a step of training in place of a request.
        collaboration: parameters that are merged elsewhere.
        route: the path, source first; empty to choose the best.
        any_route: choose among all paths, not only those whose hops lead nearer to the sink; hosts that decide
            for themselves do not take such paths, so the plan has to be pinned.
    """

    training: Training | None = None
    collaboration: Collaboration | None = None
    route: tuple[str, ...] = ()
    any_route: bool = False


@dataclass(frozen=True)
class Pricer:
    """Prices of any path of a topology; the arguments are those of `pricing.build_problem`."""

    topology: Topology
    profiles: Mapping[str, Profile]
    conditions: Conditions | None = None
    framing: Framing = FRAMED
    private_operators: int = 0
    result_returns: bool = True
    contract: Contract | None = None
    choices: Choices | None = None
    modes: Modes = field(default_factory=Modes)

    def __call__(self, chain: Sequence[str], *, part: bool = False) -> Problem:
        """The problem of a path, source first.

        Args:
            part: it is a part of a path, whose hosts need not be able to serve alone.

        Raises:
            ConfigError: training under an accuracy floor.
            As `build_problem`, `training_costs` and `with_parameters`.
        """
        problem = self.plain(chain) if self.modes.training is None else self.training(chain, part=part).problem
        if self.modes.collaboration is None:
            return problem
        return with_parameters(
            problem,
            self.topology,
            profile_of(self.topology.source, self.profiles),
            self.modes.collaboration,
            conditions=self.conditions,
            framing=self.framing,
            choices=self.choices,
            part=part,
        )

    def part(self, chain: Sequence[str]) -> Problem:
        """The problem of a part of a path."""
        return self(chain, part=True)

    def plain(self, chain: Sequence[str]) -> Problem:
        """The problem of plain requests."""
        return build_problem(
            self.topology,
            chain,
            self.profiles,
            conditions=self.conditions,
            framing=self.framing,
            private_operators=self.private_operators,
            result_returns=self.result_returns,
            contract=self.contract,
            choices=self.choices,
        )

    def training(self, chain: Sequence[str], *, part: bool = False) -> TrainingCosts:
        """The costs of a step of training."""
        if self.contract is not None:
            raise ConfigError("an accuracy floor is for requests: training repairs everything", where="--min-accuracy")
        return training_costs(
            self.topology,
            chain,
            self.profiles,
            self.modes.training or Training(),
            conditions=self.conditions,
            framing=self.framing,
            private_operators=self.private_operators,
            choices=self.choices,
            part=part,
        )

    def parts(self, chain: Sequence[str], stops: Sequence[int], predicted_s: float) -> tuple[PlanPart, ...]:
        """What an assignment's seconds are made of; empty for plain requests.

        Args:
            predicted_s: of the assignment; what hops take is what the other parts leave of it.
        """
        if self.modes.training is None and self.modes.collaboration is None:
            return ()
        runs = list(zip(range(len(stops)), (0, *stops), stops, strict=False))
        crossed = [p for p, stop in enumerate(stops[:-1]) if stop < stops[-1]]
        basis = self._basis([chain[p] for p, start, stop in runs if stop > start])
        found: list[PlanPart] = []
        if self.modes.training is not None:
            costs = self.training(chain)
            forward, both = costs.forward, costs.problem
            out = sum(forward.hosts[p].stage_s(start, stop) for p, start, stop in runs)
            way_back = sum(both.hosts[p].compute_s(start, stop) for p, start, stop in runs) - out
            moved = sum(float(costs.moves[p].seconds[stop] - costs.moves[p].seconds[start]) for p, start, stop in runs)
            hauled = sum(
                float(share[stop] - share[start]) for p, start, stop in runs for share in costs.moves[p].nbytes.values()
            )
            on = sum(float(forward.hops[p].forward_s[stops[p]]) for p in crossed)
            sent = sum(forward.hops[p].best(stops[p]).nbytes for p in crossed)
            back = sum(float(both.hops[p].forward_s[stops[p]]) for p in crossed) - on
            returned = sum(both.hops[p].best(stops[p]).nbytes for p in crossed) - sent
            found += [
                PlanPart("forward", out, basis=basis),
                PlanPart("activations", on, sent),
                PlanPart("backward", way_back, basis="modelled" if costs.modelled else basis),
                PlanPart("gradients", back, returned),
                PlanPart("moves", moved, hauled),
            ]
        else:
            problem = self.plain(chain)
            out = sum(problem.hosts[p].stage_s(start, stop) for p, start, stop in runs)
            on = sum(float(problem.hops[p].cost_s[stops[p]]) for p in crossed)
            sent = sum(problem.hops[p].best(stops[p]).nbytes + problem.hops[p].back.nbytes for p in crossed)
            found += [PlanPart("forward", out, basis=basis), PlanPart("transfers", on, sent)]
        if self.modes.collaboration is not None:
            found.append(self._parameters(chain, runs))
        left = predicted_s - sum(part.predicted_s for part in found)
        if abs(left) > 1e-9 * max(predicted_s, 1e-9):
            # An objective has links run otherwise than fastest.
            found.append(PlanPart("links chosen for the objective", left))
        return tuple(found)

    def _parameters(self, chain: Sequence[str], runs: Sequence[tuple[int, int, int]]) -> PlanPart:
        collaboration = self.modes.collaboration
        if collaboration is None:
            return PlanPart("parameters", 0.0)
        hauls = parameter_hauls(
            self.plain(chain),
            self.topology,
            profile_of(self.topology.source, self.profiles),
            collaboration,
            conditions=self.conditions,
            framing=self.framing,
            choices=self.choices,
        )
        seconds, nbytes = 0.0, 0.0
        for p, start, stop in runs:
            haul = hauls[p]
            if haul is not None and stop > start:
                seconds += float(haul.seconds[stop] - haul.seconds[start])
                nbytes += sum(float(share[stop] - share[start]) for share in haul.nbytes.values())
        return PlanPart("parameters", seconds, nbytes)

    def _basis(self, devices: Sequence[str]) -> Basis:
        """Of compute seconds: measured where every device that computes was."""
        measured = all(
            profile_of(id, self.profiles).basis == "measured" and self.topology.device(id).factor == 1.0
            for id in devices
        )
        return "measured" if measured else "modelled"


def chosen_route(price: Pricer, objective: Objective | None) -> tuple[Route, tuple[str, ...]]:
    """The path that a plan takes, and the one of the nominal figures (`route.chain`).

    Raises:
        NoRoute: the topology has no path from source to sink, or the path by hand has a link that is not there.
        ConfigError: the path by hand cannot be one.
        Infeasible: the limits leave no plan on any path.
    """
    topology, conditions, modes = price.topology, price.conditions, price.modes
    back = price.result_returns or modes.training is not None  # gradients need the links back too
    if modes.route:
        by_hand = check_route(modes.route, topology, conditions, result_returns=back)
        return Route(by_hand, 1), by_hand
    nominal = chain(topology, conditions=conditions, result_returns=back)
    if modes.any_route:
        ways = every_next_hop(topology, conditions, result_returns=back)
        # The usual next hop goes first, so that of equals the usual path is taken.
        first = dict(itertools.pairwise(nominal))
        ways = {id: tuple(sorted(dsts, key=lambda dst: dst != first.get(id))) for id, dsts in ways.items()}
    else:
        ways = feasible_next_hops(topology, conditions, result_returns=back)
    route = best_route(
        topology.source,
        ways,
        price,
        objective=objective,
        roles=roles_of(topology),
        separable=price.contract is None,
        part=price.part,
    )
    return route, nominal


def planned_chain(price: Pricer, objective: Objective | None, pinned: Plan | None = None) -> tuple[str, ...]:
    """The path whose prices tell what requests will cost: the pinned plan's, or the one that is best.

    Raises:
        As `chosen_route`.
    """
    if pinned is not None and pinned.chain:
        return pinned.chain
    return chosen_route(price, objective)[0].chain


def route_notes(route: Route, modes: Modes) -> tuple[str, ...]:
    """What to tell people of the choice of the path: nothing where there was none."""
    if modes.route or route.considered < 2:
        return ()
    if route.proven:
        return (f"path {' - '.join(route.chain)}: the best of {route.considered}",)
    return (f"path {' - '.join(route.chain)}: the best of the {route.considered} paths looked at, not proven",)
