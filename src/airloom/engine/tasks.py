"""Requests on their way downstream: which operators this host runs, and who goes on."""

from __future__ import annotations

import msgspec

from airloom.core.coding import RAW, parse_coding
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.decision import Choice
from airloom.engine.jobs import Job, Jobs
from airloom.engine.messages import Frame, FrameKind, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.engine.post import Post, head
from airloom.engine.wave import Wave


class Tasks:
    """The table at work. Each host decides by its own, at the moment the data is there."""

    def __init__(
        self, config: HostConfig, peers: Peers, wave: Wave, jobs: Jobs, post: Post,
        codings: Codings, outbox: Outbox,
    ) -> None:  # fmt: skip
        self._config, self._peers, self._wave = config, peers, wave
        self._jobs, self._post, self._codings, self._out = jobs, post, codings, outbox
        self._ids = tuple(config.cut_tensors(cut) for cut in range(config.num_operators + 1))
        self._sizes = tuple(size.tensor_nbytes for size in config.profile.cuts)

    def accept(self, frame: Frame, parcel: Parcel, came_from: str = "") -> None:
        """The live set of `frame.cut` is here: run some of what is left and hand over, or hand over at once."""
        cut = frame.cut
        if not 0 <= cut <= self._config.num_operators or not self._is_live_set(frame, parcel):
            return self._out.drop("not the live set of its cut", frame.request, frame.attempt, cut=cut)
        self._wave.arrived()
        if not self._wave.reads(frame.left):
            return self._out.drop("bounds of another objective", frame.request, frame.attempt, cut=cut)
        return self._go_on(frame, parcel, came_from)

    def run_whole(self, frame: Frame, parcel: Parcel, excess: float = 0.0) -> None:
        """The source runs the model itself; `excess` as of `Choice`."""
        choice = Choice(self._config.num_operators, excess=excess)
        self._foresee(frame, choice)
        self._execute(frame, parcel, choice, "")

    def done(self, job: Job, parcel: Parcel) -> None:
        """A stage of the table is over."""
        if job.stop == self._config.num_operators:
            return self._finish(job.frame, parcel)
        late_s = max(0.0, self._out.now_s - job.asked_s - self._wave.own_s(job.start, job.stop))
        frame = head(
            FrameKind.TASK, job.frame, parcel, cut=job.stop, coding=self._codings.index(job.encode),
            left=self._wave.charged(job.left, late_s),
        )  # fmt: skip
        if job.parent is not None and job.parent in self._wave.nexts:
            self._wave.departed(job.asked_s)
            return self._post.send(job.parent, frame, parcel, mcs=job.mcs)
        # The host that was to go on is gone, or lies nearer to the sink no longer.
        return self._go_on(frame, parcel, job.came_from)

    def _is_live_set(self, frame: Frame, parcel: Parcel) -> bool:
        cut = frame.cut
        if frame.coding:
            return cut < self._config.num_operators and self._codings.entry(cut, frame.coding) is not None
        return parcel.tensors == self._ids[cut] and tuple(data.nbytes for data in parcel.data) == self._sizes[cut]

    def _go_on(self, frame: Frame, parcel: Parcel, came_from: str) -> None:
        cut, last = frame.cut, self._config.num_operators
        if cut == last:
            return self._finish(frame, parcel)
        choice = self._wave.choose(cut, frame.left, came_from)
        if choice is not None and choice.stop < last and choice.onward in (None, came_from):
            # Nobody is left to hand over to: hosts that disagree for a moment must not play ball.
            choice = Choice(last)
        if choice is None or not self._wave.can_run(cut, choice.stop):
            line = f"cannot run operators {cut}..{last - 1} here and nobody downstream can: give it memory or a link"
            return self._post.failure(frame, line)
        self._foresee(frame, choice)
        if choice.stop == cut and choice.onward is not None:
            option = choice.option
            frame = msgspec.structs.replace(frame, left=choice.left) if choice.left != frame.left else frame
            if frame.coding:
                option = self._wave.relayed(choice.onward, cut, self._codings.coding(frame.coding).name)
            if frame.coding or option is None or option.coding == RAW.name:
                self._wave.departed(self._out.now_s)
                return self._post.send(choice.onward, frame, parcel, mcs=None if option is None else option.mcs)
        return self._execute(frame, parcel, choice, came_from)

    def _foresee(self, frame: Frame, choice: Choice) -> None:
        """Trace that no way on keeps what is left of the bounds."""
        if choice.excess > 0.0:
            data = {"cut": frame.cut, "stop": choice.stop, "excess": round(choice.excess, 6)}
            self._out.emit("bound", data, frame.request, frame.attempt)

    def _execute(self, frame: Frame, parcel: Parcel, choice: Choice, came_from: str) -> None:
        """Decode what came, run operators, code what goes on as the choice has it."""
        if self._jobs.full:
            return self._post.failure(frame, f"{len(self._jobs)} stages wait already")
        decode, option = self._codings.coding(frame.coding), choice.option
        encode = RAW if option is None else parse_coding(option.coding)
        job = Job(
            self._codings.decoded(frame, parcel) if frame.coding else frame, frame.cut, choice.stop,
            self._ids[choice.stop], came_from, choice.onward, left=choice.left, asked_s=self._out.now_s,
            decode=decode, encode=encode, mcs=None if option is None else option.mcs,
        )  # fmt: skip
        return self._jobs.run(job, parcel)

    def _finish(self, frame: Frame, parcel: Parcel) -> None:
        if not self._config.result_returns:
            parcel = Parcel()
        self._post.toward_source(head(FrameKind.RESULT, frame, parcel, cut=self._config.num_operators), parcel)
