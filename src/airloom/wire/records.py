"""Messages over a byte stream: sealed records of at most 64 KiB, each with its length. No sockets.

    0 u8 version   1 u8 first   4 u32 tag   8 u64 counter   16 u32 message bytes   20 u32 sealed bytes

The head is clear and authenticated. A message is a record with `first` 1 and as many with 0 as it
takes; counters only go up, also over reconnections, so a record is taken once. A stream that shows
anything else is not ours: the error is final, the connection has to go.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from airloom.errors import WireError
from airloom.wire.seal import TAG_BYTES, Opener, Sealer

VERSION = 0xA2
RECORD_ROOM = 1 << 16
_HEAD = struct.Struct("<BBxxIQII")
RECORD_HEAD_BYTES = _HEAD.size
RECORD_OVERHEAD = RECORD_HEAD_BYTES + TAG_BYTES


def seal_message(sealer: Sealer, parts: Sequence[bytes | memoryview]) -> memoryview:
    """One message as sealed records, ready for the stream."""
    plain = memoryview(b"".join(parts))
    count = max(1, -(-len(plain) // RECORD_ROOM))
    out = np.empty(len(plain) + count * RECORD_OVERHEAD, dtype=np.uint8).data
    counter, at = sealer.reserve(count), 0
    for index in range(count):
        piece = plain[index * RECORD_ROOM : (index + 1) * RECORD_ROOM]
        body, end = at + RECORD_HEAD_BYTES, at + RECORD_OVERHEAD + len(piece)
        _HEAD.pack_into(out, at, VERSION, index == 0, sealer.tag, counter + index, len(plain), len(piece) + TAG_BYTES)
        sealer.seal_into(counter + index, piece, out[at:body], out[body:end])
        at = end
    return out


class RecordReader:
    """Bytes of one stream in, messages out."""

    def __init__(self, openers: dict[int, Opener], newest: dict[int, int], *, message_bytes: int) -> None:
        """`openers` by key tag; `newest`, the last counter taken of each, outlives the stream."""
        self._openers, self._newest = openers, newest
        self._limit = message_bytes
        self._waiting = bytearray()
        self.tag: int | None = None  # of the key that the stream's first record proved
        self._message: memoryview | None = None
        self._filled = 0

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """The messages that are complete now. WireError, its text the reason, where the stream is not ours."""
        self._waiting += data
        messages, at = [], 0
        view = memoryview(self._waiting)
        try:
            while len(view) - at >= RECORD_HEAD_BYTES:
                head = _HEAD.unpack_from(view, at)
                self._check(head)
                end = at + RECORD_HEAD_BYTES + head[5]
                if end > len(view):
                    break
                message = self._take(head, view[at : at + RECORD_HEAD_BYTES], view[at + RECORD_HEAD_BYTES : end])
                if message is not None:
                    messages.append(message)
                at = end
        finally:
            view.release()
        del self._waiting[:at]
        return messages

    def _check(self, head: tuple[int, ...]) -> None:
        """What an honest peer never sends ends the stream before it takes memory."""
        version, first, tag, counter, nbytes, sealed = head
        if version != VERSION or first > 1:
            raise WireError("malformed")
        if tag not in self._openers or self.tag not in (None, tag):
            raise WireError("unknown_peer")
        if not 0 < nbytes <= self._limit:
            raise WireError("oversized")
        if counter <= self._newest.get(tag, -1):
            raise WireError("replayed")
        filled = 0 if first else self._filled
        if bool(first) != (self._message is None) or sealed != min(RECORD_ROOM, nbytes - filled) + TAG_BYTES:
            raise WireError("malformed")
        if not first and self._message is not None and len(self._message) != nbytes:
            raise WireError("malformed")

    def _take(self, head: tuple[int, ...], clear: memoryview, sealed: memoryview) -> memoryview | None:
        _, first, tag, counter, nbytes, size = head
        stop = size - TAG_BYTES
        piece = np.empty(stop, dtype=np.uint8).data if first else self._message_from(stop)
        try:
            self._openers[tag].open_into(counter, sealed, clear, piece)
        except WireError:
            raise WireError("unauthentic") from None
        self.tag = tag
        self._newest[tag] = counter
        if first:  # memory for the rest only now that the first record proved authentic
            self._message = np.zeros(nbytes, dtype=np.uint8).data
            self._message[:stop] = piece
            self._filled = 0
        self._filled += stop
        if self._message is None or self._filled < nbytes:
            return None
        message, self._message, self._filled = self._message, None, 0
        return message

    def _message_from(self, size: int) -> memoryview:
        assert self._message is not None
        return self._message[self._filled : self._filled + size]
