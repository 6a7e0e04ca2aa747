"""The sending half of a link: messages to sealed blocks, paced; repairs first; marks until confirmed.

Order of departure: repairs, then messages of one block, then the rest in the order of `send`.
Blocks leave in trains on a virtual clock that runs at the link's rate, so a late timer only makes
the next train leave sooner. Where nothing more is to be sent but something is not confirmed, a
mark of a few bytes tells the receiver what it should have by now: a lost tail costs one round
trip after the burst that took it, not a timeout.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from airloom.core.repair import MOST_COPIES, head_copies
from airloom.wire.blocks import (
    BLOCK_BYTES,
    MARK,
    MAX_SENT,
    PARTIAL,
    Mark,
    Report,
    Sent,
    after,
    encode_mark,
    num_blocks,
)
from airloom.wire.limits import SenderLimits
from airloom.wire.marking import Marking
from airloom.wire.meters import MIN_BLOCKS, LossMeter, RttMeter
from airloom.wire.outgoing import Outgoing
from airloom.wire.pacing import Pace
from airloom.wire.seal import Sealer
from airloom.wire.sealing import BlockSealer, Burst

__all__ = ["Burst", "MessageSender", "SenderLimits"]

_U32 = 0xFFFFFFFF
_EARLY_S = 0.0005
_SMALL_BYTES = 400  # a single block up to this size is its own mark: sending it again costs no more
_ECHOES = 3
_LOSSY = 0.1


class MessageSender:
    """Sends to one peer. Sans I/O: `poll` gives what may leave now, `next_time` when to ask again."""

    def __init__(
        self, sealer: Sealer, *, rate_bps: float | None = None, limits: SenderLimits | None = None, probe: bool = True,
        loss: float = 0.0,
    ) -> None:  # fmt: skip
        """`loss` is what the link is known to lose of its own."""
        self._loss = loss
        self._out = BlockSealer(sealer)
        self._limits = limits or SenderLimits()
        self._probe = probe
        self._urgent: deque[Outgoing] = deque()
        self._bulk: deque[Outgoing] = deque()
        self._messages: dict[int, Outgoing] = {}
        self._repairs: deque[tuple[int, int, int]] = deque()  # message, first block, how many
        self._echoes: deque[int] = deque()  # messages of one block to be sent again
        self._held = 0
        self._outstanding = 0  # blocks that left and are not confirmed
        self._pace = Pace(rate_bps)
        self.rtt = RttMeter()
        self.loss_meter = LossMeter()
        self._hearing = 0  # the latest report, whose repairs may still be queued
        self._last_totals: tuple[int, int] | None = None
        self._marks = Marking(self.rtt)
        self._mark_due = False
        self._word_s = -math.inf  # when a report last came
        self._probe_s = -math.inf
        self.counts: dict[str, int] = {}

    # --- what the owner says -------------------------------------------------------------------

    def send(self, parts: Sequence[bytes | memoryview], now_s: float) -> int | None:
        """Queue one message of at least one byte; its number, or None where the queue is full."""
        plain = b"".join(parts)
        if self._held + len(plain) > self._limits.queue_bytes:
            self._count("queue_full")
            return None
        if not self._messages:
            self._pace.restart()
        count = num_blocks(len(plain))
        message = Outgoing(self._out.reserve(count), plain, count, now_s)
        self._messages[message.id] = message
        self._held += message.nbytes
        (self._urgent if count == 1 else self._bulk).append(message)
        return message.id

    def set_rate(self, rate_bps: float | None) -> None:
        """What the link should carry; a measurement made before no longer counts."""
        self._pace.tell(rate_bps)

    @property
    def pace_bps(self) -> float:
        """bit/s of IP packets at which blocks leave; infinity is as fast as the window allows."""
        return self._pace.bps

    @property
    def rate_bps(self) -> float | None:
        """The link's rate as its receiver measured it; None before it could."""
        return self._pace.measured_bps or None

    @property
    def idle(self) -> bool:
        """Nothing waits and everything is confirmed."""
        return not self._messages

    def heard(self) -> int:
        """What `heard` a block carries that leaves now."""
        return self._out.heard

    def stamp(self, now_s: float) -> int:
        """A departure stamp after all earlier ones."""
        return self._out.stamp(now_s)

    # --- what the receiver says ----------------------------------------------------------------

    def report(self, report: Report, now_s: float) -> None:
        """Act on an authentic report of the other side."""
        self._word_s = now_s
        stale = self._hearing != 0 and not after(report.seq, self._hearing)
        for state in report.messages:
            message = self._messages.get(state.id)
            if message is None:
                continue
            if state.status != PARTIAL:
                self._forget(message)
                continue
            message.touched_s = now_s
            if not stale:
                self._outstanding -= min(state.got, message.sent) - message.got
                message.got = min(state.got, message.sent)
            if report.stamp is not None:
                fresh: set[int] = set()
                named = 0
                for first, count in state.lacks:
                    named += count
                    if named > MOST_COPIES * message.count:
                        break  # no receiver of ours asks for so much: nobody shall keep this host busy with a report
                    ranges = message.ask(first, count, report.stamp, fresh, self._limits.resends * message.count)
                    self._repairs += [(message.id, *again) for again in ranges]
        if stale:
            return
        self._hearing = report.seq
        if not self._repairs:
            self._out.heard = self._hearing
        if report.stamp is not None and self._out.last_stamp is not None:
            rtt_s = (((int(now_s * 1e6) & _U32) - report.stamp) & _U32) * 1e-6 - report.hold_us * 1e-6
            if 0.0 <= rtt_s < 60.0:
                self.rtt.sample(rtt_s, now_s)
        if self._last_totals is not None:
            arrived = (report.arrived - self._last_totals[0]) & _U32
            lost = (report.lost - self._last_totals[1]) & _U32
            if arrived + lost < 1 << 24:
                self.loss_meter.add(arrived, lost)
                self._pace.delivered(arrived, now_s - report.hold_us * 1e-6)
        else:
            self.loss_meter.add(report.arrived, report.lost)
        self._last_totals = (report.arrived, report.lost)
        lossy = max(self._loss, self.loss_meter.loss or 0.0) > _LOSSY
        self._pace.measured(report.rate_bps, lossy=lossy)
        self._marks.restart()

    # --- what leaves ---------------------------------------------------------------------------

    def poll(self, now_s: float) -> Burst | None:
        """The next datagrams to leave, or None until `next_time`."""
        self._expire(now_s)
        if self._mark_due and (not self._repairs or self._pace.free_s > now_s + _EARLY_S):
            # Repairs carry the stamp of their first departure: only a mark shows that these left.
            self._mark_due = False
            if self._messages and not (self._urgent or self._bulk):
                return self._mark(now_s, [m for m in self._messages.values() if m.sent])
        if self._pace.free_s <= now_s + _EARLY_S:
            burst = self._next_repair(now_s) or self._next_train(now_s)
            if burst is not None:
                self._marks.departed(self._pace.free_s, now_s)
                return burst
        if self._messages:
            return self._next_mark(now_s)
        return self._next_probe(now_s)

    def next_time(self, now_s: float) -> float:
        """When `poll` may have something to give; infinity: not before something comes in."""
        if self._waiting():
            return self._pace.free_s - 0.9 * _EARLY_S
        if self._messages:
            return now_s if self._echoes else self._marks.next_time(now_s)
        return self._probe_s + self._pace.probe_gap_s if self._probe and math.isfinite(self._probe_s) else math.inf

    def start(self, now_s: float) -> None:
        """From now on an idle link is probed."""
        if not math.isfinite(self._probe_s):
            self._probe_s = now_s - self._pace.probe_gap_s

    def _waiting(self) -> bool:
        """Whether a repair or a new block could leave as soon as its turn comes."""
        return bool(self._repairs) or ((bool(self._urgent) or bool(self._bulk)) and self._room() > 0)

    def _room(self) -> int:
        """Blocks that may still leave before one is confirmed."""
        return self._pace.window_blocks(self._limits.window_bytes, self.rtt.least_s) - self._outstanding

    def _next_repair(self, now_s: float) -> Burst | None:
        while self._repairs:
            id_, first, count = self._repairs.popleft()
            message = self._messages.get(id_)
            if message is None:
                continue
            if count > self._pace.train_blocks:
                self._repairs.appendleft((id_, first + self._pace.train_blocks, count - self._pace.train_blocks))
                count = self._pace.train_blocks
            message.left_again(first, first + count, self._out.stamp(now_s))
            burst = _burst(message, first, first + count, "repair")
            self._pace.departed(burst.packets, len(burst.data), now_s)
            self._mark_due = True
            if not self._repairs:
                self._out.heard = self._hearing
            return burst
        self._out.heard = self._hearing
        return None

    def _next_train(self, now_s: float) -> Burst | None:
        queue = self._urgent or self._bulk
        room = self._room()
        if not queue or room <= 0:
            return None
        message = queue[0]
        first = message.sent
        stop = min(first + self._pace.train_blocks, first + room, message.count)
        self._out.seal(message, first, stop, now_s)
        message.sent = stop
        message.touched_s = now_s
        self._outstanding += stop - first
        if stop == message.count:
            queue.popleft()
            message.plain.release()
            if self._limits.head_copies and message.count > 1:
                # As repairs: they leave right after the message's last train.
                copies = head_copies(max(self._loss, self.loss_meter.loss or 0.0))
                self._repairs.extend([(message.id, 0, 1)] * copies)
        burst = _burst(message, first, stop, "first")
        self._pace.departed(burst.packets, len(burst.data), now_s)
        if stop - first >= MIN_BLOCKS:  # shorter ones do not tell the rate: they must not put off a probe
            self._probe_s = now_s
        return burst

    def _next_mark(self, now_s: float) -> Burst | None:
        """Tell the receiver what it should have; a message of one small block is sent again instead."""
        while self._echoes:
            message = self._messages.get(self._echoes.popleft())
            if message is not None:
                message.left_again(0, 1, self._out.stamp(now_s))
                return _burst(message, 0, 1, "repair")
        if not self._marks.is_due(now_s) or self._waiting():
            return None
        unconfirmed = [m for m in self._messages.values() if m.sent]
        self._marks.took_turn(now_s, again=bool(unconfirmed))
        told = []
        for message in unconfirmed:
            if message.count == 1 and message.nbytes <= _SMALL_BYTES and message.echoes < _ECHOES:
                message.echoes += 1
                self._echoes.append(message.id)
            else:
                told.append(message)
        if not told:
            return self._next_mark(now_s) if self._echoes else None
        return self._mark(now_s, told)

    def _mark(self, now_s: float, messages: Sequence[Outgoing]) -> Burst:
        sent = tuple(Sent(m.id, m.nbytes, m.sent) for m in messages[:MAX_SENT])
        return self.control(MARK, encode_mark(Mark(int((self.rtt.smoothed_s or 0.0) * 1e6), sent)), now_s)

    def _next_probe(self, now_s: float) -> Burst | None:
        """A train of padding where the link was idle long enough for it to take 1 % of the rate."""
        if not self._probe or not math.isfinite(self._probe_s) or now_s < self._probe_s + self._pace.probe_gap_s:
            return None
        self._probe_s = now_s
        burst = self._out.padding(self._pace.probe_blocks, now_s)
        self._pace.departed(burst.packets, len(burst.data), now_s)
        return burst

    def control(self, type_: int, plain: bytes, now_s: float) -> Burst:
        """One sealed block that is not data; it leaves at once."""
        return self._out.control(type_, plain, now_s)

    # --- housekeeping --------------------------------------------------------------------------

    def _expire(self, now_s: float) -> None:
        """Forget messages that nobody answers for."""
        limit = self._limits.give_up_s
        if not self._messages or now_s - self._word_s <= limit:
            return
        for message in [m for m in self._messages.values() if m.sent and now_s - m.touched_s > limit]:
            self._count("unanswered")
            self._forget(message)

    def _forget(self, message: Outgoing) -> None:
        del self._messages[message.id]
        self._held -= message.nbytes
        self._outstanding -= message.sent - message.got
        queue = self._urgent if message.count == 1 else self._bulk
        if message.sent < message.count:
            queue.remove(message)

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


def _burst(message: Outgoing, first: int, stop: int, purpose: str) -> Burst:
    """Blocks `first..stop-1` of the message, which are sealed."""
    return Burst(message.blocks(first, stop), BLOCK_BYTES, purpose, stop - first)
