"""Following a pinned plan: a stage fires when its inputs are there.

Every host gets the same plan. A frame names the transfer it carries; whoever holds the stage that
the transfer leads to joins it with the stage's other inputs, everyone else passes it on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from airloom.core.plan import Plan
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

    def add(self, transfer: int, frame: Frame, parcel: Parcel) -> None:
        self.arrived.add(transfer)
        self.missing_ppm = max(self.missing_ppm, frame.missing_ppm)
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

    def __init__(self, config: HostConfig, peers: Peers, jobs: Jobs, post: Post, outbox: Outbox) -> None:
        self._config, self._peers = config, peers
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
            self._carry(head(FrameKind.TASK, frame, part, transfer=transfer), part, layout)

    def accept(self, frame: Frame, parcel: Parcel) -> None:
        """A transfer's tensors came from a neighbour."""
        layout = self.layout
        if layout is None or layout.plan.epoch != frame.epoch:
            self._out.drop("another plan is in force", frame.request, frame.attempt, epoch=frame.epoch)
            return self._post.failure(frame, f"no plan of epoch {frame.epoch} here")
        if not 0 <= frame.transfer < len(layout.tensors) or parcel.tensors != layout.tensors[frame.transfer]:
            return self._out.drop("not a transfer of the plan", frame.request, frame.attempt, transfer=frame.transfer)
        return self._carry(frame, parcel, layout)

    def done(self, job: Job, parcel: Parcel) -> None:
        """A stage of the plan is over: its outputs go where the plan has them."""
        layout = self.layout
        if layout is None or layout.plan.epoch != job.frame.epoch:
            return self._post.failure(job.frame, f"the plan of epoch {job.frame.epoch} was withdrawn")
        for transfer in layout.out_of[job.stage]:
            part = pick(parcel, layout.tensors[transfer])
            if layout.plan.transfers[transfer].dst:
                self._carry(head(FrameKind.TASK, job.frame, part, transfer=transfer), part, layout)
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
        return self._post.send(following, frame, parcel)

    def _join(self, frame: Frame, parcel: Parcel, stage_id: str, layout: Layout) -> None:
        if not stage_id:  # the plan hands the input back as the result
            return self._post.toward_source(
                head(FrameKind.RESULT, frame, parcel, cut=self._config.num_operators, transfer=frame.transfer), parcel
            )
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
        if self._jobs.full:
            return self._post.failure(frame, f"{len(self._jobs)} stages wait already")
        stage = layout.stages[stage_id]
        inputs = partial.parcel(layout.inputs[stage_id])
        whole = head(
            FrameKind.TASK, frame, inputs, cut=stage.start, transfer=frame.transfer, missing_ppm=partial.missing_ppm
        )
        return self._jobs.run(
            Job(whole, stage.start, stage.stop, layout.outputs[stage_id], stage=stage_id, asked_s=self._out.now_s),
            inputs,
        )

    def _drop(self, key: Key, reason: str) -> None:
        del self._waiting[key]
        self._out.drop(reason, key[1], key[2], stage=key[3])
        self._out.stop_timer(PARTIAL_TIMER, *key)
