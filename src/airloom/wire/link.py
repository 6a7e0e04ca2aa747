"""Both halves of the link to one peer: datagrams in, bursts and messages out. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Sequence

from airloom.errors import WireError
from airloom.wire.blocks import (
    BLOCK_BYTES,
    BLOCK_HEADER,
    DATA,
    HEADER_BYTES,
    MARK,
    PAD,
    REPORT,
    VERSION,
    decode_mark,
    decode_report,
    encode_report,
)
from airloom.wire.receiver import Allow, Budget, Complete, MessageReceiver, ReceiverLimits
from airloom.wire.seal import TAG_BYTES, LinkKey, Opener, ReplayWindow, Sealer
from airloom.wire.sender import Burst, MessageSender, SenderLimits

_LEAST = HEADER_BYTES + TAG_BYTES
_RUN_BYTES = 4 * BLOCK_BYTES


class LinkProtocol:
    """The protocol of one link, both directions.

    `datagrams` takes what came, `poll` gives what may leave, `events` what was put together.
    Whatever is malformed, not authentic or seen before is dropped and counted in `drops`.
    """

    def __init__(
        self,
        send_key: LinkKey,
        recv_key: LinkKey,
        *,
        rate_bps: float | None = None,
        sender_limits: SenderLimits | None = None,
        receiver_limits: ReceiverLimits | None = None,
        budget: Budget | None = None,
        probe: bool = True,
        allow: Allow | None = None,
        recv_loss: float = 0.0,
        send_loss: float = 0.0,
    ) -> None:
        if send_key == recv_key:
            raise ValueError("each direction of a link needs a key of its own")
        self._opener = Opener(recv_key)
        self._replays = ReplayWindow()
        self.tag = self._opener.tag
        self.sender = MessageSender(
            Sealer(send_key), rate_bps=rate_bps, limits=sender_limits, probe=probe, loss=send_loss
        )
        self.receiver = MessageReceiver(
            self._opener, limits=receiver_limits, budget=budget, allow=allow, loss=recv_loss
        )
        self._drops: dict[str, int] = {}

    def send(self, parts: Sequence[bytes | memoryview], now_s: float) -> int | None:
        """Queue a message; its number, or None where the queue is full (and it was counted)."""
        return self.sender.send(parts, now_s)

    def datagrams(self, data: memoryview, segment: int, now_s: float, arrival_s: float) -> None:
        """Take datagrams that came one behind the other, each of `segment` bytes but for the last."""
        total = len(data)
        block, tag, unpack = self.receiver.block, self.tag, BLOCK_HEADER.unpack_from
        start = -segment
        while (start := start + segment) < total:
            datagram = data[start : start + segment]
            if not _LEAST <= len(datagram) <= BLOCK_BYTES:
                self._drop("malformed" if len(datagram) < _LEAST else "oversized")
                continue
            header = unpack(datagram)
            if header[0] != VERSION or header[3] != tag:
                self._drop("malformed" if header[0] != VERSION else "unknown_peer")
                continue
            try:
                if header[1] == DATA:
                    if segment == BLOCK_BYTES and total - start >= _RUN_BYTES:
                        taken = self.receiver.run(data[start : total - total % segment], header, now_s, arrival_s)
                        if taken:
                            start += (taken - 1) * segment
                            continue
                    block(datagram, header, now_s, arrival_s)
                else:
                    self._control(datagram, header, now_s, arrival_s)
            except WireError as error:
                self._drop(str(error))

    def _control(self, datagram: memoryview, header: tuple[int, ...], now_s: float, arrival_s: float) -> None:
        _, type_, _, _, counter, nbytes, _, stamp, heard = header
        if nbytes != len(datagram) - _LEAST or type_ not in (REPORT, MARK, PAD):
            raise WireError("malformed")
        if self._replays.seen(counter):
            raise WireError("replayed")
        try:
            plain = self._opener.open(counter, datagram[HEADER_BYTES:], datagram[:HEADER_BYTES])
        except WireError:
            raise WireError("unauthentic") from None
        self._replays.add(counter)
        try:
            if type_ == REPORT:
                self.sender.report(decode_report(plain), now_s)
            elif type_ == MARK:
                mark = decode_mark(plain)
                self.receiver.departed(stamp, heard, now_s)
                self.receiver.mark(mark, now_s)
                return
            else:
                self.receiver.padding(header, len(datagram), now_s, arrival_s)
        except WireError:
            raise WireError("malformed") from None
        self.receiver.departed(stamp, heard, now_s)

    def poll(self, now_s: float) -> Burst | None:
        """What leaves next, now, or None until `next_time`. Reports go before anything else."""
        report = self.receiver.poll(now_s)
        if report is not None:
            return self.sender.control(REPORT, encode_report(report), now_s)
        return self.sender.poll(now_s)

    def next_time(self, now_s: float) -> float:
        """When to call `poll` again where nothing comes in before; infinity where there is no need."""
        return min(self.receiver.next_time(), self.sender.next_time(now_s))

    def take_events(self) -> list[Complete]:
        """Messages put together since the last call."""
        events = self.receiver.events
        if events:
            self.receiver.events = []
        return events

    def close(self) -> None:
        self.receiver.close()

    @property
    def idle(self) -> bool:
        """Nothing is under way in either direction."""
        return self.sender.idle and self.receiver.idle

    def drops(self) -> dict[str, int]:
        """What was refused or given up, by reason."""
        total = dict(self._drops)
        for counts in (self.sender.counts, self.receiver.counts):
            for reason, count in counts.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def _drop(self, reason: str) -> None:
        self._drops[reason] = self._drops.get(reason, 0) + 1
