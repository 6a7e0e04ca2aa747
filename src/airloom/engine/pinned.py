"""Following a pinned plan: a stage fires when its inputs are there.

Every host gets the same plan. A frame names the transfer it carries; whoever holds the stage that
the transfer leads to joins it with the stage's other inputs, everyone else passes it on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from airloom.core.coding import RAW
from airloom.core.plan import Plan
from airloom.engine.coded import Codings, added
from airloom.engine.config import HostConfig
from airloom.engine.jobs import Job, Jobs
from airloom.engine.layout import Layout, lay_out
from airloom.engine.messages import Frame, FrameKind, Gap, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.engine.post import Post, device_name, head
from airloom.errors import UserError

PARTIAL_TIMER = "partial"
Key = tuple[int, int, int, str]  # source, request, attempt, stage


@dataclass(slots=True)
class Partial:
    """A stage whose inputs are not all there: what came so far, by transfer."""

    epoch: int
    data: dict[int, memoryview] = field(default_factory=dict)
    gaps: dict[int, tuple[Gap, ...]] = field(default_factory=dict)
    arrived: set[int] = field(default_factory=set)
    missing_ppm: int = 0
    drops: list[int] = field(default_factory=list)

    def add(self, transfer: int, frame: Frame, parcel: Parcel) -> None:
        self.arrived.add(transfer)
        self.missing_ppm = max(self.missing_ppm, frame.missing_ppm)
        self.drops.append(frame.drop_bp)
        for id, data in zip(parcel.tensors, parcel.data, strict=True):
            self.data[id] = data
            self.gaps[id] = tuple(gap for gap in parcel.missing if gap.tensor == id)

    def parcel(self, ids: tuple[int, ...]) -> Parcel:
        return Parcel(ids, tuple(self.data[id] for id in ids), tuple(gap for id in ids for gap in self.gaps[id]))


def pick(parcel: Parcel, ids: tuple[int, ...]) -> Parcel:
    """The tensors `ids` of a parcel, in that order."""
    held = dict(zip(parcel.tensors, parcel.data, strict=True))
    return Parcel(ids, tuple(held[id] for id in ids), tuple(gap for gap in parcel.missing if gap.tensor in ids))


class Pinned:
    """The plan in force at this host, if any, and stages that wait for inputs."""

    def __init__(
        self, config: HostConfig, peers: Peers, jobs: Jobs, post: Post, codings: Codings, outbox: Outbox
    ) -> None:  # fmt: skip
        self._config, self._peers, self._codings = config, peers, codings
        self._jobs, self._post, self._out = jobs, post, outbox
        self._waiting: OrderedDict[Key, Partial] = OrderedDict()
        self.layout: Layout | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def pin(self, plan: Plan | None) -> None:
        """Follow `plan`, or the table again; a plan that cannot be followed leaves the old one in force."""
        if plan is None:
            self.layout = None
            return
        try:
            self.layout = lay_out(plan, self._config)
        except UserError as error:
            self._out.drop("plan refused", line=str(error))

    def begin(self, frame: Frame, parcel: Parcel, layout: Layout) -> None:
        """At the source: give the input to the stages that read it."""
        for transfer in layout.out_of[""]:
            part = pick(parcel, layout.tensors[transfer])
            if not layout.codings[transfer].is_raw:
                self._code_input(frame, part, transfer, layout)
                continue
            cut = layout.cuts[transfer]
            self._carry(head(FrameKind.TASK, frame, part, cut=cut, transfer=transfer), part, layout)

    def _code_input(self, frame: Frame, parcel: Parcel, transfer: int, layout: Layout) -> None:
        """The input travels coded: this host's executor codes it, and runs nothing."""
        if self._jobs.full:
            return self._post.failure(frame, f"{len(self._jobs)} stages wait already")
        job = Job(frame, 0, 0, parcel.tensors, pinned=True, asked_s=self._out.now_s, encode=layout.codings[transfer])
        return self._jobs.run(job, parcel)

    def accept(self, frame: Frame, parcel: Parcel) -> None:
        """A transfer's tensors came from a neighbour."""
        layout = self.layout
        if layout is None or layout.plan.epoch != frame.epoch:
            self._out.drop("another plan is in force", frame.request, frame.attempt, epoch=frame.epoch)
            return self._post.failure(frame, f"no plan of epoch {frame.epoch} here")
        if not 0 <= frame.transfer < len(layout.tensors) or not self._is_transfer(frame, parcel, layout):
            return self._out.drop("not a transfer of the plan", frame.request, frame.attempt, transfer=frame.transfer)
        return self._carry(frame, parcel, layout)

    def _is_transfer(self, frame: Frame, parcel: Parcel, layout: Layout) -> bool:
        coding, cut = layout.codings[frame.transfer], layout.cuts[frame.transfer]
        if frame.coding != self._codings.index(coding):
            return False
        return parcel.tensors == layout.tensors[frame.transfer] if coding.is_raw else frame.cut == cut

    def done(self, job: Job, parcel: Parcel) -> None:
        """A stage of the plan is over: its outputs go where the plan has them."""
        layout = self.layout
        if layout is None or layout.plan.epoch != job.frame.epoch:
            return self._post.failure(job.frame, f"the plan of epoch {job.frame.epoch} was withdrawn")
        for transfer in layout.out_of[job.stage]:
            coding = layout.codings[transfer]
            part = pick(parcel, layout.tensors[transfer]) if coding.is_raw else parcel
            if layout.plan.transfers[transfer].dst:
                frame = head(
                    FrameKind.TASK, job.frame, part, cut=layout.cuts[transfer], transfer=transfer,
                    coding=self._codings.index(coding),
                )  # fmt: skip
                self._carry(frame, part, layout)
            else:
                last = self._config.num_operators
                part = part if self._config.result_returns else Parcel()
                self._post.toward_source(head(FrameKind.RESULT, job.frame, part, cut=last, transfer=transfer), part)
        return None

    def on_timer(self, key: tuple[object, ...]) -> None:
        """The rest of the inputs of a stage never came."""
        for known in self._waiting:
            if known == key:
                self._drop(known, "inputs never came")
                return

    def forget(self, source: int, request: int) -> None:
        """Nobody wants this request any more."""
        for key in [key for key in self._waiting if key[:2] == (source, request)]:
            del self._waiting[key]
            self._out.stop_timer(PARTIAL_TIMER, *key)

    def _carry(self, frame: Frame, parcel: Parcel, layout: Layout) -> None:
        """Toward the stage that the transfer leads to, or into it."""
        here = self._config.device
        stage = layout.plan.transfers[frame.transfer].dst
        source = device_name(self._config.topology, frame.source)
        device = layout.device(stage, source or here)
        if device == here:
            return self._join(frame, parcel, stage, layout)
        way = self._peers.way(device)
        following = layout.next_hop(frame.transfer, here)
        if following not in self._peers.up:
            following = way[0] if way else None
        if following is None:
            return self._post.failure(frame, f"no way to {device}")
        return self._post.send(following, frame, parcel, mcs=layout.mcs(frame.transfer, here, following))

    def _join(self, frame: Frame, parcel: Parcel, stage_id: str, layout: Layout) -> None:
        if not stage_id:  # the plan hands the input back as the result
            return self._post.toward_source(
                head(FrameKind.RESULT, frame, parcel, cut=self._config.num_operators, transfer=frame.transfer), parcel
            )
        if frame.coding:  # the whole of the stage's input
            return self._run(self._codings.decoded(frame, parcel), parcel, stage_id, layout, frame.coding)
        key = (frame.source, frame.request, frame.attempt, stage_id)
        partial = self._waiting.get(key)
        if partial is None or partial.epoch != frame.epoch:
            partial = self._waiting[key] = Partial(frame.epoch)
            self._out.start_timer(self._out.now_s + self._config.memory_s, PARTIAL_TIMER, *key)
            if len(self._waiting) > self._config.max_partial:
                self._drop(next(iter(self._waiting)), "too many stages wait for inputs")
        partial.add(frame.transfer, frame, parcel)
        if not partial.arrived.issuperset(layout.into[stage_id]):
            return None
        del self._waiting[key]
        self._out.stop_timer(PARTIAL_TIMER, *key)
        frame = msgspec.structs.replace(frame, missing_ppm=partial.missing_ppm, drop_bp=added(partial.drops))
        return self._run(frame, partial.parcel(layout.inputs[stage_id]), stage_id, layout, 0)

    def _run(self, frame: Frame, inputs: Parcel, stage_id: str, layout: Layout, coding: int) -> None:
        """The stage has all its inputs, coded or not."""
        if self._jobs.full:
            return self._post.failure(frame, f"{len(self._jobs)} stages wait already")
        stage = layout.stages[stage_id]
        onward = [layout.codings[transfer] for transfer in layout.out_of[stage_id]]
        whole = head(FrameKind.TASK, frame, inputs, cut=stage.start, transfer=frame.transfer)
        job = Job(
            whole, stage.start, stage.stop, layout.outputs[stage_id], pinned=True, stage=stage_id,
            asked_s=self._out.now_s,
            decode=self._codings.coding(coding), encode=next((one for one in onward if not one.is_raw), RAW),
        )  # fmt: skip
        return self._jobs.run(job, inputs)

    def _drop(self, key: Key, reason: str) -> None:
        del self._waiting[key]
        self._out.drop(reason, key[1], key[2], stage=key[3])
        self._out.stop_timer(PARTIAL_TIMER, *key)
