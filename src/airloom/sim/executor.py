"""A host's executor in virtual time: one stage after the other, each as long as the profile says."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from airloom.core.profile import Profile
from airloom.engine.coded import Codings
from airloom.engine.events import Execute, StageDone, Train
from airloom.engine.messages import BLOB, Parcel
from airloom.engine.training import train_s
from airloom.sim.clock import Clock


class Blank:
    """Zeros in place of tensors: a simulation has sizes, not values."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._sizes = {
            id: nbytes for cut in profile.cuts for id, nbytes in zip(cut.tensors, cut.tensor_nbytes, strict=False)
        }
        largest = max((nbytes for cut in profile.cuts for nbytes in cut.tensor_nbytes), default=0)
        self._zeros = memoryview(bytes(largest))

    def blob(self, nbytes: float) -> Parcel:
        """A coded live set, which has as many bytes as they have in the mean."""
        return Parcel((BLOB,), (memoryview(bytes(math.ceil(nbytes))),))

    def made(self, tensors: tuple[tuple[int, int], ...]) -> Parcel:
        """Tensors of these ids and bytes, which no live set need hold: gradients, weights."""
        largest = max((nbytes for _, nbytes in tensors), default=0)
        if largest > len(self._zeros):
            self._zeros = memoryview(bytes(largest))
        return Parcel(tuple(id for id, _ in tensors), tuple(self._zeros[:nbytes] for _, nbytes in tensors))

    def parcel(self, ids: tuple[int, ...], cut: int) -> Parcel:
        """The tensors `ids`; in a profile without ids they are those of `cut`, by position."""
        sizes = self._sizes or dict(enumerate(self._profile.cuts[cut].tensor_nbytes))
        return Parcel(ids, tuple(self._zeros[: sizes[id]] for id in ids))


class VirtualExecutor:
    """First in, first out; a stage takes the profile's time, times `factor`, times `1 + load` as it begins.

    Coding and decoding take the tolerance profile's times, stretched alike.
    """

    def __init__(
        self,
        clock: Clock,
        profile: Profile,
        blank: Blank,
        codings: Codings,
        *,
        factor: float,
        done: Callable[[StageDone], None],
    ) -> None:
        self._clock, self._profile, self._blank, self._factor, self._done = clock, profile, blank, factor, done
        self._codings = codings
        self._queue: deque[Execute | Train] = deque()
        self._busy = False
        self.load = 0.0

    def submit(self, job: Execute | Train) -> None:
        self._queue.append(job)
        self._next()

    def abandon(self, number: int) -> None:
        """Skip a job that has not begun."""
        self._queue = deque(job for job in self._queue if job.job != number)

    def _next(self) -> None:
        if self._busy or not self._queue:
            return
        self._busy = True
        job = self._queue.popleft()
        took_s = self._seconds(job) * self._factor * (1.0 + self.load)

        def finish() -> None:
            self._busy = False
            self._done(StageDone(job.job, self._made(job), took_s))
            self._next()

        self._clock.at(self._clock.now_s + took_s, finish)

    def _seconds(self, job: Execute | Train) -> float:
        if isinstance(job, Train):
            return train_s(self._profile, job)
        seconds = self._profile.stage_s(job.start, job.stop)
        return seconds + self._codings.decode_s(job.start, job.decode) + self._codings.code_s(job.stop, job.encode)

    def _made(self, job: Execute | Train) -> Parcel:
        if isinstance(job, Train):
            return self._blank.made(job.makes)
        if job.encode.is_raw:
            return self._blank.parcel(job.outputs, job.stop)
        entry = self._codings.entry(job.stop, self._codings.index(job.encode))
        return self._blank.blob(0.0 if entry is None else entry.nbytes)
