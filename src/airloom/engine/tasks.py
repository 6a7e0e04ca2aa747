"""Requests on their way downstream: which operators this host runs, and who goes on."""

from __future__ import annotations

from airloom.core.coding import RAW, parse_coding
from airloom.core.problem import Option
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
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
        return self._go_on(frame, parcel, came_from)

    def run_whole(self, frame: Frame, parcel: Parcel) -> None:
        """The source runs the model itself."""
        self._execute(frame, parcel, 0, self._config.num_operators, "", None)

    def done(self, job: Job, parcel: Parcel) -> None:
        """A stage of the table is over."""
        if job.stop == self._config.num_operators:
            return self._finish(job.frame, parcel)
        frame = head(FrameKind.TASK, job.frame, parcel, cut=job.stop, coding=self._codings.index(job.encode))
        if job.parent is not None and job.parent == self._wave.parent:
            return self._post.send(job.parent, frame, parcel, mcs=job.mcs)
        # The host that was to go on is gone, or another one is nearer to the sink now.
        return self._go_on(frame, parcel, job.came_from)

    def _is_live_set(self, frame: Frame, parcel: Parcel) -> bool:
        cut = frame.cut
        if frame.coding:
            return cut < self._config.num_operators and self._codings.entry(cut, frame.coding) is not None
        return parcel.tensors == self._ids[cut] and tuple(data.nbytes for data in parcel.data) == self._sizes[cut]

    def _go_on(self, frame: Frame, parcel: Parcel, came_from: str) -> None:
        cut, last, parent = frame.cut, self._config.num_operators, self._wave.parent
        if cut == last:
            return self._finish(frame, parcel)
        stop = self._wave.stop(cut)
        if stop is not None and stop < last and (parent is None or parent == came_from):
            # Nobody is left to hand over to: hosts that disagree for a moment must not play ball.
            stop = last
        if stop is None or not self._wave.can_run(cut, stop):
            line = f"cannot run operators {cut}..{last - 1} here and nobody downstream can: give it memory or a link"
            return self._post.failure(frame, line)
        if stop == cut and frame.coding:
            coding = self._codings.coding(frame.coding).name
            return self._post.send(str(parent), frame, parcel, mcs=self._wave.relayed(cut, coding).mcs)
        option = self._wave.option(stop) if stop < last else None
        if stop == cut and (option is None or option.coding == RAW.name):
            return self._post.send(str(parent), frame, parcel, mcs=None if option is None else option.mcs)
        return self._execute(frame, parcel, cut, stop, came_from, parent, option)

    def _execute(
        self, frame: Frame, parcel: Parcel, start: int, stop: int, came_from: str, parent: str | None,
        option: Option | None = None,
    ) -> None:  # fmt: skip
        """Decode what came, run operators, code what goes on as `option` has it."""
        if self._jobs.full:
            return self._post.failure(frame, f"{len(self._jobs)} stages wait already")
        decode = self._codings.coding(frame.coding)
        encode = RAW if option is None else parse_coding(option.coding)
        job = Job(
            self._codings.decoded(frame, parcel) if frame.coding else frame, start, stop, self._ids[stop], came_from,
            parent, asked_s=self._out.now_s, decode=decode, encode=encode, mcs=None if option is None else option.mcs,
        )  # fmt: skip
        return self._jobs.run(job, parcel)

    def _finish(self, frame: Frame, parcel: Parcel) -> None:
        if not self._config.result_returns:
            parcel = Parcel()
        self._post.toward_source(head(FrameKind.RESULT, frame, parcel, cut=self._config.num_operators), parcel)
