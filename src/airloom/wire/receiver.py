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

from typing import NamedTuple

from airloom.errors import WireError
from airloom.wire.blocks import (
    BLOCK_BYTES,
    DONE,
    HEADER_BYTES,
    PACKET_OVERHEAD,
    REFUSED,
    ROOM,
    Mark,
    Report,
    num_blocks,
    plain_run,
)
from airloom.wire.inbox import Inbox
from airloom.wire.incoming import Incoming
from airloom.wire.leniency import Allow, Leniency
from airloom.wire.limits import Budget, ReceiverLimits
from airloom.wire.meters import LossMeter, TrainMeter
from airloom.wire.reporting import Reporting
from airloom.wire.seal import TAG_BYTES, Opener

__all__ = ["Allow", "Budget", "Complete", "MessageReceiver", "ReceiverLimits"]

_REORDER = 3  # a gap counts once so many later blocks have come
_RUN = 4  # blocks from which taking them together pays


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
        self._opener = opener
        self.limits = limits or ReceiverLimits()
        self._inbox = Inbox(self.limits, budget or Budget(1 << 62), gaps=allow is not None)
        self._trains = TrainMeter(loss=loss)
        self.loss_meter = LossMeter()
        self._leniency = Leniency(allow, self.loss_meter, head_room=self.limits.head_room)
        self._reports = Reporting(self._leniency, self._trains, self.loss_meter)
        self._scratch = memoryview(bytearray(ROOM))
        self.events: list[Complete] = []
        self.counts: dict[str, int] = {}

    # --- what comes in -------------------------------------------------------------------------

    def block(self, datagram: memoryview, header: tuple[int, ...], now_s: float, arrival_s: float) -> None:
        """Take a data block with the unpacked `header`; WireError (with the reason as its text) refuses it.

        `arrival_s` is when it came, at or before `now_s` on the same clock.
        """
        _, _, train, _, id_, nbytes, index, stamp, heard = header
        message = self._inbox.active.get(id_)
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
        reports = self._reports
        reports.unreported += 1
        if index == message.high:
            message.high = index + 1
            fresh = True
        elif index > message.high:
            message.gaps.append((message.high, index))
            message.high = index + 1
            fresh = True
        else:
            fresh = message.came(index)
        if not message.known and message.got[0] and self._leniency.learn(message):
            reports.due_s = now_s
        if fresh:
            reports.arrived += 1
            self._trains.arrived(train, index, len(datagram) + PACKET_OVERHEAD, arrival_s)
            if reports.departed(stamp, heard, now_s):
                self._judge(heard, now_s)
            if message.gaps:
                self._ask_for(message, message.confirm(message.high - _REORDER), now_s)
        if message.is_settled:
            self._settle(message, now_s)
        else:
            reports.keep_up(now_s)

    def run(self, data: memoryview, header: tuple[int, ...], now_s: float, arrival_s: float) -> int:
        """Take whole data blocks that follow each other, as they come on a good link, at a fraction of the cost.

        `data` holds full blocks and `header` is the first one's. How many were taken; the rest, from
        the first that is no plain continuation or not authentic, is for `block`.
        """
        _, _, train, _, id_, nbytes, first, stamp, heard = header
        message = self._inbox.active.get(id_)
        if message is None or nbytes != message.nbytes or first != message.high or message.gaps:
            return 0
        most = min(len(data) // BLOCK_BYTES, nbytes // ROOM - first)
        number = plain_run(data, first, most) if most >= _RUN else 0
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
        reports = self._reports
        reports.arrived += number
        reports.unreported += number
        self._trains.arrived(train, first, number * (BLOCK_BYTES + PACKET_OVERHEAD), arrival_s, number)
        if reports.departed(stamp, heard, now_s):
            self._judge(heard, now_s)
        if message.is_settled:
            self._settle(message, now_s)
        else:
            reports.keep_up(now_s)
        return number

    def mark(self, mark: Mark, now_s: float) -> None:
        """The sender's word of what has left so far."""
        if mark.rtt_us:
            self._reports.rtt_s = mark.rtt_us * 1e-6
        for id_, nbytes, upto in mark.messages:
            message = self._inbox.active.get(id_)
            if message is None:
                end = self._inbox.end_of(id_)
                if end is not None:
                    self._reports.ended(id_, end, now_s)
                    continue
                try:
                    message = self._begin(id_, nbytes, now_s)
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
        self._reports.due_s = now_s

    def padding(self, header: tuple[int, ...], datagram_nbytes: int, now_s: float, arrival_s: float) -> None:
        """A block of a probe train came."""
        self._trains.arrived(header[2], header[6], datagram_nbytes + PACKET_OVERHEAD, arrival_s)
        self._reports.soon(now_s)

    def departed(self, stamp: int, heard: int, now_s: float) -> None:
        """An authentic block that is no repair left at `stamp`, its sender having heard report `heard`."""
        if self._reports.departed(stamp, heard, now_s):
            self._judge(heard, now_s)

    def _judge(self, heard: int, now_s: float) -> None:
        """All repairs asked for up to report `heard` have come or are lost."""
        for message in list(self._inbox.active.values()):
            if message.asked:
                if message.known:
                    self._leniency.learn_again(message)
                if message.judge(heard) | self._leniency.choose(message):
                    self._reports.due_s = now_s
                self._settle(message, now_s)

    # --- messages ------------------------------------------------------------------------------

    def _first_block(self, datagram: memoryview, id_: int, nbytes: int, index: int, now_s: float) -> Incoming:
        """A block of a message not known yet: authentic first, memory after."""
        self._inbox.check_new(id_)
        if nbytes == 0 or index >= num_blocks(nbytes):
            raise WireError("malformed")
        start = index * ROOM
        size = min(ROOM, nbytes - start)
        if len(datagram) != size + HEADER_BYTES + TAG_BYTES:
            raise WireError("malformed")
        plain = self._scratch[:size]
        self._open(id_ + index, datagram, plain)
        message = self._begin(id_, nbytes, now_s)
        message.view[start : start + size] = plain
        return message

    def _open(self, counter: int, datagram: memoryview, out: memoryview) -> None:
        try:
            self._opener.open_into(counter, datagram[HEADER_BYTES:], datagram[:HEADER_BYTES], out)
        except (WireError, OverflowError):
            raise WireError("unauthentic") from None

    def _begin(self, id_: int, nbytes: int, now_s: float) -> Incoming:
        if nbytes > self.limits.message_bytes:
            self._inbox.over(id_, REFUSED)
            self._reports.ended(id_, REFUSED, now_s)
            raise WireError("oversized")
        return self._inbox.open(id_, nbytes, now_s)

    def _ask_for(self, message: Incoming, lost: int, now_s: float) -> None:
        """So many blocks turned out to be lost: where they are wanted, the next report is due."""
        self._reports.lost += lost
        if self._leniency.choose(message) or message.unasked:
            self._reports.due_s = now_s

    def _settle(self, message: Incoming, now_s: float) -> None:
        """Finish the message if nothing more of it can come."""
        if message.is_settled and message.id in self._inbox.active:
            self._finish(message, now_s)

    def _finish(self, message: Incoming, now_s: float) -> None:
        """Deliver what is here, or drop it where that is too little."""
        self._reports.lost += message.confirm(message.high)  # gaps that nobody has to wait for were lost all the same
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
        status = DONE if delivered else REFUSED
        self._inbox.end(message, status)
        self._reports.ended(message.id, status, now_s)

    def close(self) -> None:
        """Give back the memory of all partial messages."""
        self._inbox.clear()

    # --- what goes out -------------------------------------------------------------------------

    def poll(self, now_s: float) -> Report | None:
        """The next report to send, or None until `next_time`."""
        if self._inbox.active:
            for message in self._inbox.silent(now_s):
                self._drop("silent")
                self._finish(message, now_s)
        return self._reports.poll(self._inbox.active.values(), now_s)

    def next_time(self) -> float:
        """When `poll` may have something to give."""
        if not self._inbox.active:
            return self._reports.next_s
        return min(self._reports.next_s, self._inbox.silent_s)

    def rate_bps(self, now_s: float) -> float | None:
        """The link's rate towards this host, None where not known."""
        return self._trains.rate_bps(now_s) or None

    @property
    def idle(self) -> bool:
        return not self._inbox.active

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not complete."""
        return self._inbox.held_bytes

    def _drop(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


assert BLOCK_BYTES == ROOM + HEADER_BYTES + TAG_BYTES
