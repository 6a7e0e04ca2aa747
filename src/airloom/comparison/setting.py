"""The schemes of a comparison, and what is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airloom.core.plan import Plan
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.deployment import DeployOptions
from airloom.engine.following import PINNED_NOTE, hosts_follow
from airloom.engine.radios import radio_choices
from airloom.errors import Infeasible
from airloom.planner.baselines import TITLES, baselines
from airloom.planner.deciding import plan_for
from airloom.planner.modes import Pricer, planned_chain
from airloom.planner.planning import make_plan
from airloom.planner.pricing import profile_of

if TYPE_CHECKING:
    from airloom.nn.captured import Captured

AIRLOOM = "airloom"


@dataclass(frozen=True)
class Scheme:
    """A way of placing the model: a plan that is pinned, or with None the hosts' own tables."""

    name: str
    title: str
    plan: Plan | None
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What is the same for all schemes of a comparison.

    Attributes:
        profiles: by device id; the one under "" is for all others.
    """

    captured: Captured
    topology: Topology
    profiles: Mapping[str, Profile]
    options: DeployOptions = field(default_factory=DeployOptions)

    def pricer(self, conditions: Conditions | None = None) -> Pricer:
        """Prices of any path under `conditions`."""
        topology = self.options.priced(self.topology)
        return Pricer(
            topology,
            self.profiles,
            conditions=conditions,
            private_operators=self.options.private_operators,
            result_returns=self.options.result_returns,
            contract=self.options.contract,
            choices=radio_choices(topology, conditions),
        )

    def problem(self, conditions: Conditions | None = None, pinned: Plan | None = None) -> Problem:
        """Prices under `conditions` on the way from source to sink that is best then, or on that of a pinned plan."""
        price = self.pricer(conditions)
        return price(planned_chain(price, self.options.objective, pinned))

    def schemes(self, names: Sequence[str]) -> tuple[Scheme, ...]:
        """The schemes of these names: `airloom`, or a baseline's.

        Raises:
            Infeasible: a baseline is not possible within the limits, or no plan keeps every bound.
        """
        problem, profile = self.problem(), profile_of(self.topology.source, self.profiles)
        objective = self.options.objective
        possible, found = baselines(problem), []
        for name in names:
            if name == AIRLOOM:
                if objective is None or hosts_follow(objective):
                    found.append(Scheme(name, "Airloom", None, "every host follows its own table"))
                else:
                    plan = plan_for(problem, objective, self.topology, profile, runner_ups=0)
                    found.append(Scheme(name, "Airloom", plan, PINNED_NOTE))
                continue
            solution = possible[name]
            if solution is None:
                raise Infeasible(
                    f"{TITLES[name]} is not possible within the limits of memory and privacy: leave it out"
                )
            plan = make_plan(problem, solution, self.topology, profile, runner_ups=0)
            found.append(Scheme(name, TITLES[name], plan, "planned for the network as it begins, and pinned"))
        return tuple(found)
