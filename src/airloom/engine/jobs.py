"""Stages that this host's executor runs: who asked, what comes out, how busy that makes the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airloom.core.coding import RAW, Coding
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.events import Abandon, Execute, StageDone
from airloom.engine.load import LoadMeter
from airloom.engine.messages import BLOB, Frame, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.passages import Passages

LOAD_TIMER = "load"
LOAD_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """A stage under way.

    Attributes:
        frame: head of the message that asked for it, what is missing of its data folded in.
        came_from: the neighbour that sent it, "" at the source.
        parent: the next host when the stop was chosen.
        left: of each bound of the objective, what may be spent from there on.
        decode, encode: of the live sets of `start` and `stop`.
        mcs: of the radio link that the outcome goes over.
        pinned: whether a pinned plan asks for it; else the table.
        stage: id of the plan's stage, "" for the input on its way to be coded.
    """

    frame: Frame
    start: int
    stop: int
    outputs: tuple[int, ...]
    came_from: str = ""
    parent: str | None = None
    left: tuple[float, ...] = ()
    pinned: bool = False
    stage: str = ""
    asked_s: float = 0.0
    decode: Coding = RAW
    encode: Coding = RAW
    mcs: int | None = None

    @property
    def makes(self) -> tuple[int, ...]:
        """Tensors that the executor gives back."""
        return self.outputs if self.encode.is_raw else (BLOB,)


class Jobs:
    """The executor as the host sees it. `on_load` is told when the load may have moved."""

    def __init__(self, config: HostConfig, passages: Passages, codings: Codings, outbox: Outbox) -> None:
        self._config, self._passages, self._codings, self._out = config, passages, codings, outbox
        self._jobs: dict[int, Job] = {}
        self._next = 1
        self._timed = False
        self.meter = LoadMeter()
        self.on_load: Callable[[float], None] = lambda load: None

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        return len(self._jobs) >= self._config.max_jobs

    def holds(self, source: int, request: int, attempt: int) -> bool:
        """Whether a stage of this attempt waits or runs here."""
        passage = self._passages.known(source, request)
        return passage is not None and any(
            self._jobs[job].frame.attempt == attempt for job in passage.jobs if job in self._jobs
        )

    def run(self, job: Job, parcel: Parcel) -> None:
        """Ask the executor for it."""
        number, self._next = self._next, self._next + 1
        self._jobs[number] = job
        self._passages.at(job.frame.source, job.frame.request, self._out.now_s).jobs.add(number)
        self.meter.begin(self._out.now_s)
        self._watch()
        self._out.add(Execute(number, job.start, job.stop, parcel, job.outputs, job.decode, job.encode))

    def done(self, event: StageDone) -> Job | None:
        """The job that finished; None where nobody waits for it any more."""
        job = self._end(event.job, event.compute_s)
        if job is not None:
            frame = job.frame
            self._out.emit(
                "stage",
                {
                    "source": self._config.topology.devices[frame.source].id, "start": job.start, "stop": job.stop,
                    "stage": job.stage, "wait_s": max(0.0, self._out.now_s - job.asked_s - event.compute_s),
                    "predicted_s": self._expected_s(job), "missing_share": frame.missing_ppm / 1e6,
                    **({"decode": job.decode.name} if not job.decode.is_raw else {}),
                    **({"encode": job.encode.name} if not job.encode.is_raw else {}),
                },
                frame.request, frame.attempt, event.compute_s,
            )  # fmt: skip
            self.on_load(self.meter.value(self._out.now_s))
        return job

    def raised(self, number: int) -> Job | None:
        return self._end(number)

    def abandon(self, source: int, request: int) -> None:
        """Nobody wants this request any more."""
        passage = self._passages.known(source, request)
        for number in sorted(passage.jobs) if passage is not None else ():
            if self._end(number) is not None:
                self._out.add(Abandon(number))

    def on_timer(self) -> None:
        """The load is looked at while there is any."""
        self._timed = False
        load = self.meter.value(self._out.now_s)
        self.on_load(load)
        if load > 0 or self._jobs:
            self._watch()

    def _watch(self) -> None:
        if not self._timed:
            self._timed = True
            self._out.start_timer(self._out.now_s + LOAD_EVERY_S, LOAD_TIMER)

    def _end(self, number: int, compute_s: float = 0.0) -> Job | None:
        job = self._jobs.pop(number, None)
        if job is None:
            return None
        passage = self._passages.known(job.frame.source, job.frame.request)
        if passage is not None:
            passage.jobs.discard(number)
        self.meter.end(self._out.now_s, compute_s, self._expected_s(job))
        return job

    def _expected_s(self, job: Job) -> float:
        """Seconds of the stage on an unloaded host, a stage of a pinned plan included, and of its codings."""
        seconds = self._config.profile.stage_s(job.start, job.stop)
        seconds += self._codings.decode_s(job.start, job.decode) + self._codings.code_s(job.stop, job.encode)
        return seconds * self._config.own.factor
