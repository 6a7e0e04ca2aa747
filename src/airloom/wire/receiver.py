"""The receiving half of a link: blocks to messages, and what to ask for again.

A block is decrypted straight into its message's buffer. A gap is asked for as soon as three later
blocks have come, in mid-stream; every later block says up to which report its sender has `heard`,
so a repair that was lost is known to be lost when the next block comes, not after a timeout. Only
silence needs a timer. After `rounds` repairs of a block the receiver gives it up; what is given up
is zero-filled and reported as the exact ranges (nothing is ever made up).

Where the owner allows blocks of a message to stay missing, the receiver asks for no more of them
than bring it down to the allowance, and is done with the message as soon as it is there.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from airloom.core.messages import Allowance, Frame
from airloom.errors import WireError
from airloom.wire.blocks import (
    BLOCK_BYTES,
    DONE,
    HEADER_BYTES,
    INDEX_OFFSET,
    PACKET_OVERHEAD,
    PARTIAL,
    RANGE_BYTES,
    REFUSED,
    REPORT_BYTES,
    ROOM,
    STAMP_OFFSET,
    STATE_BYTES,
    Mark,
    MessageState,
    Report,
    after,
    num_blocks,
)
from airloom.wire.header import decode_frame, head_nbytes
from airloom.wire.incoming import Incoming, blocks_of_gaps
from airloom.wire.limits import Budget, ReceiverLimits
from airloom.wire.meters import LossMeter, TrainMeter
from airloom.wire.seal import TAG_BYTES, Opener

__all__ = ["Allow", "Budget", "Complete", "MessageReceiver", "ReceiverLimits"]

_REORDER = 3  # a gap counts once so many later blocks have come
_REPORT_EVERY_S = 0.025
_REPORT_EVERY_BLOCKS = 128
_MIN_REPEAT_S, _MAX_REPEAT_S = 0.004, 0.2
_SHUT = 1024  # how many finished messages are remembered one by one
_RUN = 4  # blocks from which taking them together pays
_STATES = 24  # messages in one report
_MOST_ROUNDS = 255
_OWN_LOSS = 8  # blocks from which a message's own losses count beside the link's

#: What may be missing of a message of so many blocks, at this loss of first transmissions.
Allow = Callable[[Frame, int, float], Allowance]


class Complete(NamedTuple):
    """A message, whole or with `missing` byte ranges (ascending, zero-filled)."""

    id: int
    buffer: memoryview
    missing: tuple[tuple[int, int], ...]


class MessageReceiver:
    """Receives from one peer. Sans I/O: `block` and `mark` take what is authentic, `events` tells.

    `allow` is asked once the head of a message is here, and again when repairs of it were lost;
    None asks for everything. `loss` is what the link is known to lose of its own.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        limits: ReceiverLimits | None = None,
        budget: Budget | None = None,
        allow: Allow | None = None,
        loss: float = 0.0,
    ) -> None:
        self._opener, self._allow = opener, allow
        self.limits = limits or ReceiverLimits()
        self._budget = budget or Budget(1 << 62)
        self._active: dict[int, Incoming] = {}
        self._held = 0
        self._shut: OrderedDict[int, int] = OrderedDict()  # finished message -> DONE or REFUSED
        self._floor = 0  # every message below is finished, or under way
        self._tell: dict[int, int] = {}  # finished messages the next report names
        self._scratch = memoryview(bytearray(ROOM))
        self._seq = 0
        self._heard = 0
        self._stamp: int | None = None
        self._stamp_s = -math.inf
        self._arrived = self._lost = 0
        self._metered = (0, 0)
        self._unreported = 0
        self._report_s = math.inf
        self._repeat_s = math.inf
        self._repeat_gap_s = _MIN_REPEAT_S
        self._rtt_s = 0.0
        self._trains = TrainMeter(loss=loss)
        self.loss_meter = LossMeter()
        self.events: list[Complete] = []
        self.counts: dict[str, int] = {}

    # --- what comes in -------------------------------------------------------------------------

    def block(self, datagram: memoryview, header: tuple[int, ...], now_s: float, arrival_s: float) -> None:
        """Take a data block with the unpacked `header`; WireError (with the reason as its text) refuses it.

        `arrival_s` is when it came, at or before `now_s` on the same clock.
        """
        _, _, train, _, id_, nbytes, index, stamp, heard = header
        message = self._active.get(id_)
        if message is None:
            message = self._first_block(datagram, id_, nbytes, index, now_s)
        else:
            if nbytes != message.nbytes or index >= message.count:
                raise WireError("malformed")
            if message.got[index]:
                raise WireError("duplicate")
            start = index * ROOM
            stop = min(start + ROOM, nbytes)
            if len(datagram) != stop - start + HEADER_BYTES + TAG_BYTES:
                raise WireError("malformed")
            # Bytes that turn out not to be authentic land in a range that still counts as missing.
            self._open(id_ + index, datagram, message.view[start:stop])
        message.got[index] = 1
        message.left -= 1
        message.touched_s = now_s
        self._unreported += 1
        if index == message.high:
            message.high = index + 1
            fresh = True
        elif index > message.high:
            message.gaps.append((message.high, index))
            message.high = index + 1
            fresh = True
        else:
            fresh = message.came(index)
        if not message.known and message.got[0]:
            self._head_came(message, now_s)
        if fresh:
            self._arrived += 1
            self._trains.arrived(train, index, len(datagram) + PACKET_OVERHEAD, arrival_s)
            self.departed(stamp, heard, now_s)
            if message.gaps:
                self._ask_for(message, message.confirm(message.high - _REORDER), now_s)
        self._progress(message, now_s)

    def _progress(self, message: Incoming, now_s: float) -> None:
        """Blocks of `message` came: finish it, or see to it that a report goes out now and then."""
        if message.is_settled:
            self._settle(message, now_s)
        elif self._unreported >= _REPORT_EVERY_BLOCKS:
            self._report_s = now_s
        elif self._report_s == math.inf:
            self._report_s = now_s + _REPORT_EVERY_S

    def run(self, data: memoryview, header: tuple[int, ...], now_s: float, arrival_s: float) -> int:
        """Take whole data blocks that follow each other, as they come on a good link, at a fraction of the cost.

        `data` holds full blocks and `header` is the first one's. How many were taken; the rest, from
        the first that is no plain continuation or not authentic, is for `block`.
        """
        _, _, train, _, id_, nbytes, first, stamp, heard = header
        message = self._active.get(id_)
        if message is None or nbytes != message.nbytes or first != message.high or message.gaps:
            return 0
        rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, BLOCK_BYTES)[
            : max(0, nbytes // ROOM - first), :HEADER_BYTES
        ]
        if len(rows) < _RUN:
            return 0
        expected = np.repeat(rows[:1], len(rows), axis=0)
        expected[:, INDEX_OFFSET:STAMP_OFFSET] = (
            np.arange(first, first + len(rows), dtype="<u4").view(np.uint8).reshape(-1, 4)
        )
        same = (rows == expected).all(axis=1)
        number = len(rows) if bool(same.all()) else int(same.argmin())
        if number < _RUN:
            return 0
        stop = first + number
        number = self._opener.open_run(id_ + first, data, HEADER_BYTES, message.view[first * ROOM : stop * ROOM], ROOM)
        if not number:
            return 0
        message.got[first : first + number] = b"\1" * number
        message.left -= number
        message.high = first + number
        message.touched_s = now_s
        self._arrived += number
        self._unreported += number
        self._trains.arrived(train, first, number * (BLOCK_BYTES + PACKET_OVERHEAD), arrival_s, number)
        self.departed(stamp, heard, now_s)
        self._progress(message, now_s)
        return number

    def mark(self, mark: Mark, now_s: float) -> None:
        """The sender's word of what has left so far."""
        if mark.rtt_us:
            self._rtt_s = mark.rtt_us * 1e-6
        for id_, nbytes, upto in mark.messages:
            message = self._active.get(id_)
            if message is None:
                if id_ in self._shut or id_ < self._floor:
                    self._tell[id_] = self._shut.get(id_, REFUSED)
                    continue
                try:
                    message = self._open_message(id_, nbytes, now_s)
                except WireError as error:
                    self._drop(str(error))
                    continue
            if nbytes != message.nbytes:
                self._drop("malformed")
                continue
            message.touched_s = now_s
            if upto > message.high:
                message.gaps.append((message.high, upto))
                message.high = upto
            self._ask_for(message, message.confirm(upto), now_s)
            self._settle(message, now_s)
        self._report_s = now_s

    def padding(self, header: tuple[int, ...], datagram_nbytes: int, now_s: float, arrival_s: float) -> None:
        """A block of a probe train came."""
        self._trains.arrived(header[2], header[6], datagram_nbytes + PACKET_OVERHEAD, arrival_s)
        if self._report_s == math.inf:
            self._report_s = now_s + _REPORT_EVERY_S

    def departed(self, stamp: int, heard: int, now_s: float) -> None:
        """An authentic block that is no repair left at `stamp`, its sender having heard report `heard`."""
        if self._stamp is None or after(stamp, self._stamp) or now_s - self._stamp_s > 600:
            self._stamp, self._stamp_s = stamp, now_s
        if heard != self._heard and after(heard, self._heard) and not after(heard, self._seq):
            self._heard = heard
            for message in list(self._active.values()):
                if message.asked:
                    if message.known:
                        self._renew(message)
                    if message.judge(heard) | message.choose(self._head_room(message)):
                        self._report_s = now_s
                    self._settle(message, now_s)

    # --- messages ------------------------------------------------------------------------------

    def _first_block(self, datagram: memoryview, id_: int, nbytes: int, index: int, now_s: float) -> Incoming:
        """A block of a message not known yet: authentic first, memory after."""
        if id_ in self._shut:
            raise WireError("duplicate")
        if id_ < self._floor:
            raise WireError("replayed")
        if nbytes == 0 or index >= num_blocks(nbytes):
            raise WireError("malformed")
        start = index * ROOM
        size = min(ROOM, nbytes - start)
        if len(datagram) != size + HEADER_BYTES + TAG_BYTES:
            raise WireError("malformed")
        plain = self._scratch[:size]
        self._open(id_ + index, datagram, plain)
        message = self._open_message(id_, nbytes, now_s)
        message.view[start : start + size] = plain
        return message

    def _open(self, counter: int, datagram: memoryview, out: memoryview) -> None:
        try:
            self._opener.open_into(counter, datagram[HEADER_BYTES:], datagram[:HEADER_BYTES], out)
        except (WireError, OverflowError):
            raise WireError("unauthentic") from None

    def _open_message(self, id_: int, nbytes: int, now_s: float) -> Incoming:
        limits = self.limits
        if nbytes > limits.message_bytes:
            self._shut_message(id_, REFUSED)
            self._report_s = now_s
            raise WireError("oversized")
        if len(self._active) >= limits.partial_messages or self._held + nbytes > limits.partial_bytes:
            raise WireError("memory")
        if not self._budget.take(nbytes):
            raise WireError("memory")
        self._held += nbytes
        # As long as nobody can say how often its blocks are worth asking for, the head is.
        known, rounds = self._allow is None, self.limits.rounds
        message = self._active[id_] = Incoming(
            id_, nbytes, now_s, rounds=rounds, head_rounds=3 * rounds if known else _MOST_ROUNDS, known=known
        )
        return message

    def _head_came(self, message: Incoming, now_s: float) -> None:
        """Learn what may be missing of the message, and ask for the rest of what is known to be lost."""
        may, rounds, vital = 0, 0, range(1)
        first = message.view[: min(ROOM, message.nbytes)]
        try:
            if head_nbytes(first) <= len(first):  # a longer head is of so many tensors that no coding makes it
                frame = decode_frame(first)
                may, rounds = self._allowed(frame, message)
                vital = blocks_of_gaps(frame, head_nbytes(first), ROOM)
        except WireError:
            pass  # whoever decodes the whole message says what is wrong
        message.allow(may, rounds, vital)
        if message.choose(self._head_room(message)):
            self._report_s = now_s

    def _renew(self, message: Incoming) -> None:
        """Repairs may have been lost: the link may be worse than it was thought when the head came."""
        if self._allow is None or not message.has_head():
            return
        try:
            frame = decode_frame(message.view[: min(message.nbytes, head_nbytes(message.view[:ROOM]))])
        except WireError:
            return
        _, rounds = self._allowed(frame, message)
        message.most_rounds = max(message.most_rounds, rounds)

    def _allowed(self, frame: Frame, message: Incoming) -> tuple[int, int]:
        """Blocks that may be missing, and rounds of repair."""
        assert self._allow is not None
        missing, rounds = self._allow(frame, message.count, self._loss_of(message))
        # `not >=` catches NaN.
        may = 0 if not missing >= 0.0 else math.floor(min(missing, 1.0) * message.count + 1e-9)
        return may, min(rounds, _MOST_ROUNDS)

    def _loss_of(self, message: Incoming) -> float:
        """Share of first transmissions that are lost: the link's, or the message's own where that is more."""
        own = message.lost / message.high if message.high >= _OWN_LOSS else 0.0
        return max(self.loss_meter.loss or 0.0, own)

    def _head_room(self, message: Incoming) -> float:
        return self._loss_of(message) if self.limits.head_room else 0.0

    def _copies(self, message: Incoming, now_s: float) -> int:
        """How often each block that is asked for should leave: only owners who allow gaps pay for haste."""
        if self._allow is None or not self.limits.head_room:
            return 1
        turn_blocks = self._rtt_s * self._trains.rate_bps(now_s) / (8 * (BLOCK_BYTES + PACKET_OVERHEAD))
        return message.copies(self._loss_of(message), turn_blocks)

    def _ask_for(self, message: Incoming, lost: int, now_s: float) -> None:
        """So many blocks turned out to be lost: where they are wanted, the next report is due."""
        self._lost += lost
        if message.choose(self._head_room(message)) or message.unasked:
            self._report_s = now_s

    def _settle(self, message: Incoming, now_s: float) -> None:
        """Finish the message if nothing more of it can come."""
        if message.is_settled and message.id in self._active:
            self._finish(message, now_s)

    def _finish(self, message: Incoming, now_s: float) -> None:
        """Deliver what is here, or drop it where that is too little."""
        del self._active[message.id]
        self._held -= message.nbytes
        self._budget.give(message.nbytes)
        self._lost += message.confirm(message.high)  # gaps that nobody has to wait for were lost all the same
        missing = message.missing() if message.left else ()
        lacking = sum(stop - start for start, stop in missing)
        delivered = (
            not missing
            or message.is_enough
            or (
                message.has_head()
                and all(message.got[k] for k in message.vital)
                and lacking <= self.limits.max_missing * message.nbytes
            )
        )
        for start, stop in missing:
            # A block that was not authentic may have left bytes here.
            message.view[start:stop] = bytes(stop - start)
        if delivered:
            self.events.append(Complete(message.id, message.view, missing))
            if missing:
                self.counts["delivered_with_gaps"] = self.counts.get("delivered_with_gaps", 0) + 1
                self.counts["missing_bytes"] = self.counts.get("missing_bytes", 0) + lacking
        else:
            self._drop("incomplete")
        self._shut_message(message.id, DONE if delivered else REFUSED)
        self._report_s = now_s

    def _shut_message(self, id_: int, status: int) -> None:
        self._shut[id_] = self._tell[id_] = status
        if len(self._shut) > _SHUT:
            old, _ = self._shut.popitem(last=False)
            self._floor = max(self._floor, old + 1)

    def close(self) -> None:
        """Give back the memory of all partial messages."""
        for message in self._active.values():
            self._budget.give(message.nbytes)
        self._active.clear()
        self._held = 0

    # --- what goes out -------------------------------------------------------------------------

    def poll(self, now_s: float) -> Report | None:
        """The next report to send, or None until `next_time`."""
        for message in [m for m in self._active.values() if now_s - m.touched_s >= self.limits.patience_s]:
            self._drop("silent")
            self._finish(message, now_s)
        if now_s < self._report_s and now_s < self._repeat_s:
            return None
        if now_s >= self._repeat_s:
            self._repeat_gap_s = min(self._repeat_gap_s * 1.5, _MAX_REPEAT_S)
        else:
            self._repeat_gap_s = min(_MAX_REPEAT_S, max(_MIN_REPEAT_S, self._rtt_s / 5))
        return self._report(now_s)

    def next_time(self) -> float:
        """When `poll` may have something to give."""
        times = [self._report_s, self._repeat_s]
        if self._active:
            times.append(min(m.touched_s for m in self._active.values()) + self.limits.patience_s)
        return min(times)

    def _report(self, now_s: float) -> Report:
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        room = ROOM - REPORT_BYTES
        states: list[MessageState] = []
        for id_ in list(self._tell):
            if room < STATE_BYTES or len(states) >= _STATES:
                break
            states.append(MessageState(id_, self._tell.pop(id_), 0))
            room -= STATE_BYTES
        complete = not self._tell
        # Messages with something new to ask for go first, so that each report gets on with it.
        for message in sorted(self._active.values(), key=lambda m: not m.unasked):
            if room < STATE_BYTES + RANGE_BYTES:
                complete = complete and not message.unasked
                continue
            room -= STATE_BYTES
            lacks, whole = message.ask(self._seq, room // RANGE_BYTES, self._copies(message, now_s))
            complete = complete and whole
            room -= len(lacks) * RANGE_BYTES
            states.append(MessageState(message.id, PARTIAL, message.accounted, lacks))
        waiting = any(m.asked for m in self._active.values())
        self._repeat_s = now_s + self._repeat_gap_s if waiting else math.inf
        # What did not fit goes into the next report, at once.
        self._report_s = math.inf if complete else now_s
        self._unreported = 0
        self.loss_meter.add(self._arrived - self._metered[0], self._lost - self._metered[1])
        self._metered = (self._arrived, self._lost)
        self._trains.flush(now_s)
        hold_us = 0 if self._stamp is None else int((now_s - self._stamp_s) * 1e6)
        return Report(
            self._seq, self._stamp, max(0, hold_us), self._trains.rate_bps(now_s), self._arrived, self._lost,
            tuple(states),
        )  # fmt: skip

    def rate_bps(self, now_s: float) -> float | None:
        """The link's rate towards this host, None where not known."""
        return self._trains.rate_bps(now_s) or None

    @property
    def idle(self) -> bool:
        return not self._active

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not complete."""
        return self._held

    def _drop(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


assert BLOCK_BYTES == ROOM + HEADER_BYTES + TAG_BYTES
