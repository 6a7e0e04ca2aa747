"""A training under way: plans that are followed, steps, changes of the network, checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airloom.core.plan import Plan, Stage
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.training import TrainingSpec
from airloom.deployment import DeployOptions
from airloom.deployment.training import State, Step, TrainingDeployment
from airloom.engine.training import lay_out_training, moved_nbytes
from airloom.errors import AirloomError, ConfigError, RequestError, StageFailed
from airloom.planner.decide import decide
from airloom.planner.modes import Modes
from airloom.planner.pricing import profile_of
from airloom.planner.training import Training
from airloom.report.trace import read_trace
from airloom.sim.training import simulate_training
from airloom.training.result import Followed, Interrupted, Trained

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.nn.training.batches import Batches


class Course:
    """One training under way: plans that are followed, steps, checkpoints."""

    def __init__(
        self, captured: Captured, topology: Topology, batches: Batches, spec: TrainingSpec,
        profiles: dict[str, Profile], steps: int, first: int, losses: list[float],
        progress: Callable[[str, int, int], None] | None,
    ) -> None:  # fmt: skip
        self.captured, self.topology, self.batches, self.spec = captured, topology, batches, spec
        self.priced, self.private = topology, 0  # as planners should see it, and how many operators stay at the source
        self.profiles, self.steps, self.first, self.losses = profiles, steps, first, losses
        self.tell = progress or (lambda what, done, total: None)
        self.replan: dict[int, Plan | None] = {}
        self.changes: list[Conditions] = []
        self.conditions: Conditions | None = None
        self.happened: list[tuple[int, Conditions]] = []
        self.checkpoint: Path | None = None
        self.every = 0
        self.stop: Callable[[], bool] = lambda: False
        self.made: list[Step] = []
        self.plans: list[Followed] = []

    # --- plans --------------------------------------------------------------------------------

    def decided(self, conditions: Conditions | None, previous: Plan | None) -> Plan:
        """The cheapest plan of a step now, what moves counted over the steps that are left."""
        left = self.first + self.steps - (self.made[-1].number + 1 if self.made else self.first)
        nbytes = math.prod(self.spec.label_shape) * 8
        modes = Modes(training=Training(previous=previous, amortise=max(1, left), labels_nbytes=nbytes))
        plan, _ = decide(
            self.priced, self.profiles, conditions=conditions, private_operators=self.private, runner_ups=0, modes=modes
        )  # fmt: skip
        return _joined(plan)

    def check_private(self, plan: Plan) -> None:
        """ConfigError where `plan` has another host run operators that are to stay at the source."""
        for stage in plan.stages:
            if stage.start < min(stage.stop, self.private) and stage.device != self.topology.source:
                raise ConfigError(
                    f"the first {self.private} operators stay on {self.topology.source}: the plan has {stage.device} "
                    f"run {stage.start}..{stage.stop - 1}",
                    where="plan",
                )

    def predicted_s(self, plan: Plan) -> float | None:
        """Seconds of a step under a plan, simulated on the network as it is."""
        changes = () if self.conditions is None else (msgspec.structs.replace(self.conditions, at_s=-0.5),)
        found = simulate_training(self.priced, self.profiles, self.spec, plan, 2, changes=changes)
        return None if found.error is not None else found.step_s[-1]

    def follow(self, net: TrainingDeployment, plan: Plan, at: int, **begin: Any) -> None:
        self.check_private(plan)
        config = net.source_config
        after, old = lay_out_training(plan, config), begin.get("before") or net.followed
        nbytes = 0
        if old is not None:
            own = profile_of(self.topology.source, self.profiles)
            nbytes = moved_nbytes(lay_out_training(old, config), after, own, self.spec)
        took_s = net.follow(plan, **begin)
        self.plans.append(Followed(at, plan, self.predicted_s(plan), took_s, nbytes))

    # --- steps --------------------------------------------------------------------------------

    def over(self, options: DeployOptions, plan: Plan, state: State | None) -> Trained:
        self.tell("starting hosts", 0, self.steps)
        with TrainingDeployment(
            self.captured,
            self.topology,
            self.profiles,
            options=options,
            progress=lambda line: self.tell(line, 0, self.steps),
        ) as net:
            begin: dict[str, Any] = {"step": self.first}
            if state is not None:
                begin |= {"before": self._all_at_source(plan), "state": state}
            self.follow(net, plan, self.first, **begin)
            began = time.monotonic()
            stopped = False
            for step in range(self.first, self.first + self.steps):
                if self.stop():
                    stopped = True
                    break
                self._changes(net, step, time.monotonic() - began)
                self.tell(f"step {step}", len(self.made), self.steps)
                try:
                    made = net.train_step(*self.batches(step))
                except RequestError:
                    # What the step before left is still there, unless a host took it with it.
                    if self.checkpoint is not None:
                        with contextlib.suppress(AirloomError):
                            self._save(step, net.state())
                    raise
                self.made.append(made)
                self.losses.append(made.loss)
                if not math.isfinite(made.loss):
                    raise StageFailed(f"training came apart: the loss of step {step} is {made.loss}: lower the rate")
                done = len(self.made)
                if self.every and done % self.every == 0 and done < self.steps:
                    self._save(step + 1, net.state())
            self.tell("bringing weights home", len(self.made), self.steps)
            home = net.state()
            at = self.first + len(self.made)
            self._save(at, home)
            notes = net.notes
            folder = net.trace_folder
        from airloom.nn.training.checkpoint import weights_of

        trace = tuple(read_trace(folder)) if folder.is_dir() else ()
        trained = Trained(
            weights_of(self.captured.graph, home), tuple(self.losses), at, tuple(self.made), tuple(self.plans), home,
            self.spec, trace, notes,
        )  # fmt: skip
        if stopped:
            raise Interrupted(trained)
        return trained

    def _changes(self, net: TrainingDeployment, step: int, now_s: float) -> None:
        """What happens to the network and to the plan before a step."""
        due = [change for change in self.changes if change.at_s <= now_s]
        self.changes = self.changes[len(due) :]
        for change in due:
            net.apply(change)
            self.conditions = merged(self.conditions, change)
            self.happened.append((step, change))
        if step in self.replan or due:
            plan = self.replan.get(step) or self.decided(self.conditions, net.followed)
            followed = net.followed
            if followed is None or [(s.device, s.start, s.stop) for s in plan.stages] != [
                (s.device, s.start, s.stop) for s in followed.stages
            ]:
                self.tell("moving weights", len(self.made), self.steps)
                self.follow(net, plan, step)

    def _save(self, step: int, state: State) -> None:
        if self.checkpoint is not None:
            from airloom.nn.training.checkpoint import save_checkpoint

            save_checkpoint(self.checkpoint, self.captured.graph, self.spec, step, state, tuple(self.losses))

    def _all_at_source(self, like: Plan) -> Plan:
        stage = Stage(id="checkpoint", device=self.topology.source, start=0, stop=self.captured.graph.num_operators)
        return msgspec.structs.replace(like, stages=(stage,), transfers=(), chain=(stage.device,), stops=(stage.stop,))


def merged(before: Conditions | None, change: Conditions) -> Conditions:
    """How the network differs from its topology after `change`, which names only what is new."""
    links = {(s.src, s.dst): s for s in (before.links if before is not None else ())}
    for state in change.links:
        old = links.get((state.src, state.dst))
        known = {name: getattr(state, name) for name in state.__struct_fields__ if getattr(state, name) is not None}
        links[state.src, state.dst] = state if old is None else msgspec.structs.replace(old, **known)
    devices = {s.id: s for s in (before.devices if before is not None else ())} | {s.id: s for s in change.devices}
    return Conditions(at_s=change.at_s, links=tuple(links.values()), devices=tuple(devices.values()))


def _joined(plan: Plan) -> Plan:
    """The plan without stages of no operators."""
    return msgspec.structs.replace(plan, stages=tuple(stage for stage in plan.stages if stage.stop > stage.start))
