"""What a host does: events in, effects out. No sockets and no clock, the same run and simulated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from airloom.core.value import Value
from airloom.engine.attempts import Attempts
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Cancel,
    Effect,
    Event,
    FrameArrived,
    GatherState,
    LinkChanged,
    LinkMeasured,
    PeerDown,
    PeerUp,
    PlanPinned,
    SplitCostArrived,
    StageDone,
    StageRaised,
    Submit,
    TimerFired,
    TrainingPinned,
    TrainStep,
    WaveAsked,
)  # fmt: skip
from airloom.engine.jobs import LOAD_TIMER, Job, Jobs
from airloom.engine.messages import UNKNOWN_DROP, Frame, FrameKind, Parcel
from airloom.engine.missing import fold_missing
from airloom.engine.outbox import Outbox
from airloom.engine.passages import Passages
from airloom.engine.peers import Peers
from airloom.engine.pinned import PARTIAL_TIMER, Pinned
from airloom.engine.post import Post, device_name
from airloom.engine.repair import RepairController
from airloom.engine.requests import ATTEMPT_TIMER, DEADLINE_TIMER, HOLD_TIMER, LOCAL_TIMER, Requests
from airloom.engine.routebook import RouteBook
from airloom.engine.tasks import Tasks
from airloom.engine.training.training import FIRST_JOB, MODES, TRAINING_TIMER, Training
from airloom.engine.wave import REFRESH_TIMER, TOGETHER_TIMER, WAVE_TIMER, Wave
from airloom.errors import WireError
from airloom.radio.forecast.forecaster import Forecaster

__all__ = ["Host", "HostConfig", "Snapshot"]


class Snapshot(Value, frozen=True):
    """A host at a glance, for status queries and metrics.

    Attributes:
        stop: `[L+1]` its table; `cost_s` its own message's entry 0, None where it cannot go on: seconds, or
            what its objective sums up.
        look_ahead_s: from its messages to the departure of tasks, the mean of the last ones.
        counters: what was dropped, by reason.
    """

    device: str
    parent: str | None
    end: str
    wave: int
    stop: tuple[int, ...]
    cost_s: float | None
    load: float
    up: tuple[str, ...]
    in_flight: int
    jobs: int
    waiting: int
    pinned_epoch: int | None
    counters: dict[str, int]
    look_ahead_s: float = 0.0


class Host:
    """One host: source, relay and executor alike.

    It starts out believing that nobody else is up; `PeerUp` tells it of every live host of the
    topology, near or far. Times are seconds of any clock that does not go back.

    Attributes:
        repair: what may stay missing of messages that are on their way to this host.

    Args:
        forecasters: of links by (src, dst), in place of those that the configuration asks for.
        book: routes, where several hosts of one topology share a process.

    Raises:
        ProfileMismatch, Infeasible: the contract is of another model, or cannot be kept.
        ConfigError: the objective cannot be decided host by host.
    """

    def __init__(
        self,
        config: HostConfig,
        *,
        forecasters: Mapping[tuple[str, str], Forecaster] | None = None,
        book: RouteBook | None = None,
    ) -> None:
        self.config = config
        self._out = out = Outbox(config.device)
        self.codings = Codings(config)
        self.repair = RepairController(self.codings, config)
        self._passages = Passages(memory_s=config.memory_s)
        self._peers = Peers(config.topology, config.device, result_returns=config.result_returns, book=book)
        self._wave = Wave(config, self._peers, out, forecasters)
        self._jobs = Jobs(config, self._passages, self.codings, out)
        self._jobs.on_load = self._wave.on_load
        self._post = Post(config, self._peers, self._passages, self.codings, out)
        self._post.at_home = self._at_home
        self._tasks = Tasks(config, self._peers, self._wave, self._jobs, self._post, self.codings, out)
        self._pinned = Pinned(config, self._peers, self._jobs, self._post, self.codings, out)
        attempts = Attempts(
            config, self._peers, self._wave, self._pinned, self._tasks, self._jobs, self._post, self._passages, out
        )
        self._training = None if config.training is None else Training(config, config.training, self._peers, out)
        self._requests = Requests(config, attempts, self.codings, out)

    def start(self, now_s: float, known: Iterable[str] = ()) -> list[Effect]:
        """Once, before any event; `known` are hosts that are known to be up already."""
        self._out.open(now_s)
        for peer in known:
            self._peers.set_up(peer, up=True)
        self._wave.start()
        self._wave.trace()
        return self._out.take()

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """What to do about `event`, in order. Never raises on what a network can bring."""
        self._out.open(now_s)
        match event:  # what comes most often first
            case LinkMeasured():
                self._wave.on_link(event)
            case SplitCostArrived():
                self._wave.on_split_cost(event.src, event.message)
                self._requests.on_way_back()
                self._requests.on_wave(self._wave.complete)
            case WaveAsked():
                self._wave.on_asked(event.ask)
            case FrameArrived() if event.frame.mode in MODES:
                if self._training is None:
                    out = self._out
                    out.drop("this host does not train", event.frame.request, event.frame.attempt, src=event.src)
                else:
                    self._training.arrived(event.src, event.frame, event.parcel)
            case FrameArrived():
                self._frame(event)
            case StageDone() | StageRaised() if self._training is not None and event.job >= FIRST_JOB:
                self._training.job_over(event)
            case StageDone():
                self._stage_done(event)
            case StageRaised():
                job = self._jobs.raised(event.job)
                if job is not None:
                    self._failed(job, event.message)
            case TimerFired():
                self._timer(event.key)
            case Submit():
                self._requests.submit(event)
            case Cancel():
                self._requests.cancel(event.request)
            case PeerUp():
                self._peer(event.peer, up=True)
            case PeerDown():
                self._peer(event.peer, up=False)
            case LinkChanged():
                if self._peers.set_link(event.src, event.dst, up=event.up):
                    self._wave.on_ways((event.src, event.dst))
                    if event.up:
                        self._requests.on_way_back()
            case PlanPinned():
                self._pinned.pin(event.plan)
            case TrainingPinned() if self._training is not None:
                self._training.pin(event)
            case TrainStep() | GatherState() if self._training is not None:
                self._training.ask(event)
        self._wave.trace()
        return self._out.take()

    @property
    def nexts(self) -> tuple[str, ...]:
        """The hosts that a task may go to from here."""
        return self._peers.nexts

    def snapshot(self) -> Snapshot:
        cost, pinned = float(self._wave.decision.costs[0]), self._pinned.layout
        return Snapshot(
            device=self.config.device, parent=self._wave.parent, end=self._peers.end, wave=self._wave.number,
            stop=tuple(self._wave.decision.stops.tolist()), cost_s=cost if cost != float("inf") else None,
            load=self._wave.load, up=tuple(sorted(self._peers.up)), in_flight=len(self._requests),
            jobs=len(self._jobs), waiting=self._pinned.waiting,
            pinned_epoch=None if pinned is None else pinned.plan.epoch, counters=dict(self._out.counters),
            look_ahead_s=self._wave.look_ahead_s,
        )  # fmt: skip

    # --- events -------------------------------------------------------------------------------

    def _frame(self, event: FrameArrived) -> None:
        frame, parcel, out = event.frame, event.parcel, self._out
        source = device_name(self.config.topology, frame.source)
        if source is None:
            return out.drop("no such source", frame.request, frame.attempt, src=event.src)
        refusal = self.codings.refusal(frame)
        if refusal:
            return out.drop(refusal, frame.request, frame.attempt, src=event.src)
        frame = fold_missing(frame, parcel)
        passage = self._passages.at(frame.source, frame.request, out.now_s)
        if not self._passages.is_new(passage, (frame.kind, frame.attempt, frame.cut, frame.transfer)):
            return out.drop("duplicate", frame.request, frame.attempt, src=event.src)
        missing = sum(gap.stop - gap.start for gap in parcel.missing)
        if frame.kind == FrameKind.TASK:
            try:
                frame, parcel = self.codings.arrived(frame, parcel)
            except WireError:
                return out.drop("malformed blob", frame.request, frame.attempt, src=event.src)
        elif parcel.missing:
            frame = msgspec.structs.replace(frame, drop_bp=UNKNOWN_DROP)
        out.emit(
            "arrive",
            {
                "src": event.src, "what": frame.kind.name.lower(), "source": source, "cut": frame.cut,
                "transfer": frame.transfer, "nbytes": parcel.nbytes, "missing": missing, **self._said(frame, parcel),
            },
            frame.request, frame.attempt,
        )  # fmt: skip
        if frame.kind == FrameKind.TASK:
            if passage.cancelled:
                return out.drop("cancelled", frame.request, frame.attempt, src=event.src)
            if frame.transfer >= 0:
                return self._pinned.accept(frame, parcel)
            passage.keep_way(frame.attempt, event.src)
            return self._tasks.accept(frame, parcel, event.src)
        if frame.kind == FrameKind.CANCEL:
            return self._cancelled(frame, event.src)
        return self._post.toward_source(frame, parcel, event.src)

    def _said(self, frame: Frame, parcel: Parcel) -> dict[str, object]:
        """What a trace says of a live set under a contract: its coding, and what it should come to as it is."""
        if self.codings.contract is None or frame.kind != FrameKind.TASK:
            return {}
        return {
            "coding": self.codings.coding(frame.coding).name,
            "missing_share": self.codings.missing_share(frame, parcel),
            "predicted_accuracy": self.codings.accuracy(self.codings.decoded(frame, parcel).drop_bp),
        }

    def _cancelled(self, frame: Frame, src: str) -> None:
        """The source wants no more of a request: stop, and tell those it was handed to."""
        passage = self._passages.at(frame.source, frame.request, self._out.now_s)
        passage.cancelled = True
        self._jobs.abandon(frame.source, frame.request)
        self._pinned.forget(frame.source, frame.request)
        for host in sorted((passage.onward.keys() & self._peers.up) - {src}):
            self._post.send(host, frame, Parcel())

    def _stage_done(self, event: StageDone) -> None:
        job = self._jobs.done(event)
        if job is None:
            return None
        if event.parcel.tensors != job.makes:
            return self._failed(job, f"the executor made tensors {event.parcel.tensors}, asked for {job.makes}")
        if job.pinned:
            return self._pinned.done(job, event.parcel)
        return self._tasks.done(job, event.parcel)

    def _failed(self, job: Job, message: str) -> None:
        self._post.failure(job.frame, f"operators {job.start}..{job.stop - 1}: {message}")

    def _at_home(self, frame: Frame, parcel: Parcel) -> None:
        """A frame has reached the source of its request, this host."""
        if frame.kind == FrameKind.RESULT:
            return self._requests.on_result(frame, parcel)
        if frame.kind == FrameKind.FAILURE:
            line = bytes(parcel.data[0]).decode("utf-8", "replace") if parcel.data else "a stage failed"
            return self._requests.on_failure(frame, line.replace("\n", " "))
        return None

    def _timer(self, key: tuple[object, ...]) -> None:
        kind = key[0] if key else None
        if kind in (ATTEMPT_TIMER, DEADLINE_TIMER, LOCAL_TIMER, HOLD_TIMER) and len(key) == 2:
            self._requests.on_timer(kind, key[1])
        elif kind in (WAVE_TIMER, REFRESH_TIMER, TOGETHER_TIMER):
            self._wave.on_timer(kind)
            self._requests.on_wave(self._wave.complete)
        elif kind == LOAD_TIMER:
            self._jobs.on_timer()
        elif kind == PARTIAL_TIMER:
            self._pinned.on_timer(key[1:])
        elif kind == TRAINING_TIMER and self._training is not None:
            self._training.on_timer()

    def _peer(self, peer: str, *, up: bool) -> None:
        if not self._peers.set_up(peer, up=up):
            return
        self._out.emit("peer", {"peer": peer, "up": up})
        devices = self.config.topology.devices
        # It may have started again, and number its requests from the start.
        self._passages.forget_source([d.id for d in devices].index(peer))
        self._wave.on_peers(peer, up=up)
        if up:
            self._requests.on_way_back()
        else:
            self._post.peer_down(peer)
            self._requests.on_peer_down(peer)
            if self._training is not None:
                self._training.peer_down(peer)
