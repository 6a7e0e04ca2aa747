"""Blocks as they leave: numbered, stamped and sealed.

What leaves together is a train with a number of its own, and carries a stamp after all earlier ones: by
these the receiver measures the rate and orders departures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from airloom.wire.blocks import (
    BLOCK_BYTES,
    BLOCK_HEADER,
    DATA,
    HEADER_BYTES,
    INDEX_OFFSET,
    PAD,
    ROOM,
    VERSION,
    after,
)
from airloom.wire.outgoing import Outgoing
from airloom.wire.seal import TAG_BYTES, Sealer

_U32 = 0xFFFFFFFF
_STAMP_AGE_S = 600.0  # after so long the clock of 32 bits may have gone round


class Burst(NamedTuple):
    """Datagrams that leave back to back: `data` in pieces of `segment` bytes, the last may be shorter.

    `purpose` is first, repair or control; `packets` how many datagrams.
    """

    data: memoryview
    segment: int
    purpose: str
    packets: int


class BlockSealer:
    """Makes the blocks that leave under one key.

    Attributes:
        heard: what `heard` they carry: all repairs asked for up to this report have left.
        last_stamp: of the latest departure, None before the first.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._train = 0
        self.heard = 0
        self.last_stamp: int | None = None
        self._stamped_s = 0.0

    def reserve(self, count: int) -> int:
        """The number of a message of `count` blocks."""
        return self._sealer.reserve(count)

    def stamp(self, now_s: float) -> int:
        """A departure stamp after all earlier ones."""
        stamp = int(now_s * 1e6) & _U32
        last = self.last_stamp
        # The clock may stand still between two bursts; after a long idle time it may have wrapped.
        if last is not None and not after(stamp, last) and now_s - self._stamped_s < _STAMP_AGE_S:
            stamp = (last + 1) & _U32
        self.last_stamp, self._stamped_s = stamp, now_s
        return stamp

    def seal(self, message: Outgoing, first: int, stop: int, now_s: float) -> None:
        """Seal blocks `first..stop-1` of `message` in place, one train."""
        sealed, plain, id_ = message.sealed, message.plain, message.id
        self._train = (self._train + 1) & 0xFFFF
        header = BLOCK_HEADER.pack(
            VERSION, DATA, self._train, self._sealer.tag, id_, message.nbytes, first, self.stamp(now_s), self.heard
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

    def padding(self, count: int, now_s: float) -> Burst:
        """A train of `count` blocks that hold nothing."""
        self._train = (self._train + 1) & 0xFFFF
        out = memoryview(bytearray(count * BLOCK_BYTES))
        first, stamp = self._sealer.reserve(count), self.stamp(now_s)
        for index in range(count):
            at = index * BLOCK_BYTES
            clear = out[at : at + HEADER_BYTES]
            clear[:] = BLOCK_HEADER.pack(
                VERSION, PAD, self._train, self._sealer.tag, first + index, ROOM, index, stamp, self.heard
            )
            self._sealer.seal_into(first + index, bytes(ROOM), clear, out[at + HEADER_BYTES : at + BLOCK_BYTES])
        return Burst(out, BLOCK_BYTES, "control", count)

    def control(self, type_: int, plain: bytes, now_s: float) -> Burst:
        """One block that is not data."""
        counter = self._sealer.reserve(1)
        clear = BLOCK_HEADER.pack(
            VERSION, type_, 0, self._sealer.tag, counter, len(plain), 0, self.stamp(now_s), self.heard
        )
        out = bytearray(HEADER_BYTES + len(plain) + TAG_BYTES)
        out[:HEADER_BYTES] = clear
        view = memoryview(out)
        self._sealer.seal_into(counter, plain, clear, view[HEADER_BYTES:])
        return Burst(view, len(out), "control", 1)
