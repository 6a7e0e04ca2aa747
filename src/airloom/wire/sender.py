"""The sending half of a link: messages to sealed blocks, paced; repairs first; marks until confirmed.

Order of departure: repairs, then messages of one block, then the rest in the order of `send`.
Blocks leave in trains on a virtual clock that runs at the link's rate, so a late timer only makes
the next train leave sooner. Where nothing more is to be sent but something is not confirmed, a
mark of a few bytes tells the receiver what it should have by now: a lost tail costs one round
trip after the burst that took it, not a timeout.

A block is sent again only when its last departure precedes one the receiver had seen when it
asked (departures are ordered by `stamp`), so two reports that ask for it never send it twice. A
report that names a block several times has it sent as often.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from airloom.core.repair import MOST_COPIES, head_copies
from airloom.wire.blocks import (
    BLOCK_BYTES,
    BLOCK_HEADER,
    DATA,
    HEADER_BYTES,
    INDEX_OFFSET,
    MARK,
    MAX_SENT,
    PAD,
    PARTIAL,
    ROOM,
    STAMP_OFFSET,
    VERSION,
    Mark,
    Report,
    Sent,
    after,
    encode_mark,
    num_blocks,
)
from airloom.wire.meters import MIN_BLOCKS, LossMeter, RttMeter
from airloom.wire.pacing import Pace
from airloom.wire.seal import TAG_BYTES, Sealer

_U32 = 0xFFFFFFFF
_EARLY_S = 0.0005
_MIN_MARK_S, _MAX_MARK_S = 0.002, 0.1
_GROW = 1.25
_SMALL_BYTES = 400  # a single block up to this size is its own mark: sending it again costs no more
_ECHOES = 3
_LOSSY = 0.1
_QUEUED = -1  # in place of a stamp: a repair that has not left yet


class Burst(NamedTuple):
    """Datagrams that leave back to back: `data` in pieces of `segment` bytes, the last may be shorter.

    `purpose` is first, repair or control; `packets` how many datagrams.
    """

    data: memoryview
    segment: int
    purpose: str
    packets: int


@dataclass(frozen=True)
class SenderLimits:
    """Bounds on what a sender holds.

    Attributes:
        queue_bytes: messages not confirmed yet, all together; `send` drops what exceeds it.
        window_bytes: what may be on its way without confirmation.
        head_copies: send the first block of a message again at its end where the link loses much, so
            that receivers who may do without some blocks know so at once.
        resends: how often each block may leave again, on average over a message.
        give_up_s: a message is forgotten after so long without a word from the receiver.
    """

    queue_bytes: int = 256 << 20
    window_bytes: int = 2 << 20
    resends: int = 6
    head_copies: bool = False
    give_up_s: float = 3.0


class _Outgoing:
    """A message on its way."""

    __slots__ = (
        "again", "count", "echoes", "first", "got", "id", "nbytes", "plain", "resent", "sealed", "sent", "touched_s",
    )  # fmt: skip

    def __init__(self, first: int, plain: bytes, count: int, now_s: float) -> None:
        self.id = self.first = first
        self.plain = memoryview(plain)
        self.nbytes = len(plain)
        self.count = count
        self.sealed = np.empty(self.nbytes + count * (BLOCK_BYTES - ROOM), dtype=np.uint8).data
        self.sent = 0  # blocks that left for the first time
        self.got = 0  # blocks the receiver confirmed
        self.again: dict[int, int] = {}  # stamp of the last repair of a block
        self.resent = 0
        self.echoes = 0
        self.touched_s = now_s


class MessageSender:
    """Sends to one peer. Sans I/O: `poll` gives what may leave now, `next_time` when to ask again."""

    def __init__(
        self, sealer: Sealer, *, rate_bps: float | None = None, limits: SenderLimits | None = None, probe: bool = True,
        loss: float = 0.0,
    ) -> None:  # fmt: skip
        """`loss` is what the link is known to lose of its own."""
        self._loss = loss
        self._sealer = sealer
        self._limits = limits or SenderLimits()
        self._probe = probe
        self._urgent: deque[_Outgoing] = deque()
        self._bulk: deque[_Outgoing] = deque()
        self._messages: dict[int, _Outgoing] = {}
        self._repairs: deque[tuple[int, int, int]] = deque()  # message, first block, how many
        self._echoes: deque[int] = deque()  # messages of one block to be sent again
        self._held = 0
        self._outstanding = 0  # blocks that left and are not confirmed
        self._pace = Pace(rate_bps)
        self.rtt = RttMeter()
        self.loss_meter = LossMeter()
        self._stamp: int | None = None
        self._stamped_s = 0.0
        self._train = 0
        self._heard = 0  # of this report all repairs have left
        self._hearing = 0  # of this one they may still be queued
        self._last_totals: tuple[int, int] | None = None
        self._mark_s = math.inf
        self._mark_gap_s = _MIN_MARK_S
        self._mark_due = False
        self._busy_s = -math.inf  # when data or a repair last left
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
        message = _Outgoing(self._sealer.reserve(count), plain, count, now_s)
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
        return self._heard

    def stamp(self, now_s: float) -> int:
        """A departure stamp after all earlier ones."""
        stamp = int(now_s * 1e6) & _U32
        # The clock may stand still between two bursts; after a long idle time it may have wrapped.
        if self._stamp is not None and not after(stamp, self._stamp) and now_s - self._stamped_s < 600:
            stamp = (self._stamp + 1) & _U32
        self._stamp, self._stamped_s = stamp, now_s
        return stamp

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
                    self._resend(message, first, count, report.stamp, fresh)
        if stale:
            return
        self._hearing = report.seq
        if not self._repairs:
            self._heard = self._hearing
        if report.stamp is not None and self._stamp is not None:
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
        self._mark_gap_s = self._first_gap_s()

    def _resend(self, message: _Outgoing, first: int, count: int, seen: int, fresh: set[int]) -> None:
        """Queue what was asked for, save what may still be on its way; `fresh` is of the same report."""
        stop = min(first + count, message.sent)
        allowed = self._limits.resends * message.count
        run = first
        for index in range(first, stop):
            last = message.again.get(index)
            if last is None:
                last = int.from_bytes(message.sealed[index * BLOCK_BYTES + STAMP_OFFSET :][:4], "little")
            waits = index not in fresh and (last == _QUEUED or after(last, seen))
            if waits or message.resent >= allowed:
                if run < index:
                    self._repairs.append((message.id, run, index - run))
                run = index + 1
            else:
                fresh.add(index)
                message.again[index] = _QUEUED
                message.resent += 1
        if run < stop:
            self._repairs.append((message.id, run, stop - run))

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
                self._mark_gap_s = self._first_gap_s()
                self._busy_s = now_s
                self._mark_s = max(self._pace.free_s, now_s) + self._mark_gap_s
                return burst
        if self._messages:
            return self._next_mark(now_s)
        return self._next_probe(now_s)

    def next_time(self, now_s: float) -> float:
        """When `poll` may have something to give; infinity: not before something comes in."""
        if self._waiting():
            return self._pace.free_s - 0.9 * _EARLY_S
        if self._messages:
            return now_s if self._echoes else min(self._mark_s, now_s + _MAX_MARK_S)
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
            stamp = self.stamp(now_s)
            message.again.update(dict.fromkeys(range(first, first + count), stamp))
            burst = self._blocks(message, first, first + count, "repair")
            self._pace.departed(burst.packets, len(burst.data), now_s)
            self._mark_due = True
            if not self._repairs:
                self._heard = self._hearing
            return burst
        self._heard = self._hearing
        return None

    def _next_train(self, now_s: float) -> Burst | None:
        queue = self._urgent or self._bulk
        room = self._room()
        if not queue or room <= 0:
            return None
        message = queue[0]
        first = message.sent
        stop = min(first + self._pace.train_blocks, first + room, message.count)
        self._seal(message, first, stop, now_s)
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
        burst = self._blocks(message, first, stop, "first")
        self._pace.departed(burst.packets, len(burst.data), now_s)
        if stop - first >= MIN_BLOCKS:  # shorter ones do not tell the rate: they must not put off a probe
            self._probe_s = now_s
        return burst

    def _seal(self, message: _Outgoing, first: int, stop: int, now_s: float) -> None:
        """Seal blocks `first..stop-1` in place."""
        sealed, plain, id_ = message.sealed, message.plain, message.id
        self._train = (self._train + 1) & 0xFFFF
        header = BLOCK_HEADER.pack(
            VERSION, DATA, self._train, self._sealer.tag, id_, message.nbytes, first, self.stamp(now_s), self._heard
        )
        whole = min(stop, message.nbytes // ROOM)
        if whole > first:
            rows = np.frombuffer(
                sealed, dtype=np.uint8, count=(whole - first) * BLOCK_BYTES, offset=first * BLOCK_BYTES
            )
            rows = rows.reshape(whole - first, BLOCK_BYTES)
            rows[:, :HEADER_BYTES] = np.frombuffer(header, dtype=np.uint8)
            rows[:, INDEX_OFFSET : INDEX_OFFSET + 4] = (
                np.arange(first, whole, dtype="<u4").view(np.uint8).reshape(-1, 4)
            )
            self._sealer.seal_run(
                id_ + first, plain[first * ROOM : whole * ROOM], ROOM, sealed[first * BLOCK_BYTES :], HEADER_BYTES
            )
        if whole < stop:  # the message's last block, shorter than the others
            at = whole * BLOCK_BYTES
            clear = sealed[at : at + HEADER_BYTES]
            clear[:] = header
            clear[INDEX_OFFSET : INDEX_OFFSET + 4] = whole.to_bytes(4, "little")
            self._sealer.seal_into(id_ + whole, plain[whole * ROOM :], clear, sealed[at + HEADER_BYTES :])

    def _blocks(self, message: _Outgoing, first: int, stop: int, purpose: str) -> Burst:
        return Burst(message.sealed[first * BLOCK_BYTES : stop * BLOCK_BYTES], BLOCK_BYTES, purpose, stop - first)

    def _next_mark(self, now_s: float) -> Burst | None:
        """Tell the receiver what it should have; a message of one small block is sent again instead."""
        while self._echoes:
            message = self._messages.get(self._echoes.popleft())
            if message is not None:
                message.again[0] = self.stamp(now_s)
                return self._blocks(message, 0, 1, "repair")
        if now_s < self._mark_s or self._waiting():
            return None
        unconfirmed = [m for m in self._messages.values() if m.sent]
        self._mark_s = now_s + self._mark_gap_s if unconfirmed else math.inf
        # For the first round trips marks keep coming, so that one arrives soon after a burst of losses.
        if now_s - self._busy_s > 2 * (self.rtt.smoothed_s or 0.0) + 0.02:
            self._mark_gap_s = min(self._mark_gap_s * _GROW, _MAX_MARK_S)
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

    def _mark(self, now_s: float, messages: Sequence[_Outgoing]) -> Burst:
        sent = tuple(Sent(m.id, m.nbytes, m.sent) for m in messages[:MAX_SENT])
        return self.control(MARK, encode_mark(Mark(int((self.rtt.smoothed_s or 0.0) * 1e6), sent)), now_s)

    def _next_probe(self, now_s: float) -> Burst | None:
        """A train of padding where the link was idle long enough for it to take 1 % of the rate."""
        if not self._probe or not math.isfinite(self._probe_s) or now_s < self._probe_s + self._pace.probe_gap_s:
            return None
        self._probe_s = now_s
        count = self._pace.probe_blocks
        self._train = (self._train + 1) & 0xFFFF
        out = memoryview(bytearray(count * BLOCK_BYTES))
        first, stamp = self._sealer.reserve(count), self.stamp(now_s)
        for index in range(count):
            at = index * BLOCK_BYTES
            clear = out[at : at + HEADER_BYTES]
            clear[:] = BLOCK_HEADER.pack(
                VERSION, PAD, self._train, self._sealer.tag, first + index, ROOM, index, stamp, self._heard
            )
            self._sealer.seal_into(first + index, bytes(ROOM), clear, out[at + HEADER_BYTES : at + BLOCK_BYTES])
        self._pace.departed(count, len(out), now_s)
        return Burst(out, BLOCK_BYTES, "control", count)

    def control(self, type_: int, plain: bytes, now_s: float) -> Burst:
        """One sealed block that is not data; it leaves at once."""
        counter = self._sealer.reserve(1)
        clear = BLOCK_HEADER.pack(
            VERSION, type_, 0, self._sealer.tag, counter, len(plain), 0, self.stamp(now_s), self._heard
        )
        out = bytearray(HEADER_BYTES + len(plain) + TAG_BYTES)
        out[:HEADER_BYTES] = clear
        view = memoryview(out)
        self._sealer.seal_into(counter, plain, clear, view[HEADER_BYTES:])
        return Burst(view, len(out), "control", 1)

    # --- housekeeping --------------------------------------------------------------------------

    def _first_gap_s(self) -> float:
        """The pause before a mark: an eighth of a round trip, so that a burst of losses is soon outlived."""
        return min(0.02, max(_MIN_MARK_S, (self.rtt.smoothed_s or 0.0) / 10))

    def _expire(self, now_s: float) -> None:
        """Forget messages that nobody answers for."""
        limit = self._limits.give_up_s
        if not self._messages or now_s - self._word_s <= limit:
            return
        for message in [m for m in self._messages.values() if m.sent and now_s - m.touched_s > limit]:
            self._count("unanswered")
            self._forget(message)

    def _forget(self, message: _Outgoing) -> None:
        del self._messages[message.id]
        self._held -= message.nbytes
        self._outstanding -= message.sent - message.got
        queue = self._urgent if message.count == 1 else self._bulk
        if message.sent < message.count:
            queue.remove(message)

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
