"""Split training from start to end: plan, hosts, steps, changes of plan, weights home, a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import airloom
from airloom.core.plan import Plan, Stage
from airloom.core.profile import Profile
from airloom.core.run import Change, Phase, RunRecord, SchemeRecord
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event
from airloom.core.training import TrainingSpec
from airloom.deployment import DeployOptions
from airloom.deployment.training import State, Step, TrainingDeployment
from airloom.engine.training import lay_out_training, moved_nbytes
from airloom.errors import AirloomError, ConfigError, RequestError, StageFailed
from airloom.files import made_folder, write_value
from airloom.planner.decide import decide
from airloom.planner.modes import Modes
from airloom.planner.pricing import profile_of
from airloom.planner.route import chain
from airloom.planner.training import Training
from airloom.report.folder import RECORD, TRACES
from airloom.report.trace import read_trace
from airloom.sim.training import simulate_training

if TYPE_CHECKING:
    from torch import Tensor

    from airloom.nn.captured import Captured
    from airloom.nn.training.batches import Batches

_SCHEME = "training"


@dataclass(frozen=True)
class Followed:
    """A plan that was followed, from which step on.

    Attributes:
        predicted_s: seconds of a step under it, simulated on the topology's links; *modelled*.
        moved_s: seconds until all weights were where it has them.
        moved_nbytes: payload that had to move, each byte once.
    """

    step: int
    plan: Plan
    predicted_s: float | None
    moved_s: float
    moved_nbytes: int


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        weights: weights and buffers by name.
        losses: of every step, before its update.
        step: number of steps made, those before a checkpoint included.
        steps: what each step of this run came to.
        plans: the plans that were followed.
        state: weights, buffers and optimiser state, as a checkpoint holds them.
        trace: everything that hosts of this machine wrote down.
        notes: what of the run stands for something else.
    """

    weights: Mapping[str, Tensor]
    losses: tuple[float, ...]
    step: int
    steps: tuple[Step, ...]
    plans: tuple[Followed, ...]
    state: State
    spec: TrainingSpec
    trace: tuple[Event, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write the weights as safetensors, such as `--weights` takes."""
        from airloom.nn.training.checkpoint import save_weights

        save_weights(Path(path), self.weights)

    def sent(self, *what: str) -> int:
        """Bytes on the wire of messages of these kinds (`forward`, `backward`, `values`, `parameters`), every hop."""
        return sum(
            int(event.data.get("wire_nbytes", 0))
            for event in self.trace
            if event.kind == "send" and event.data.get("what") in what
        )


class Interrupted(AirloomError):
    """Training was ended before its last step, at a step's end; `trained` is what there is."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        super().__init__(f"ended after step {trained.step - 1}" if trained.step else "ended before the first step")


def train_split(
    captured: Captured,
    topology: Topology,
    batches: Batches,
    spec: TrainingSpec,
    steps: int,
    *,
    profiles: Mapping[str, Profile],
    plan: Plan | None = None,
    replan: Mapping[int, Plan | None] | None = None,
    changes: Sequence[Conditions] = (),
    options: DeployOptions | None = None,
    resume: tuple[int, State, tuple[float, ...]] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 0,
    folder: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Trained:
    """Train `captured` for `steps` steps over the hosts of `topology`.

    Args:
        batches: inputs and labels of step k.
        profiles: of the model in train mode, by device id, with times of the way back.
        plan: where stages run; None plans the cheapest step.
        replan: from which step on another plan holds; None in it plans anew from where weights lie then.
        changes: of the emulated network, `at_s` from the first step; each is followed by planning anew.
        resume: step, state and losses of a checkpoint: weights begin at the source and travel to their hosts.
        checkpoint: file that the state is written to at the end, every `checkpoint_every` steps, when it is stopped,
            and when a step fails that took no host with it.
        folder: a run folder for `airloom report`.
        stop: asked between two steps; true ends the training there.
        progress: called with what is at work, steps done and steps to do.

    Raises:
        UserError: what was given does not fit together.
        RequestError: a step failed: a host went down, an operator raised. The last checkpoint holds.
        Interrupted: `stop` said so.
    """
    first, state, losses = resume or (0, None, ())
    if steps < 1:
        raise ConfigError(f"at least 1 step, got {steps}", where="steps")
    if checkpoint_every and checkpoint is None:
        raise ConfigError("say where checkpoints go: checkpoint=PATH", where="checkpoint_every")
    if any(not first < step < first + steps for step in replan or {}):
        raise ConfigError(f"plans change between two steps from {first} to {first + steps - 1}", where="replan")
    base = dataclasses.replace(options or DeployOptions(), training=spec, private_operators=0, contract=None)
    run = _Run(captured, topology, batches, spec, dict(profiles), steps, first, list(losses), progress)
    run.replan, run.changes = dict(replan or {}), list(changes)
    run.checkpoint, run.every, run.stop = checkpoint, checkpoint_every, stop
    started = datetime.now(UTC)
    plan = plan or run.decided(None, None)
    if folder is None:
        return run.over(base, plan, state)
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        try:
            trained = run.over(dataclasses.replace(base, folder=Path(scratch)), plan, state)
        except Interrupted as error:
            _write_run(folder, Path(scratch), run, error.trained, started)
            raise
        _write_run(folder, Path(scratch), run, trained, started)
        return trained


class _Run:
    """One training under way."""

    def __init__(
        self, captured: Captured, topology: Topology, batches: Batches, spec: TrainingSpec,
        profiles: dict[str, Profile], steps: int, first: int, losses: list[float],
        progress: Callable[[str, int, int], None] | None,
    ) -> None:  # fmt: skip
        self.captured, self.topology, self.batches, self.spec = captured, topology, batches, spec
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
        plan, _ = decide(self.topology, self.profiles, conditions=conditions, runner_ups=0, modes=modes)
        return _joined(plan)

    def predicted_s(self, plan: Plan) -> float | None:
        """Seconds of a step under a plan, simulated on the network as it is."""
        changes = () if self.conditions is None else (msgspec.structs.replace(self.conditions, at_s=-0.5),)
        found = simulate_training(self.topology, self.profiles, self.spec, plan, 2, changes=changes)
        return None if found.error is not None else found.step_s[-1]

    def follow(self, net: TrainingDeployment, plan: Plan, at: int, **begin: Any) -> None:
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


def _write_run(folder: Path, scratch: Path, run: _Run, trained: Trained, started: datetime) -> None:
    """The run folder, with steps in the place of requests."""
    target = folder / TRACES / _SCHEME
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if (scratch / TRACES).is_dir():
        shutil.copytree(scratch / TRACES, target)
    graph = run.captured.graph
    phases = tuple(
        Phase(
            name=f"plan {k + 1}", first_request=one.step - run.first, predicted_s=one.predicted_s, stops=one.plan.stops,
            transfers=one.plan.transfers, notes=one.plan.notes,
        )
        for k, one in enumerate(trained.plans)
    )  # fmt: skip
    own = profile_of(run.topology.source, run.profiles)
    record = RunRecord(
        title=f"Training {graph.model}",
        model=graph.model,
        graph_digest=graph.digest,
        operators=tuple(op.name for op in graph.operators),
        topology=run.topology,
        chain=chain(run.topology),
        schemes=(
            SchemeRecord(
                name=_SCHEME, title="Split training", plan=trained.plans[0].plan if trained.plans else None,
                phases=phases, predicted_stages=tuple(s for one in trained.plans[1:] for s in one.plan.stages),
                note=f"{len(trained.steps)} steps of {run.spec.optimizer}; a request is a step",
            ),
        ),
        changes=tuple(
            Change(request=k - run.first, title="the network changed", conditions=c) for k, c in run.happened
        ),
        emulated=trained.notes,
        machine=own.machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
    )  # fmt: skip
    write_value(folder / RECORD, record)
