"""A host's part in training: its stage, the step under way there, and weights that come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

from airloom.core.training import LABELS, LOSS, TrainingSpec, Word, gradient_id, is_gradient_of_weight, state_id
from airloom.engine.config import HostConfig
from airloom.engine.events import StageDone, StageRaised, TrainAction, TrainingPinned
from airloom.engine.messages import Frame, FrameKind, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.training.layout import TrainingLayout, label_nbytes, lay_out_training, moves, owned_state
from airloom.engine.training.mail import Mail
from airloom.engine.training.pieces import Collector, pieces
from airloom.engine.training.trains import OF_A_STEP, Asked, Trains
from airloom.errors import UserError

_NO_PARCEL = Parcel()


@dataclass(slots=True)
class _Step:
    """The try at a step that is under way here.

    Attributes:
        labels: on their way to the last stage.
        loss: at the last stage.
        borrowed: new values that other stages still owe.
        installing: those that the executor is taking over.
        updated: whether this stage's own weights have been.
    """

    number: int
    attempt: int
    labels: memoryview
    phase: str = "forward"
    loss: memoryview | None = None
    borrowed: set[int] = field(default_factory=set)
    installing: int = 0
    updated: bool = False


class Stages:
    """Follows the plan in force; see `TrainingPinned`, and `mail` for who is told."""

    def __init__(self, config: HostConfig, spec: TrainingSpec, mail: Mail, outbox: Outbox) -> None:
        self._config, self._spec, self._mail, self._out = config, spec, mail, outbox
        self._profile = config.profile
        self._sizes = {
            id: nbytes
            for cut in config.profile.cuts
            for id, nbytes in zip(cut.tensors, cut.tensor_nbytes, strict=False)
        }
        self._gradients = [
            {t for t, n in zip(cut.tensors, cut.gradient_nbytes, strict=False) if n} for cut in config.profile.cuts
        ]
        self._trains = Trains(config, outbox)
        self.layout: TrainingLayout | None = None
        self.stage = -1
        self._before: TrainingLayout | None = None
        self._collector = Collector(())
        self._begun: TrainingPinned | None = None
        self._moving = self._placed = self._ready = False
        self._step: _Step | None = None

    # --- plans --------------------------------------------------------------------------------

    def pin(self, event: TrainingPinned) -> str:
        """A new plan is in force; what was under way is forgotten. "" or why it cannot be followed."""
        try:
            layout = lay_out_training(event.plan, self._config)
            before = None if event.before is None else lay_out_training(event.before, self._config)
        except UserError as error:
            self._out.drop("plan refused", line=str(error))
            return str(error)
        self._forget_step()
        self._trains.forget()
        self.layout, self._before, self._begun = layout, before, event
        self.stage = layout.stage_of(self._config.device)
        self._mail.next_hop = lambda dst: layout.next_hop(self._config.device, dst)
        self._moving = self._placed = self._ready = False
        coming = () if before is None else moves(before, layout, self._profile, self._spec)
        mine = [one for one in coming if one.dst == self._config.device]
        self._collector = Collector(pair for one in mine for pair in one.tensors)
        return ""

    def on_move(self, frame: Frame) -> None:
        """The source says that every host has the plan: send what leaves, take what comes, be ready."""
        layout, begun = self.layout, self._begun
        if layout is None or begun is None or frame.epoch != layout.plan.epoch or frame.request != begun.step:
            return self._mail.failure(
                f"no plan of epoch {frame.epoch} here", step=frame.request, attempt=0, epoch=frame.epoch
            )
        self._moving = True
        if begun.state is not None and self._before is not None and not self._ready:
            stage = self._before.stage_of(self._config.device)
            self._train("place", begun.step, begun.state, layout=self._before, stage=stage)
        if self._before is not None:
            for move in moves(self._before, layout, self._profile, self._spec):
                if move.src == self._config.device:
                    stage = self._before.stage_of(self._config.device)
                    self._train(
                        "export", begun.step, makes=move.tensors, dst=move.dst, layout=self._before, stage=stage
                    )
        if self._ready:
            return self._say_ready()
        return self._place_if_complete()

    def on_parameters(self, frame: Frame, parcel: Parcel) -> None:
        """Weights from where they were before this plan."""
        layout = self.layout
        if layout is None or frame.epoch != layout.plan.epoch:
            return self._stale(frame)
        if self._placed:
            return self._out.drop("duplicate", frame.request, what="parameters")
        if self._begun is None or frame.request != self._begun.step or not self._collector.add(frame.cut, parcel):
            return self._out.drop("not weights that are expected here", frame.request)
        return self._place_if_complete()

    def _place_if_complete(self) -> None:
        if self.layout is None or self._begun is None or not self._moving or self._placed:
            return
        if not self._collector.is_complete:
            return
        self._placed = True
        # Also where this host has no stage any more: its trainer is to know.
        self._train("place", self._begun.step, self._collector.parcel())

    def _say_ready(self) -> None:
        if self.layout is not None and self._begun is not None and self.stage >= 0:
            self._mail.word(self._mail.source, Word.READY, step=self._begun.step, epoch=self.layout.plan.epoch)

    def on_state(self, frame: Frame) -> None:
        """The source wants what this stage owns, as it is before step `frame.request`."""
        layout = self.layout
        if layout is None or frame.epoch != layout.plan.epoch or not self._ready:
            return self._mail.failure(
                f"no weights of epoch {frame.epoch} here", step=frame.request, attempt=0, epoch=frame.epoch
            )
        self._forget_step()
        makes = owned_state(layout, self.stage, self._profile, self._spec)
        return self._train("export", frame.request, makes=makes, dst=self._mail.source, kind=FrameKind.RESULT)

    # --- a step -------------------------------------------------------------------------------

    def on_forward(self, frame: Frame, parcel: Parcel) -> None:
        layout = self.layout
        if layout is None or frame.epoch != layout.plan.epoch:
            self._stale(frame)
            if layout is None or frame.epoch > layout.plan.epoch:
                self._fail(frame, f"no plan of epoch {frame.epoch} here")
            return None
        if self.stage < 0 or not self._ready:
            return self._fail(frame, "its stage is not ready")
        held = self._step
        if held is not None and (frame.request, frame.attempt) <= (held.number, held.attempt):
            return self._stale(frame)
        start, stop = layout.stages[self.stage]
        live = self._config.cut_tensors(start)
        sizes = (*self._profile.cuts[start].tensor_nbytes, self._label_nbytes)
        if parcel.tensors != (*live, LABELS) or tuple(d.nbytes for d in parcel.data) != sizes:
            return self._out.drop("not the live set of its cut", frame.request, frame.attempt, cut=frame.cut)
        self._forget_step()
        self._step = _Step(frame.request, frame.attempt, parcel.data[-1])
        last = self.stage == len(layout.stages) - 1
        ids = () if last else self._config.cut_tensors(stop)
        makes = ((LOSS, 8),) if last else tuple(zip(ids, self._profile.cuts[stop].tensor_nbytes, strict=True))
        # Labels are for the last stage; the others pass them on beside what they make.
        data = parcel if last else Parcel(parcel.tensors[:-1], parcel.data[:-1])
        return self._train("forward", frame.request, data, makes=makes)

    def on_backward(self, frame: Frame, parcel: Parcel) -> None:
        layout, step = self.layout, self._step
        if not self._is_current(frame) or layout is None or step is None or step.phase != "waiting":
            return self._stale(frame)
        wanted = self._gradient_ids(layout, self.stage + 1)
        sizes = [self._gradient_nbytes(id) for id in wanted]
        fits = all(d.nbytes in (0, n) for d, n in zip(parcel.data, sizes, strict=False))
        if parcel.tensors != wanted or not fits:
            return self._out.drop("not the gradients of its cut", frame.request, frame.attempt, cut=frame.cut)
        return self._back(layout, step, parcel)

    def _back(self, layout: TrainingLayout, step: _Step, gradients: Parcel) -> None:
        step.phase = "backward"
        ids = self._gradient_ids(layout, self.stage)
        makes = tuple((id, self._gradient_nbytes(id)) for id in ids)
        self._train("backward", step.number, gradients, makes=makes)

    def on_values(self, frame: Frame, parcel: Parcel) -> None:
        """New values of weights that this stage reads and another one owns."""
        step = self._step
        if not self._is_current(frame) or step is None or step.phase not in ("updating", "done"):
            return self._stale(frame)
        if not parcel.tensors or not step.borrowed.issuperset(parcel.tensors):
            return self._stale(frame)
        if any(d.nbytes != self._value_nbytes(id) for id, d in zip(parcel.tensors, parcel.data, strict=True)):
            return self._out.drop("not the values of its weights", frame.request, frame.attempt)
        step.borrowed.difference_update(parcel.tensors)
        step.installing += 1
        return self._train("install", step.number, parcel)

    def _is_current(self, frame: Frame) -> bool:
        step, layout = self._step, self.layout
        return (
            layout is not None and step is not None and frame.epoch == layout.plan.epoch
            and (frame.request, frame.attempt) == (step.number, step.attempt)
        )  # fmt: skip

    # --- the executor -------------------------------------------------------------------------

    def done(self, event: StageDone) -> None:
        """The executor has carried out a `Train`."""
        job = self._trains.over(event.job)
        if job is None:
            return None
        train, layout = job.train, self.layout
        if layout is not None and train.stage >= 0 and train.stages == layout.stages:
            self._trains.note(job, event.compute_s, self._mail.source, layout.names[train.stage])
        if event.parcel.tensors != tuple(id for id, _ in train.makes):
            return self._raised(job, f"the trainer made tensors {event.parcel.tensors}")
        if layout is None:
            return None
        if train.action == "place":
            if train.stages == layout.stages and train.stage == self.stage and self._placed:
                self._ready = True
                self._say_ready()
            return None
        if train.action == "export":
            for number, part in pieces(event.parcel):
                self._mail.send(
                    job.dst, Mode.PARAMETERS, part, step=train.step, epoch=layout.plan.epoch, cut=number, kind=job.kind
                )
            return None
        step = self._step
        if step is None or (step.number, step.attempt) != (train.step, job.attempt):
            return None
        if train.action == "forward":
            return self._forward_done(layout, step, event.parcel)
        if train.action == "backward":
            return self._backward_done(layout, step, event.parcel)
        if train.action == "update":
            self._update_done(layout, step, event.parcel)
        else:
            step.installing -= 1
        return self._done_if_all(layout, step)

    def raised(self, event: StageRaised) -> None:
        job = self._trains.over(event.job)
        if job is not None:
            self._raised(job, event.message)

    def _raised(self, job: Asked, line: str) -> None:
        if job.train.action in OF_A_STEP:
            self._forget_step()
        epoch = self.layout.plan.epoch if self.layout is not None else 0
        self._mail.failure(f"{job.train.action}: {line}", step=job.train.step, attempt=job.attempt, epoch=epoch)

    def _forward_done(self, layout: TrainingLayout, step: _Step, made: Parcel) -> None:
        if self.stage == len(layout.stages) - 1:
            step.loss = made.data[0]
            return self._back(layout, step, _NO_PARCEL)
        step.phase = "waiting"
        onward = Parcel((*made.tensors, LABELS), (*made.data, step.labels))
        return self._mail.send(
            layout.devices[self.stage + 1], Mode.FORWARD, onward, step=step.number, attempt=step.attempt,
            epoch=layout.plan.epoch, cut=layout.stages[self.stage][1],
        )  # fmt: skip

    def _backward_done(self, layout: TrainingLayout, step: _Step, gradients: Parcel) -> None:
        # Those before wait for this message; the update is this host's own business.
        if self.stage > 0:
            self._mail.send(
                layout.devices[self.stage - 1], Mode.BACKWARD, gradients, step=step.number, attempt=step.attempt,
                epoch=layout.plan.epoch, cut=layout.stages[self.stage][0],
            )  # fmt: skip
        step.phase = "updating"
        trained = self._profile.weights
        step.borrowed = {state_id(w) for w in layout.sharing.borrowed(self.stage) if trained[w].trained}
        lent = [w for w in layout.sharing.lent(self.stage) if trained[w].trained]
        self._train("update", step.number, makes=tuple((state_id(w), trained[w].nbytes) for w in lent))

    def _update_done(self, layout: TrainingLayout, step: _Step, values: Parcel) -> None:
        step.updated = True
        for stage, device in enumerate(layout.devices):
            theirs = {state_id(w) for w in layout.sharing.borrowed(stage)}
            picked = [k for k, id in enumerate(values.tensors) if id in theirs] if stage != self.stage else []
            part = Parcel(tuple(values.tensors[k] for k in picked), tuple(values.data[k] for k in picked))
            for _, piece in pieces(part):
                self._mail.send(
                    device, Mode.VALUES, piece, step=step.number, attempt=step.attempt, epoch=layout.plan.epoch
                )

    def _done_if_all(self, layout: TrainingLayout, step: _Step) -> None:
        if not step.updated or step.borrowed or step.installing or step.phase == "done":
            return
        step.phase = "done"
        loss = _NO_PARCEL if step.loss is None else Parcel((LOSS,), (step.loss,))
        self._mail.word(
            self._mail.source, Word.DONE, step=step.number, attempt=step.attempt, epoch=layout.plan.epoch, parcel=loss
        )

    # --- small things -------------------------------------------------------------------------

    def _train(
        self, action: TrainAction, step: int, parcel: Parcel = _NO_PARCEL, *,
        makes: tuple[tuple[int, int], ...] = (), dst: str = "", kind: FrameKind = FrameKind.TASK,
        layout: TrainingLayout | None = None, stage: int | None = None,
    ) -> None:  # fmt: skip
        layout = layout or self.layout
        assert layout is not None  # nothing is asked for before a plan is there
        at = self.stage if stage is None else stage
        attempt = 0 if self._step is None else self._step.attempt
        self._trains.ask(action, step, layout.stages, at, parcel, makes, attempt=attempt, dst=dst, kind=kind)

    def _forget_step(self) -> None:
        """Whatever the executor has not begun of the step under way is skipped."""
        step, self._step = self._step, None
        if step is None:
            return
        self._trains.forget(lambda asked: asked.train.action in OF_A_STEP)

    def _fail(self, frame: Frame, line: str) -> None:
        self._mail.failure(line, step=frame.request, attempt=frame.attempt, epoch=frame.epoch)

    def _stale(self, frame: Frame) -> None:
        epoch = None if self.layout is None else self.layout.plan.epoch
        reason = "of another epoch" if frame.epoch != epoch else "of another try, or a duplicate"
        self._out.drop(reason, frame.request, frame.attempt, epoch=frame.epoch)

    @property
    def _label_nbytes(self) -> int:
        return label_nbytes(self._spec)

    def _gradient_ids(self, layout: TrainingLayout, stage: int) -> tuple[int, ...]:
        """What crosses the first cut of `stage` on the way back: as `StageTrainer.backward_ids` has it."""
        if stage == 0:
            return ()
        start = layout.stages[stage][0]
        live = tuple(t for t in self._config.cut_tensors(start) if t in self._gradients[start])
        crossing = layout.sharing.crossing(stage)
        return live + tuple(gradient_id(w) for w in crossing if self._profile.weights[w].trained)

    def _gradient_nbytes(self, id: int) -> int:
        return self._profile.weights[id - gradient_id(0)].nbytes if is_gradient_of_weight(id) else self._sizes[id]

    def _value_nbytes(self, id: int) -> int:
        return self._profile.weights[(id - state_id(0)) // (state_id(1) - state_id(0))].nbytes
