"""A host's part in training: the plan in force, weights that come and go for it, and steps at its stage (`steps`)."""

from __future__ import annotations

from airloom.core.training import TrainingSpec, Word
from airloom.engine.config import HostConfig
from airloom.engine.events import StageDone, StageRaised, TrainAction, TrainingPinned
from airloom.engine.messages import Frame, FrameKind, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.training.layout import TrainingLayout, lay_out_training, moves, owned_state
from airloom.engine.training.mail import Mail
from airloom.engine.training.pieces import Collector, pieces
from airloom.engine.training.steps import Steps
from airloom.engine.training.trains import OF_A_STEP, Asked, Trains
from airloom.errors import UserError

_NO_PARCEL = Parcel()


class Stages:
    """Follows the plan in force; see `TrainingPinned`, and `mail` for who is told.

    Attributes:
        steps: takes the messages of steps.
    """

    def __init__(self, config: HostConfig, spec: TrainingSpec, mail: Mail, outbox: Outbox) -> None:
        self._config, self._spec, self._mail, self._out = config, spec, mail, outbox
        self._profile = config.profile
        self._trains = Trains(config, outbox)
        self.steps = Steps(config, spec, mail, outbox, self._trains)
        self._before: TrainingLayout | None = None
        self._collector = Collector(())
        self._begun: TrainingPinned | None = None
        self._moving = self._placed = False

    @property
    def layout(self) -> TrainingLayout | None:
        """The plan in force."""
        return self.steps.layout

    # --- plans --------------------------------------------------------------------------------

    def pin(self, event: TrainingPinned) -> str:
        """A new plan is in force; what was under way is forgotten. "" or why it cannot be followed."""
        try:
            layout = lay_out_training(event.plan, self._config)
            before = None if event.before is None else lay_out_training(event.before, self._config)
        except UserError as error:
            self._out.drop("plan refused", line=str(error))
            return str(error)
        self.steps.follow(layout)
        self._trains.forget()
        self._before, self._begun = before, event
        self._mail.next_hop = lambda dst: layout.next_hop(self._config.device, dst)
        self._moving = self._placed = False
        coming = () if before is None else moves(before, layout, self._profile, self._spec)
        mine = [one for one in coming if one.dst == self._config.device]
        self._collector = Collector(pair for one in mine for pair in one.tensors)
        return ""

    def on_move(self, frame: Frame) -> None:
        """The source says that every host has the plan: send what leaves, take what comes, be ready."""
        layout, begun = self.layout, self._begun
        if layout is None or begun is None or frame.epoch != layout.plan.epoch or frame.request != begun.step:
            return self._mail.failure(
                f"no plan of epoch {frame.epoch} here", step=frame.request, attempt=frame.attempt, epoch=frame.epoch
            )
        if self.steps.seen is not None:
            return self.steps.stale(frame)  # steps were made since
        self._moving = True
        if begun.state is not None and self._before is not None and not self._placed:
            stage = self._before.stage_of(self._config.device)
            self._train("place", begun.step, begun.state, layout=self._before, stage=stage)
        if self._before is not None:
            for move in moves(self._before, layout, self._profile, self._spec):
                if move.src == self._config.device and not self._trains.is_asked("export", move.dst):
                    stage = self._before.stage_of(self._config.device)
                    self._train(
                        "export", begun.step, makes=move.tensors, dst=move.dst, layout=self._before, stage=stage
                    )
        return self._say_ready() if self.steps.is_ready else self._place_if_complete()

    def on_parameters(self, frame: Frame, parcel: Parcel) -> None:
        """Weights from where they were before this plan."""
        layout = self.layout
        if layout is None or frame.epoch != layout.plan.epoch:
            return self.steps.stale(frame)
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
        if self.layout is not None and self._begun is not None:
            self._mail.word(self._mail.source, Word.READY, step=self._begun.step, epoch=self.layout.plan.epoch)

    def on_state(self, frame: Frame) -> None:
        """The source wants what this stage owns, as it is before step `frame.request`."""
        layout, steps = self.layout, self.steps
        if layout is None or frame.epoch != layout.plan.epoch or not steps.is_ready:
            return self._mail.failure(
                f"no weights of epoch {frame.epoch} here", step=frame.request, attempt=frame.attempt, epoch=frame.epoch
            )
        at = frame.request, frame.attempt, 0
        if steps.seen is not None and at < steps.seen:
            return steps.stale(frame)
        steps.forget()
        steps.seen = at
        if self._trains.is_asked("export", self._mail.source, frame.request):
            return None
        makes = owned_state(layout, steps.stage, self._profile, self._spec)
        return self._train(
            "export", frame.request, makes=makes, dst=self._mail.source, kind=FrameKind.RESULT, attempt=frame.attempt
        )

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
            if train.stages == layout.stages and train.stage == self.steps.stage and self._placed:
                self.steps.is_ready = True
                self._say_ready()
            return None
        if train.action == "export":
            for number, part in pieces(event.parcel):
                self._mail.send(
                    job.dst, Mode.PARAMETERS, part, step=train.step, attempt=job.attempt, epoch=layout.plan.epoch,
                    cut=number, kind=job.kind,
                )  # fmt: skip
            return None
        return self.steps.done(job, event.parcel)

    def raised(self, event: StageRaised) -> None:
        job = self._trains.over(event.job)
        if job is not None:
            self._raised(job, event.message)

    def _raised(self, job: Asked, line: str) -> None:
        if job.train.action in OF_A_STEP:
            self.steps.forget()
        epoch = self.layout.plan.epoch if self.layout is not None else 0
        self._mail.failure(f"{job.train.action}: {line}", step=job.train.step, attempt=job.attempt, epoch=epoch)

    def _train(
        self, action: TrainAction, step: int, parcel: Parcel = _NO_PARCEL, *,
        makes: tuple[tuple[int, int], ...] = (), dst: str = "", kind: FrameKind = FrameKind.TASK,
        layout: TrainingLayout | None = None, stage: int | None = None, attempt: int = 0,
    ) -> None:  # fmt: skip
        layout = layout or self.layout
        assert layout is not None  # nothing is asked for before a plan is there
        at = self.steps.stage if stage is None else stage
        self._trains.ask(action, step, layout.stages, at, parcel, makes, attempt=attempt, dst=dst, kind=kind)
