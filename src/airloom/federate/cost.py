"""What a round of collaborative learning costs over a network: local steps in stages, then parameters on their way.

HiveMind (section VI-B) plans an agent's training with what it costs to send its parameters to where they are merged
(Eq. 13), and compares with a plan that leaves them out. Both are priced here by the same rule, parameters included.
All figures are modelled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from airloom.core.framing import Framing
from airloom.core.objective import LATENCY, Bound, Metric, Objective
from airloom.core.plan import PlanCost
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.value import Basis, Value
from airloom.errors import ConfigError
from airloom.planner.collaborative import Collaboration
from airloom.planner.modes import Modes, Pricer, planned_chain
from airloom.planner.objective.outcome import outcome
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.planning import roles_of
from airloom.planner.pricing import FRAMED, Choices, profile_of
from airloom.planner.training import Training

# What a round is told in, whatever the objective.
_TOLD: tuple[Metric, ...] = ("latency", "energy", "bytes")


class AgentCost(Value, frozen=True):
    """What a plan costs one agent in one round: its local steps, and a merge.

    Attributes:
        source: the device that has the agent's data.
        chain: the hosts that its model may be split over.
        stops: the operator up to which each of them runs.
        costs: of a round, by metric; limits are those of a step, times the steps.
        kept: whether a step keeps every bound.
    """

    source: str
    chain: tuple[str, ...]
    stops: tuple[int, ...]
    costs: tuple[PlanCost, ...]
    kept: bool

    def cost(self, name: str) -> float:
        """What a round costs in the metric `name`.

        Raises:
            KeyError: it was not priced.
        """
        return {cost.name: cost.predicted for cost in self.costs}[name]


class RoundCost(Value, frozen=True):
    """What one round costs all agents, each as if it were alone in the network.

    Attributes:
        seconds: of the slowest agent: the merge waits for all.
        joules, nbytes: of all agents together.
        kept: whether every agent's step keeps every bound.
    """

    agents: tuple[AgentCost, ...]
    seconds: float
    joules: float
    nbytes: float
    kept: bool
    basis: Basis = "modelled"


class RoundPlans(Value, frozen=True):
    """A round under the plan that counts the parameters' way (`aware`), and under the one that leaves it out.

    Attributes:
        steps: local steps of a round.
        merge_at: the device that merges.
        modelled_backward: whether backward times were taken for a multiple of forward ones.
    """

    model: str
    steps: int
    merge_at: str
    objective: Objective
    aware: RoundCost
    standard: RoundCost
    modelled_backward: bool = False


@dataclass(frozen=True)
class RoundNetwork:
    """The network as agents meet it.

    Attributes:
        profiles: by device, "" for all others, as `planner.inputs.load_profiles` gives them.
        choices: of radio links, each MCS that they may use.
    """

    topology: Topology
    profiles: Mapping[str, Profile]
    conditions: Conditions | None = None
    framing: Framing = FRAMED
    choices: Choices | None = None


def plan_rounds(
    network: RoundNetwork,
    collaboration: Collaboration,
    training: Training,
    *,
    objective: Objective = LATENCY,
    sources: Sequence[str] = (),
) -> RoundPlans:
    """Plan a round for the agents at `sources`, with and without the parameters' way in the plan.

    Args:
        collaboration: `every` is the number of local steps of a round.
        objective: of one step, a step's share of the parameters' way included.
        sources: devices with an agent; all UEs where none is named, or the topology's source.

    Raises:
        Infeasible: no plan keeps the bounds, memory or privacy.
        ConfigError: no such device.
        NoRoute: an agent cannot reach the sink, or nobody the merging host.
    """
    topology = network.topology
    places = tuple(sources) or tuple(d.id for d in topology.devices if d.role == "ue") or (topology.source,)
    known = {device.id for device in topology.devices}
    for place in places:
        if place not in known:
            raise ConfigError(f"no device {place!r}: there are {', '.join(sorted(known))}", where="--agents-at")
    aware: list[AgentCost] = []
    standard: list[AgentCost] = []
    modelled = False
    for source in places:
        own = msgspec.structs.replace(topology, source=source)
        steps = Pricer(
            own, network.profiles, conditions=network.conditions, framing=network.framing, choices=network.choices,
            modes=Modes(training=training),
        )  # fmt: skip
        whole = dataclasses.replace(steps, modes=Modes(training=training, collaboration=collaboration))
        # Each plan takes the path that is best at its own prices.
        best, usual = planned_chain(whole, objective), planned_chain(steps, objective)
        aware.append(_agent(source, whole(best), whole(best), objective, own, collaboration.every))
        standard.append(_agent(source, steps(usual), whole(usual), objective, own, collaboration.every))
        modelled = modelled or steps.training(usual).modelled
    return RoundPlans(
        model=profile_of(places[0], network.profiles).model,
        steps=collaboration.every,
        merge_at=collaboration.to,
        objective=objective,
        aware=_together(aware),
        standard=_together(standard),
        modelled_backward=modelled,
    )


def _agent(
    source: str, planned: Problem, priced: Problem, objective: Objective, topology: Topology, steps: int
) -> AgentCost:
    """The assignment that `objective` makes of the prices `planned`, at the prices `priced`."""
    roles = roles_of(topology)
    stops = solve_objective(planned, objective, roles).solution.stops
    # The usual metrics are told too, under a bound that none exceeds.
    named = {term.name for term in objective.minimize} | {bound.name for bound in objective.require}
    told = tuple(Bound(metric, float("inf")) for metric in _TOLD if metric not in named)
    everything = msgspec.structs.replace(objective, require=(*objective.require, *told))
    found = outcome(vectors(priced, everything, roles), stops)
    return AgentCost(
        source=source,
        chain=tuple(host.device for host in priced.hosts),
        stops=stops,
        costs=tuple(
            PlanCost(
                name=cost.name,
                predicted=cost.predicted * steps,
                limit=None if cost.limit is None else cost.limit * steps,
            )
            for cost in found.plan_costs
        ),
        kept=found.meets,
    )


def _together(agents: Sequence[AgentCost]) -> RoundCost:
    return RoundCost(
        agents=tuple(agents),
        seconds=max(agent.cost("latency") for agent in agents),
        joules=sum(agent.cost("energy") for agent in agents),
        nbytes=sum(agent.cost("bytes") for agent in agents),
        kept=all(agent.kept for agent in agents),
    )
