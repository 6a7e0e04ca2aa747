"""A step at one stage: forward, back, the update, and values of weights that other stages own."""

from __future__ import annotations

from dataclasses import dataclass, field

from airloom.core.training import LABELS, LOSS, TrainingSpec, Word, gradient_id, is_gradient_of_weight, state_id
from airloom.engine.config import HostConfig
from airloom.engine.events import TrainAction
from airloom.engine.messages import Frame, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.training.layout import TrainingLayout, label_nbytes
from airloom.engine.training.mail import Mail
from airloom.engine.training.pieces import Collector, pieces
from airloom.engine.training.trains import OF_A_STEP, Asked, Trains

_NO_PARCEL = Parcel()


@dataclass(slots=True)
class _Step:
    """The try at a step that is under way here.

    Attributes:
        labels: on their way to the last stage.
        loss: at the last stage.
        borrowed: new values that other stages owe.
        whole: whether the executor has them.
        updated: whether this stage's own weights have been.
    """

    number: int
    attempt: int
    labels: memoryview
    phase: str = "forward"
    loss: memoryview | None = None
    borrowed: Collector = field(default_factory=lambda: Collector(()))
    whole: bool = False
    updated: bool = False


class Steps:
    """What this host's stage does in a step.

    Attributes:
        layout, stage: of the plan in force; stage -1 for a host that has none.
        is_ready: whether the stage has its weights.
        seen: step and try of the latest message that began something, and whether it was a try at the step (1) or
            asked for the state before it (0). What is not later is late: a trainer would go a step back for it.
    """

    def __init__(self, config: HostConfig, spec: TrainingSpec, mail: Mail, outbox: Outbox, trains: Trains) -> None:
        self._config, self._spec, self._mail, self._out, self._trains = config, spec, mail, outbox, trains
        self._profile = config.profile
        cuts = config.profile.cuts
        self._sizes = {id: nbytes for cut in cuts for id, nbytes in zip(cut.tensors, cut.tensor_nbytes, strict=False)}
        self._gradients = [{t for t, n in zip(c.tensors, c.gradient_nbytes, strict=False) if n} for c in cuts]
        self.layout: TrainingLayout | None = None
        self.stage = -1
        self.is_ready = False
        self.seen: tuple[int, int, int] | None = None
        self._step: _Step | None = None

    def follow(self, layout: TrainingLayout) -> None:
        """A new plan is in force; what was under way is forgotten."""
        self.forget()
        self.layout, self.stage = layout, layout.stage_of(self._config.device)
        self.is_ready, self.seen = False, None

    @property
    def attempt(self) -> int:
        """The try under way, 0 where none is."""
        return 0 if self._step is None else self._step.attempt

    def forget(self) -> None:
        """Whatever the executor has not begun of the step under way is skipped."""
        step, self._step = self._step, None
        if step is not None:
            self._trains.forget(lambda asked: asked.train.action in OF_A_STEP)

    # --- messages -----------------------------------------------------------------------------

    def on_forward(self, frame: Frame, parcel: Parcel) -> None:
        layout = self.layout
        if layout is None or frame.epoch != layout.plan.epoch:
            self.stale(frame)
            if layout is None or frame.epoch > layout.plan.epoch:
                self._fail(frame, f"no plan of epoch {frame.epoch} here")
            return None
        if self.stage < 0 or not self.is_ready:
            return self._fail(frame, "its stage is not ready")
        at = frame.request, frame.attempt, 1
        if self.seen is not None and at <= self.seen:
            return self.stale(frame)
        start, stop = layout.stages[self.stage]
        live = self._config.cut_tensors(start)
        sizes = (*self._profile.cuts[start].tensor_nbytes, label_nbytes(self._spec))
        if parcel.tensors != (*live, LABELS) or tuple(d.nbytes for d in parcel.data) != sizes:
            return self._out.drop("not the live set of its cut", frame.request, frame.attempt, cut=frame.cut)
        self.forget()
        self.seen = at
        self._step = _Step(frame.request, frame.attempt, parcel.data[-1])
        last = self.stage == len(layout.stages) - 1
        ids = () if last else self._config.cut_tensors(stop)
        makes = ((LOSS, 8),) if last else tuple(zip(ids, self._profile.cuts[stop].tensor_nbytes, strict=True))
        # Labels are for the last stage; the others pass them on beside what they make.
        data = parcel if last else Parcel(parcel.tensors[:-1], parcel.data[:-1])
        return self._train("forward", self._step, data, makes)

    def on_backward(self, frame: Frame, parcel: Parcel) -> None:
        layout, step = self.layout, self._current(frame)
        if layout is None or step is None or step.phase != "waiting":
            return self.stale(frame)
        wanted = self._gradient_ids(layout, self.stage + 1)
        sizes = [self._gradient_nbytes(id) for id in wanted]
        fits = all(d.nbytes in (0, n) for d, n in zip(parcel.data, sizes, strict=False))
        if parcel.tensors != wanted or not fits:
            return self._out.drop("not the gradients of its cut", frame.request, frame.attempt, cut=frame.cut)
        return self._back(layout, step, parcel)

    def on_values(self, frame: Frame, parcel: Parcel) -> None:
        """New values of weights that this stage reads and another one owns, or a piece of one."""
        step = self._current(frame)
        if step is None or step.phase != "updating" or step.borrowed.is_complete:
            return self.stale(frame)
        if not parcel.tensors or not step.borrowed.add(frame.cut, parcel):
            return self._out.drop("not the values of its weights", frame.request, frame.attempt)
        return self._train("install", step, step.borrowed.parcel()) if step.borrowed.is_complete else None

    def stale(self, frame: Frame) -> None:
        """Drop what is of another plan, or not of the try under way."""
        epoch = None if self.layout is None else self.layout.plan.epoch
        reason = "of another epoch" if frame.epoch != epoch else "of another try, or a duplicate"
        self._out.drop(reason, frame.request, frame.attempt, epoch=frame.epoch)

    def _current(self, frame: Frame) -> _Step | None:
        step, layout = self._step, self.layout
        if step is None or layout is None or frame.epoch != layout.plan.epoch:
            return None
        return step if (frame.request, frame.attempt) == (step.number, step.attempt) else None

    # --- the executor -------------------------------------------------------------------------

    def done(self, job: Asked, made: Parcel) -> None:
        """The executor has carried out a part of a step."""
        step, layout, action = self._step, self.layout, job.train.action
        if step is None or layout is None or (step.number, step.attempt) != (job.train.step, job.attempt):
            return None
        if action == "forward":
            return self._forward_done(layout, step, made)
        if action == "backward":
            return self._backward_done(layout, step, made)
        if action == "update":
            self._update_done(layout, step, made)
        else:
            step.whole = True
        return self._done_if_all(layout, step)

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

    def _back(self, layout: TrainingLayout, step: _Step, gradients: Parcel) -> None:
        step.phase = "backward"
        makes = tuple((id, self._gradient_nbytes(id)) for id in self._gradient_ids(layout, self.stage))
        self._train("backward", step, gradients, makes)

    def _backward_done(self, layout: TrainingLayout, step: _Step, gradients: Parcel) -> None:
        # Those before wait for this message; the update is this host's own business.
        if self.stage > 0:
            self._mail.send(
                layout.devices[self.stage - 1], Mode.BACKWARD, gradients, step=step.number, attempt=step.attempt,
                epoch=layout.plan.epoch, cut=layout.stages[self.stage][0],
            )  # fmt: skip
        step.phase = "updating"
        step.borrowed = Collector(self._values(layout.sharing.borrowed(self.stage)))
        step.whole = step.borrowed.is_complete
        self._train("update", step, makes=self._values(layout.sharing.lent(self.stage)))

    def _update_done(self, layout: TrainingLayout, step: _Step, values: Parcel) -> None:
        step.updated = True
        for stage, device in enumerate(layout.devices):
            theirs = {state_id(w) for w in layout.sharing.borrowed(stage)}
            picked = [k for k, id in enumerate(values.tensors) if id in theirs] if stage != self.stage else []
            part = Parcel(tuple(values.tensors[k] for k in picked), tuple(values.data[k] for k in picked))
            for number, piece in pieces(part):
                self._mail.send(
                    device, Mode.VALUES, piece, step=step.number, attempt=step.attempt, epoch=layout.plan.epoch,
                    cut=number,
                )  # fmt: skip

    def _done_if_all(self, layout: TrainingLayout, step: _Step) -> None:
        if not step.updated or not step.whole or step.phase == "done":
            return
        step.phase = "done"
        loss = _NO_PARCEL if step.loss is None else Parcel((LOSS,), (step.loss,))
        self._mail.word(
            self._mail.source, Word.DONE, step=step.number, attempt=step.attempt, epoch=layout.plan.epoch, parcel=loss
        )

    # --- small things -------------------------------------------------------------------------

    def _train(
        self, action: TrainAction, step: _Step, parcel: Parcel = _NO_PARCEL, makes: tuple[tuple[int, int], ...] = ()
    ) -> None:
        assert self.layout is not None  # no step begins before a plan is there
        self._trains.ask(action, step.number, self.layout.stages, self.stage, parcel, makes, attempt=step.attempt)

    def _fail(self, frame: Frame, line: str) -> None:
        self._mail.failure(line, step=frame.request, attempt=frame.attempt, epoch=frame.epoch)

    def _values(self, weights: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Ids and bytes of the values of those of `weights` that are trained."""
        known = self._profile.weights
        return tuple((state_id(w), known[w].nbytes) for w in weights if known[w].trained)

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
