"""A plan on its hosts, for real or in virtual time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airloom.api.files import load_plan
from airloom.api.planning import Planned, objective_of
from airloom.config.objective import ARGUMENTS, check_objective
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.speed import with_class_factors
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError

if TYPE_CHECKING:
    from airloom.deployment import Deployment, DeployOptions
    from airloom.nn.captured import Captured


def deploy(
    planned: Planned | Captured,
    topology: Topology | None = None,
    *,
    profiles: Mapping[str, Profile] | Profile | None = None,
    plan: Plan | str | Path | None = None,
    follow: Literal["tables", "plan"] = "tables",
    options: DeployOptions | None = None,
    progress: Callable[[str], None] | None = None,
    minimize: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    solver: str | None = None,
    **settings: Any,
) -> Deployment:
    """Run the model on its hosts; `with airloom.deploy(plan) as net: y = net(x)`.

    Args:
        planned: what `plan` returned for a captured model; or the captured model, with `topology`
            and `profiles`.
        plan: pinned as it is, one that was kept (`load_plan`, or its file); with a captured model only.
        follow: `tables` lets every host decide by split cost messages, so that the plan follows the
            network; `plan` pins the plan as it is.
        options: see `DeployOptions`; single ones can be named instead: `transport="tcp"`.
        progress: hears a line for each step that takes a while.
        minimize, require, solver: as of `plan`, with a captured model; what `plan` returned keeps the
            objective that it was made under.

    Raises:
        UserError: what was given does not fit together.
        DeploymentError: hosts did not come up.
    """
    from airloom.deployment import Deployment, DeployOptions
    from airloom.engine.following import hosts_follow

    if isinstance(planned, Planned):
        if topology is not None or profiles is not None or plan is not None:
            raise ConfigError("a plan has its topology and profiles: plan again for others")
        if planned.captured is None:
            raise ConfigError("this plan was made from a profile alone: plan with the captured model to deploy it")
        captured, topology, profiles = planned.captured, planned.topology, planned.profiles
        limits = {
            "private_operators": planned.private_operators,
            "result_returns": planned.result_returns,
            "contract": planned.contract,
            "tuned_folder": planned.tuned_folder,
            "objective": planned.plan.objective,
        }
        if minimize or require or solver is not None:
            raise ConfigError("a plan keeps the objective it was made under: plan again for another")
    else:
        if topology is None or profiles is None:
            raise ConfigError("a captured model needs a topology and profiles to be deployed: pass them, or a plan")
        if follow == "plan" and plan is None:
            raise ConfigError("there is no plan to follow: pass what `airloom.plan` returned, or `plan`")
        objective = objective_of(minimize, require, solver)
        check_objective(objective, topology, places=ARGUMENTS)
        by_device = {"": profiles} if isinstance(profiles, Profile) else profiles
        topology = with_class_factors(topology, by_device)
        captured, limits = planned, dict[str, Any]() if objective is None else {"objective": objective}
    chosen = dataclasses.replace(options or DeployOptions(), **{**limits, **settings})
    pinned = load_plan(plan) if isinstance(plan, str | Path) else plan
    if isinstance(planned, Planned) and (follow == "plan" or not hosts_follow(chosen.objective)):
        pinned = planned.plan
    elif pinned is None and not hosts_follow(chosen.objective):
        raise ConfigError(
            "hosts cannot follow this objective by their tables: pass what `airloom.plan` returns for it, or `plan`",
            where="solver",
        )
    return Deployment(captured, topology, profiles, plan=pinned, options=chosen, progress=progress)


def simulate(
    planned: Planned,
    requests: int = 100,
    *,
    interval_s: float | None = None,
    deadline_s: float = 10.0,
    changes: Sequence[Conditions] = (),
    follow: Literal["tables", "plan"] = "tables",
    seed: int = 0,
) -> list[Event]:
    """The same hosts in virtual time: what `deploy` would do on links and devices as the topology has them.

    The objective that it was planned under holds: hosts follow it by their tables where they can,
    and else the plan is pinned.

    Args:
        requests: how many, one every `interval_s` seconds; None spaces them by twice the predicted latency.
        changes: how the network differs from the topology, each from its `at_s` on.
        seed: of the links' losses; the same seed gives the same trace.

    Returns:
        The trace; every time in it is modelled.
    """
    from airloom.engine.following import followed, hosts_follow
    from airloom.sim.simulation import Arrival, Simulation

    objective = planned.plan.objective
    every_s = 2.0 * planned.predicted_s if interval_s is None else interval_s
    return Simulation(
        planned.topology,
        planned.profiles,
        [Arrival(at_s=k * every_s, deadline_s=deadline_s) for k in range(requests)],
        changes=changes,
        pinned=planned.plan if follow == "plan" or not hosts_follow(objective) else None,
        objective=followed(objective),
        seed=seed,
        private_operators=planned.private_operators,
        result_returns=planned.result_returns,
        contract=planned.contract,
    ).run()
