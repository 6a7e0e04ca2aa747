"""The source's part in training: one thing at a time, each with exactly one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from airloom.core.training import LABELS, LOSS, TrainingSpec, Word
from airloom.engine.config import HostConfig
from airloom.engine.events import GatherState, TrainingOutcome, TrainingPinned, TrainStep
from airloom.engine.messages import Frame, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.training.layout import TrainingLayout, label_nbytes, owned_state
from airloom.engine.training.mail import Mail
from airloom.engine.training.pieces import Collector
from airloom.errors import DeadlineExceeded, Overloaded, RequestError, StageFailed

TRAINING_TIMER = "training"


@dataclass(slots=True)
class _Task:
    """What the source waits for.

    Attributes:
        step: the step, or the one before which weights are moved or gathered.
        waits: devices that have not answered.
        tries: how often it was asked for.
    """

    what: Literal["plan", "step", "state"]
    number: int
    step: int
    began_s: float
    waits: set[str] = field(default_factory=set)
    attempt: int = 0
    tries: int = 1
    parcel: Parcel = field(default_factory=Parcel)
    loss: memoryview | None = None
    collector: Collector | None = None


class TrainingSource:
    """Begins steps, changes of plan and gathering, and hears of them."""

    def __init__(self, config: HostConfig, spec: TrainingSpec, mail: Mail, outbox: Outbox) -> None:
        self._config, self._spec, self._mail, self._out = config, spec, mail, outbox
        self._layout: TrainingLayout | None = None
        self._moved = False
        self._task: _Task | None = None
        self._last = (-1, -1)  # step and try that frames were last sent of
        cut = config.profile.cuts[0]
        self._input = (*config.cut_tensors(0), LABELS), (*cut.tensor_nbytes, label_nbytes(spec))

    # --- what the user asks for ---------------------------------------------------------------

    def pinned(self, event: TrainingPinned, layout: TrainingLayout | None, refusal: str, devices: set[str]) -> None:
        """All hosts have the plan: have weights brought. `devices` had, or get, a stage."""
        if self._task is not None:
            self._end(StageFailed("another plan came"))
        self._moved, self._last = False, (-1, -1)
        task = self._open("plan", event.plan.epoch, event.step)
        if layout is None or refusal:
            return self._end(StageFailed(f"{self._config.device}: {refusal}"))
        self._layout = layout
        # Hosts that lose their stage too: should they get one again, their trainers have to know.
        task.waits = set(devices)
        self._devices = devices
        return self._say(Word.MOVE, devices)

    def step(self, event: TrainStep) -> None:
        if not self._may_begin("step", event.step):
            return None
        task = self._open("step", event.step, event.step)
        given = event.parcel.tensors, tuple(d.nbytes for d in event.parcel.data)
        if given != self._input:
            line = f"step {event.step}: the input is {given[1]} bytes, the model and its labels take {self._input[1]}"
            return self._end(StageFailed(line))
        self._out.emit("submit", {"nbytes": event.parcel.nbytes, "deadline_s": self._patience_s}, event.step)
        task.parcel = event.parcel
        task.attempt = self._next_try(event.step)
        return self._try()

    def gather(self, event: GatherState) -> None:
        if not self._may_begin("state", event.step):
            return None
        assert self._layout is not None
        task = self._open("state", event.step, event.step)
        # After tries at that step, before the next: hosts tell what is late by it.
        task.attempt = self._next_try(event.step)
        wanted = [
            owned_state(self._layout, k, self._config.profile, self._spec) for k in range(len(self._layout.stages))
        ]
        task.collector = Collector(pair for pairs in wanted for pair in pairs)
        task.waits = set(self._layout.devices)
        return self._say(Word.STATE, task.waits)

    def _may_begin(self, what: Literal["plan", "step", "state"], number: int) -> bool:
        line = ""
        if self._task is not None:
            return self._refuse(what, number, Overloaded(f"{what} {number}: {self._named(self._task)} is under way"))
        if self._layout is None or not self._moved:
            line = "no plan is in force: pin one first"
        return not line or self._refuse(what, number, StageFailed(f"{what} {number}: {line}"))

    def _refuse(self, what: Literal["plan", "step", "state"], number: int, error: RequestError) -> bool:
        self._out.add(TrainingOutcome(what, number, error))
        return False

    def _open(self, what: Literal["plan", "step", "state"], number: int, step: int) -> _Task:
        self._task = _Task(what, number, step, self._out.now_s)
        return self._task

    # --- what hosts say -----------------------------------------------------------------------

    def on_word(self, frame: Frame, parcel: Parcel) -> None:
        """READY or DONE of a host."""
        task, device, word = self._current(frame), self._mail.sender(frame), frame.cut
        if task is None or device not in task.waits:
            return self._out.drop("late word", frame.request, frame.attempt, src=device)
        if word == Word.READY and task.what == "plan":
            task.waits.discard(device)
            if not task.waits:
                self._moved = True
                self._end(Parcel())
            return None
        if word == Word.DONE and task.what == "step" and frame.attempt == task.attempt:
            if parcel.tensors == (LOSS,) and parcel.nbytes == 8:
                task.loss = parcel.data[0]
            task.waits.discard(device)
            if not task.waits:
                self._end(Parcel((LOSS,), (task.loss,)) if task.loss is not None else StageFailed("no loss came"))
            return None
        return self._out.drop("late word", frame.request, frame.attempt, src=device)

    def on_state(self, frame: Frame, parcel: Parcel) -> None:
        """Weights on their way home."""
        task = self._current(frame)
        if task is None or task.collector is None or not task.collector.add(frame.cut, parcel):
            return self._out.drop("not weights that are expected here", frame.request)
        return self._end(task.collector.parcel()) if task.collector.is_complete else None

    def on_failure(self, frame: Frame, line: str) -> None:
        """A host cannot go on. What only got lost on its way is worth another try."""
        task = self._current(frame)
        if task is None or frame.attempt != task.attempt:
            return self._out.drop("late failure", frame.request, frame.attempt)
        if frame.missing_ppm and task.tries < self._spec.attempts:
            return self._again(line)
        return self._end(StageFailed(f"{self._named(task)}: {line}"))

    def on_peer_down(self, peer: str) -> None:
        """A host that has a stage took its weights with it."""
        task = self._task
        if task is not None and self._layout is not None and peer in (*self._layout.devices, *task.waits):
            self._end(StageFailed(f"{self._named(task)}: {peer} went down"))

    def on_timer(self) -> None:
        task = self._task
        if task is None:
            return None
        late = ", ".join(sorted(task.waits))
        if task.tries < self._spec.attempts:
            return self._again(f"nothing from {late} in time")
        return self._end(
            DeadlineExceeded(
                f"{self._named(task)}: nothing from {late} within {self._spec.patience_s:g} s in {task.tries} tries"
            )
        )

    def _current(self, frame: Frame) -> _Task | None:
        task, layout = self._task, self._layout
        ours = task is not None and layout is not None and frame.epoch == layout.plan.epoch
        return task if ours and task is not None and frame.request == task.step else None

    # --- tries --------------------------------------------------------------------------------

    @property
    def _patience_s(self) -> float:
        return self._spec.patience_s

    def _try(self) -> None:
        """Begin a try at the step under way."""
        task, layout = self._task, self._layout
        assert task is not None  # a step is under way
        assert layout is not None
        self._last = (task.step, task.attempt)
        task.waits, task.loss = set(layout.devices), None
        lacking = sorted(task.waits - self._up())
        if lacking:
            return self._end(StageFailed(f"{self._named(task)}: {', '.join(lacking)} is down"))
        self._start_timer()
        self._out.emit(
            "attempt", {"reason": "", "mode": "training", "hosts": list(layout.devices)}, task.step, task.attempt
        )
        return self._mail.send(
            layout.devices[0], Mode.FORWARD, task.parcel, step=task.step, attempt=task.attempt, epoch=layout.plan.epoch
        )

    def _again(self, why: str) -> None:
        task = self._task
        assert task is not None  # something is under way
        task.tries += 1
        self._out.drop("tried again", task.step, task.attempt, line=why)
        if task.what == "step":
            task.attempt += 1
            return self._try()
        return self._say(Word.MOVE, self._devices) if task.what == "plan" else self._say(Word.STATE, task.waits)

    def _say(self, word: Word, devices: set[str]) -> None:
        task, layout = self._task, self._layout
        assert task is not None  # something is under way
        assert layout is not None
        lacking = sorted(devices - self._up())
        if lacking:
            return self._end(StageFailed(f"{self._named(task)}: {', '.join(lacking)} is down"))
        self._start_timer()
        for device in sorted(devices):
            self._mail.word(device, word, step=task.step, attempt=task.attempt, epoch=layout.plan.epoch)
        return None

    def _next_try(self, step: int) -> int:
        return self._last[1] + 1 if self._last[0] == step else 0

    def _start_timer(self) -> None:
        self._out.start_timer(self._out.now_s + self._patience_s, TRAINING_TIMER)

    def _up(self) -> set[str]:
        return self._mail.up

    @staticmethod
    def _named(task: _Task) -> str:
        if task.what == "step":
            return f"step {task.number}"
        return f"plan of epoch {task.number}" if task.what == "plan" else f"weights before step {task.number}"

    def _end(self, outcome: Parcel | RequestError) -> None:
        task, self._task = self._task, None
        assert task is not None  # ended once
        self._out.stop_timer(TRAINING_TIMER)
        took_s = self._out.now_s - task.began_s
        data: dict[str, object]
        if isinstance(outcome, RequestError):
            data = {"error": type(outcome).__name__, "message": str(outcome), "what": task.what}
            self._out.emit("error", data, task.step if task.what == "step" else None, task.attempt, took_s)
        elif task.what == "step":
            self._out.emit("result", {"missing": 0, "nbytes": outcome.nbytes}, task.step, task.attempt, took_s)
        else:
            data = {"what": task.what, "epoch": task.number, "step": task.step, "nbytes": outcome.nbytes}
            self._out.emit("moved", data, None, None, took_s)
        self._out.add(TrainingOutcome(task.what, task.number, outcome))
