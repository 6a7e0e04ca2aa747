"""The executor's thread: stages one after another, beside the event loop and never on it.

A slow device is emulated by holding a result back until `start + factor * compute`: the thread
sleeps, so that the hosts of one machine leave each other the cores that they would not have shared.
`compute` is the processor's time where the thread that runs a stage computes all of it: what other
work takes the core meanwhile is none of the device's, as long as it fits into the sleep. Else it is time by the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from airloom.core.coding import RAW, Coding
from airloom.core.messages import Parcel
from airloom.engine.events import Execute, StageDone, StageRaised, Train
from airloom.errors import ConfigError, StageFailed

#: A slow motion that makes a factor 1 may miss it by that.
_ROUNDING = 1e-9


class Executor(Protocol):
    """Runs operators `start..stop-1` on raw tensor bytes by tensor id; returns the live set of `stop`."""

    def run(self, start: int, stop: int, data: Mapping[int, memoryview]) -> dict[int, memoryview]: ...

    def load(self, start: int, stop: int) -> object:
        """Make the stage ready, so that its first run takes no longer than the next."""
        ...


@runtime_checkable
class CodedExecutor(Protocol):
    """An `Executor` with codecs around it: decodes the live set of `start`, codes that of `stop`."""

    def run(
        self,
        start: int,
        stop: int,
        parcel: Parcel,
        outputs: tuple[int, ...],
        decode: Coding = RAW,
        encode: Coding = RAW,
    ) -> Parcel: ...

    def load(self, start: int, stop: int) -> object: ...

    def prepare(self, cut: int, coding: Coding) -> None:
        """Make the codec of a cut ready."""
        ...


@runtime_checkable
class TrainingExecutor(Protocol):
    """Holds the stage of a host that trains."""

    def train(self, job: Train) -> Parcel:
        """Carry it out; the tensors that `job.makes` names."""
        ...

    def load(self, start: int, stop: int) -> object: ...


class Compute:
    """First in, first out. `deliver` gets `StageDone` or `StageRaised` on the event loop.

    Attributes:
        factor: a stage takes this many times as long as it computes; at least 1 in real time.
        slow: of the emulation's motion; a stage is held back this many times longer still, and said to have
            taken as long as its clock says.
        busy_s: seconds of that clock spent computing, waiting for the factor included.
    """

    def __init__(
        self,
        executor: Executor | CodedExecutor | TrainingExecutor,
        deliver: Callable[[StageDone | StageRaised], None],
        *,
        factor: float = 1.0,
        slow: float = 1.0,
        name: str = "compute",
    ) -> None:
        self._executor, self._deliver, self.slow = executor, deliver, slow
        alone = getattr(executor, "is_single_threaded", False)
        self._work_s = time.thread_time if alone else time.monotonic
        self.set_factor(factor)
        self.busy_s = 0.0
        self.stages = 0
        self._queue: queue.SimpleQueue[Execute | Train | Callable[[], object] | None] = queue.SimpleQueue()
        self._abandoned: set[int] = set()
        self._waiting: set[int] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def set_factor(self, factor: float) -> None:
        """Emulate a device `factor` times slower than this machine, from the next stage on."""
        if not (factor * self.slow >= 1.0 - _ROUNDING and factor < 1e6):
            least = f"{1.0 / self.slow:.3g}"
            at = f" in slow motion {self.slow:g}" if self.slow != 1.0 else ""
            raise ConfigError(
                f"this machine can stand for one that is {least} to 1e6 times slower{at}, not {factor:g} times"
            )
        self.factor = factor

    def start(self) -> None:
        """Take up work; on the event loop to which results are delivered."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, job: Execute | Train) -> None:
        """Queue a stage, or a part of a training step; returns at once."""
        self._waiting.add(job.job)
        self._queue.put(job)

    def prepare(self, start: int, stop: int) -> None:
        """Make a stage ready before anybody asks for it."""
        self._queue.put(lambda: self._executor.load(start, stop))

    def prepare_coding(self, cut: int, coding: Coding) -> None:
        """Make a codec ready before anybody asks for it."""
        executor = self._executor
        if isinstance(executor, CodedExecutor):
            self._queue.put(lambda: executor.prepare(cut, coding))

    def abandon(self, job: int) -> None:
        """Nobody waits for `job` any more: it is skipped unless it has begun."""
        if job in self._waiting:
            self._abandoned.add(job)

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Finish the stage at hand and end the thread; what waits is dropped."""
        self._abandoned |= self._waiting
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if not isinstance(job, Execute | Train):
                # What cannot be made ready fails again, and is reported, when it is asked for.
                with contextlib.suppress(Exception):
                    job()
                continue
            if job.job in self._abandoned:
                self._forget(job.job)
                continue
            begun, work_s = time.monotonic(), self._work_s()
            event: StageDone | StageRaised
            try:
                made = self._run(job)
            except Exception as error:  # whatever an operator raises is this request's failure, not the host's end
                event = StageRaised(job.job, f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
            else:
                spent = time.monotonic() - begun
                stretched = self.factor * self.slow
                if stretched > 1.0:
                    work_s = self._work_s() - work_s
                    time.sleep(max(0.0, begun + stretched * work_s - time.monotonic()))
                    spent = time.monotonic() - begun
                spent /= self.slow
                self.busy_s += spent
                self.stages += 1
                event = StageDone(job.job, made, spent)
            self._forget(job.job)
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._deliver, event)
            except RuntimeError:  # the loop has closed: the host is going down
                return

    def _run(self, job: Execute | Train) -> Parcel:
        executor, parcel = self._executor, job.parcel
        if isinstance(job, Train):
            if not isinstance(executor, TrainingExecutor):
                raise StageFailed("this host answers requests: start it with what is to be trained")
            return executor.train(job)
        if isinstance(executor, TrainingExecutor):
            raise StageFailed("this host trains the model: it answers no requests")
        if isinstance(executor, CodedExecutor):
            made = executor.run(job.start, job.stop, parcel, job.outputs, job.decode, job.encode)
            return Parcel(made.tensors, made.data)
        if not (job.decode.is_raw and job.encode.is_raw):
            raise StageFailed("this host has no codecs: start it with the tolerance profile of the others")
        by_id = executor.run(job.start, job.stop, dict(zip(parcel.tensors, parcel.data, strict=True)))
        return Parcel(job.outputs, tuple(by_id[tensor] for tensor in job.outputs))

    def _forget(self, job: int) -> None:
        self._waiting.discard(job)
        self._abandoned.discard(job)
