"""Where each operator should run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.api import models
from airloom.api.files import load_tolerance, load_topology
from airloom.config.objective import ARGUMENTS, check_objective, parse_objective
from airloom.core.objective import Objective
from airloom.core.plan import Plan, PlanCost
from airloom.core.profile import Profile
from airloom.core.speed import with_class_factors
from airloom.core.tolerance import Contract, Tolerance
from airloom.core.topology import Conditions, Topology
from airloom.planner import inputs

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.planner.modes import Modes


@dataclass(frozen=True, repr=False)
class Planned:
    """A plan with what it was made from, so that it can be run and priced again.

    Attributes:
        plan: the decision; `airloom.files.write_value` puts it into a file.
        profiles: by device id; the one under "" is for all others.
        captured: the model, where planning had it; `deploy` needs it.
        contract: the accuracy that was demanded, and the tolerance profile that says what it takes.
        tuned_folder: where the profile's fine-tuned weights lie; None where it came without a file.
    """

    plan: Plan
    topology: Topology
    profiles: Mapping[str, Profile]
    captured: Captured | None = None
    private_operators: int = 0
    result_returns: bool = True
    contract: Contract | None = None
    tuned_folder: Path | None = None

    @property
    def stops(self) -> tuple[int, ...]:
        """For each device of the chain, the cut at which it stops."""
        return self.plan.stops

    @property
    def predicted_s(self) -> float:
        """Seconds that one request should take."""
        return self.plan.predicted_s

    @property
    def costs(self) -> tuple[PlanCost, ...]:
        """What one request should cost in each metric of the objective, with its bounds."""
        return self.plan.costs

    @property
    def predicted_accuracy(self) -> float | None:
        """What requests should come to; None without a tolerance profile."""
        return self.plan.predicted_accuracy

    def __str__(self) -> str:
        parts = ", ".join(f"{stage.device} {stage.start}..{stage.stop - 1}" for stage in self.plan.stages)
        accuracy = "" if self.predicted_accuracy is None else f", accuracy {100 * self.predicted_accuracy:.1f} %"
        return f"{self.plan.model}: {parts}; {self.predicted_s * 1e3:.2f} ms{accuracy} predicted"

    def __repr__(self) -> str:
        return f"<Planned {self}>"


def plan(
    model: Captured | Profile,
    topology: Topology | str | Path,
    *,
    profile: Profile | Mapping[str, Profile] | None = None,
    conditions: Conditions | None = None,
    private_operators: int = 0,
    result_returns: bool = True,
    runner_ups: int = 3,
    tolerance: Tolerance | str | Path | None = None,
    min_accuracy: float | None = None,
    minimize: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    solver: str | None = None,
    modes: Modes | None = None,
) -> Planned:
    """The assignment of operators to hosts that answers soonest, or is best under another objective; exact.

    With a tolerance profile each cut may also go in one of the codings that were measured, with as
    many blocks missing as `min_accuracy` leaves room for: cut, coding, protection, and on a radio
    link the MCS, are chosen together.

    Args:
        model: what was captured, or a profile alone: planning needs no more than that, and no torch.
        profile: of `model`, one for all devices or by device id ("" for the others); measured here,
            which takes seconds, where None. Devices that name a profile of their own use that.
        conditions: how the network differs from the topology now.
        private_operators: how many of the first operators must stay on the source.
        result_returns: whether the result travels back to the source.
        tolerance: of `model`, or its file; see `airloom.tolerance`.
        min_accuracy: the floor that every request must be predicted to keep, 0 to 1; None lets
            nothing be lost, and takes a coding only where it costs no accuracy.
        minimize: what a request should cost little of: "energy", "energy@ue,gnb", "money", "bytes",
            "latency=2.5" with a weight; one or several. Latency where nothing is said.
        require: bounds that every request must keep: "latency<=120ms"; one or several.
        solver: "exact", or HiveMind's "convex" and "linear", which cannot promise bounds
            (docs/objectives.md).
        modes: a step of training, parameters that are merged, or a path by hand (`planner.modes.Modes`).

    Raises:
        Infeasible: the limits leave no way, and names the device and the bytes it is short of; or
            the floor is above the accuracy of the model with nothing lost; or no plan keeps every
            bound (`planner.deciding.UnreachablePlan`, whose `plan` is the closest).
        NoRoute: the topology has no path from source to sink.
        ProfileMismatch: model, profile and tolerance profile are not of the same graph.
        ConfigError: the floor is no share, or there is no tolerance profile for it.
    """
    from airloom.engine.radios import adapted_choices, radio_choices
    from airloom.planner.decide import PLAIN, decide

    objective = objective_of(minimize, require, solver)
    known_losses = load_tolerance(tolerance) if isinstance(tolerance, str | Path) else tolerance
    contract = inputs.contract_of(known_losses, min_accuracy)
    where = topology if isinstance(topology, Topology) else load_topology(topology, result_returns=result_returns)
    check_objective(objective, where, places=ARGUMENTS)
    captured: Captured | None
    if isinstance(model, Profile):
        captured, known = None, model if profile is None else profile
    else:
        captured, known = model, models.profile(model) if profile is None else profile
    profiles = inputs.load_profiles(where, known) if isinstance(known, Profile) else dict(known)
    where = with_class_factors(where, profiles)
    if captured is not None:
        inputs.check_model(profiles, captured.graph)
    decided, _ = decide(
        where,
        profiles,
        conditions=conditions,
        private_operators=private_operators,
        result_returns=result_returns,
        contract=contract,
        choices=radio_choices(where, conditions),
        adapted=adapted_choices(where, conditions),
        runner_ups=runner_ups,
        objective=objective,
        modes=modes or PLAIN,
    )
    folder = Path(tolerance).absolute().parent if isinstance(tolerance, str | Path) else None
    return Planned(decided, where, profiles, captured, private_operators, result_returns, contract, folder)


def objective_of(minimize: str | Sequence[str], require: str | Sequence[str], solver: str | None) -> Objective | None:
    """What a program asks for in words; None where it says nothing."""
    terms = (minimize,) if isinstance(minimize, str) else tuple(minimize)
    bounds = (require,) if isinstance(require, str) else tuple(require)
    return parse_objective(terms, bounds, solver, places=ARGUMENTS)
