"""Training at a host: its events and messages to the parts that they are for."""

from __future__ import annotations

from airloom.core.training import TrainingSpec, Word
from airloom.engine.config import HostConfig
from airloom.engine.events import GatherState, StageDone, StageRaised, TrainingPinned, TrainStep
from airloom.engine.messages import Frame, FrameKind, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.engine.training.mail import MODES, Mail
from airloom.engine.training.source import TRAINING_TIMER, TrainingSource
from airloom.engine.training.stages import Stages
from airloom.engine.training.trains import FIRST_JOB

__all__ = ["FIRST_JOB", "MODES", "TRAINING_TIMER", "Training"]


class Training:
    """All of a host that trains, the source's part included where it is the source."""

    def __init__(self, config: HostConfig, spec: TrainingSpec, peers: Peers, outbox: Outbox) -> None:
        self._config, self._out = config, outbox
        self._mail = Mail(config, peers, outbox)
        self._mail.at_home = self._at_home
        self.stages = Stages(config, spec, self._mail, outbox)
        is_source = config.device == config.topology.source
        self._source = TrainingSource(config, spec, self._mail, outbox) if is_source else None

    def arrived(self, src: str, frame: Frame, parcel: Parcel) -> None:
        """A message of training came from the neighbour `src`."""
        self._mail.arrived(src, frame, parcel)

    def pin(self, event: TrainingPinned) -> None:
        refusal = self.stages.pin(event)
        if self._source is None:
            return
        devices = {stage.device for plan in (event.plan, event.before) if plan is not None for stage in plan.stages}
        self._source.pinned(event, self.stages.layout if not refusal else None, refusal, devices)

    def ask(self, event: TrainStep | GatherState) -> None:
        """What only the source's user asks for."""
        if self._source is None:
            return self._out.drop("not the source of this training", event.step)
        return self._source.step(event) if isinstance(event, TrainStep) else self._source.gather(event)

    def job_over(self, event: StageDone | StageRaised) -> None:
        return self.stages.done(event) if isinstance(event, StageDone) else self.stages.raised(event)

    def on_timer(self) -> None:
        if self._source is not None:
            self._source.on_timer()

    def peer_down(self, peer: str) -> None:
        if self._source is not None:
            self._source.on_peer_down(peer)

    def _at_home(self, frame: Frame, parcel: Parcel) -> None:
        """A message has arrived where it was sent to."""
        match frame.mode, frame.kind:
            case Mode.FORWARD, FrameKind.TASK:
                return self.stages.steps.on_forward(frame, parcel)
            case Mode.BACKWARD, FrameKind.TASK:
                return self.stages.steps.on_backward(frame, parcel)
            case Mode.VALUES, FrameKind.TASK:
                return self.stages.steps.on_values(frame, parcel)
            case Mode.PARAMETERS, FrameKind.TASK:
                return self.stages.on_parameters(frame, parcel)
            case Mode.TRAINING, FrameKind.TASK if frame.cut == Word.MOVE:
                return self.stages.on_move(frame)
            case Mode.TRAINING, FrameKind.TASK if frame.cut == Word.STATE:
                return self.stages.on_state(frame)
        if self._source is None:
            return self._out.drop("not a word for this host", frame.request, frame.attempt)
        match frame.mode, frame.kind:
            case Mode.PARAMETERS, FrameKind.RESULT:
                return self._source.on_state(frame, parcel)
            case Mode.TRAINING, FrameKind.RESULT:
                return self._source.on_word(frame, parcel)
            case Mode.TRAINING, FrameKind.FAILURE:
                line = bytes(parcel.data[0]).decode("utf-8", "replace") if parcel.data else "a stage failed"
                return self._source.on_failure(frame, line.replace("\n", " "))
        return self._out.drop("not a word of training", frame.request, frame.attempt)
