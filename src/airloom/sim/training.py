"""Split training in virtual time: the same hosts, sizes in place of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from airloom.core.graph import TensorSpec
from airloom.core.messages import Parcel
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event as TraceEvent
from airloom.core.training import LABELS, TrainingSpec
from airloom.engine.events import TrainingOutcome, TrainingPinned, TrainStep
from airloom.engine.training import lay_out_training
from airloom.errors import ConfigError, RequestError
from airloom.planner.pricing import profile_of
from airloom.sim.simulation import Simulation


@dataclass(frozen=True)
class SimulatedTraining:
    """What came of it.

    Attributes:
        step_s: seconds of each step, in order.
        moved_s: seconds that weights took to be where each plan has them, the first (0 or so) included.
        error: why it ended early; None where all steps were made.
    """

    trace: list[TraceEvent]
    step_s: tuple[float, ...]
    moved_s: tuple[float, ...]
    error: RequestError | None = None


class _Run:
    """Asks for one thing after the other, each when the one before has its outcome."""

    def __init__(
        self, topology: Topology, profile: Profile, spec: TrainingSpec, plans: list[tuple[int, Plan]], steps: int
    ):
        self.topology, self.plans, self.steps = topology, plans, steps
        self.step, self.epoch, self.now, self.before = 0, 0, 0.0, None
        self.followed: Plan | None = None
        self.step_s: list[float] = []
        self.moved_s: list[float] = []
        self.error: RequestError | None = None
        self.over = False
        cut = profile.cuts[0]
        label = TensorSpec(shape=spec.label_shape, dtype=spec.label_dtype).nbytes
        sizes = (*cut.tensor_nbytes, label)
        self.batch = Parcel((*cut.tensors, LABELS), tuple(memoryview(bytes(n)) for n in sizes))
        self.simulation: Simulation

    def next(self) -> None:
        self.now = self.simulation.now_s
        if self.plans and self.plans[0][0] <= self.step:
            _, plan = self.plans.pop(0)
            self.epoch += 1
            plan = msgspec.structs.replace(plan, epoch=self.epoch)
            event = TrainingPinned(plan, self.step, self.followed)
            self.followed = plan
            source = self.topology.source
            for device in (*(d.id for d in self.topology.devices if d.id != source), source):
                self.simulation.tell(device, event)
        elif self.step < self.steps:
            self.simulation.tell(self.topology.source, TrainStep(self.step, self.batch))
        else:
            self.over = True

    def ended(self, outcome: TrainingOutcome) -> None:
        took_s = self.simulation.now_s - self.now
        if isinstance(outcome.outcome, RequestError):
            self.error, self.over = outcome.outcome, True
            return
        if outcome.what == "step":
            self.step_s.append(took_s)
            self.step += 1
        else:
            self.moved_s.append(took_s)
        # Not from within the event that ended it.
        self.simulation.at(self.simulation.now_s, self.next)


def simulate_training(
    topology: Topology,
    profiles: Profile | Mapping[str, Profile],
    spec: TrainingSpec,
    plan: Plan,
    steps: int,
    *,
    replan: Mapping[int, Plan] | None = None,
    changes: Sequence[Conditions] = (),
    seed: int = 0,
) -> SimulatedTraining:
    """`steps` steps by `plan`, and by the plans of `replan` from the step that each is under.

    Args:
        profiles: for training: with times of the way back, gradients and what the optimiser keeps.
        changes: of the network, as in `Simulation`.

    Raises:
        ProfileMismatch, ConfigError: a plan that hosts could not follow, or no steps to make.
    """
    if steps < 1:
        raise ConfigError(f"at least 1 step, got {steps}", where="steps")
    by_device = {"": profiles} if isinstance(profiles, Profile) else profiles
    own = profile_of(topology.source, by_device)
    plans = [(0, plan), *sorted((replan or {}).items(), key=lambda pair: pair[0])]
    run = _Run(topology, own, spec, plans, steps)
    simulation = run.simulation = Simulation(
        topology, by_device, (), changes=changes, seed=seed, training=spec, on_training=run.ended,
        known_from_start=True, probe_s=None,
    )  # fmt: skip
    for _, one in plans:
        lay_out_training(one, simulation.config(topology.source))
    simulation.at(0.0, run.next)
    trace = simulation.run(float("inf"), stop=lambda: run.over)
    return SimulatedTraining(trace, tuple(run.step_s), tuple(run.moved_s), run.error)
