"""Blocks, what one datagram holds: a clear header of 32 bytes, sealed bytes, a tag of 16.

    0 u8  version    4 u32 tag of the key    16 u32 bytes of the message   24 u32 stamp
    1 u8  type       8 u64 message           20 u32 index                  28 u32 heard
    2 u16 train

Little-endian; the header is authenticated with the sealed bytes. A message's number is the nonce
counter of its block 0, and block k's counter is that number + k: a block names its own nonce, and
no two blocks of a key share one. A repair is the same bytes again.

- `train`: blocks with the same number left back to back; their spread on arrival tells the rate.
- `stamp`: the sender's clock in microseconds when the block first left, strictly increasing from
  one burst to the next: it orders departures.
- `heard`: every repair asked for in the other side's reports up to this number left before this block.

Beside data there are reports (what a receiver has and lacks), marks (what a sender has sent, so
that a lost tail is noticed) and padding (trains that show an idle link's rate).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from airloom.core.framing import Framing
from airloom.errors import WireError
from airloom.wire.seal import TAG_BYTES

VERSION = 0xA1
DATA, REPORT, MARK, PAD = 1, 2, 3, 4

FRAMING = Framing()
BLOCK_BYTES = FRAMING.block_bytes
PACKET_OVERHEAD = FRAMING.packet_overhead
BLOCK_HEADER = struct.Struct("<BBHIQIIII")
HEADER_BYTES = BLOCK_HEADER.size
ROOM = BLOCK_BYTES - HEADER_BYTES - TAG_BYTES  # payload of a full block
INDEX_OFFSET, STAMP_OFFSET = 20, 24

assert FRAMING.block_overhead == HEADER_BYTES + TAG_BYTES

_U32 = 0xFFFFFFFF


def after(a: int, b: int) -> bool:
    """Whether the 32-bit serial number `a` comes after `b` (RFC 1982)."""
    return 0 < ((a - b) & _U32) < 0x80000000


def num_blocks(nbytes: int) -> int:
    return FRAMING.num_blocks(nbytes)


def plain_run(data: memoryview, first: int, most: int) -> int:
    """How many of the full blocks in `data`, at most `most`, have the first one's header, counted on from `first`."""
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, BLOCK_BYTES)[:most, :HEADER_BYTES]
    expected = np.repeat(rows[:1], len(rows), axis=0)
    expected[:, INDEX_OFFSET:STAMP_OFFSET] = (
        np.arange(first, first + len(rows), dtype="<u4").view(np.uint8).reshape(-1, 4)
    )
    same = (rows == expected).all(axis=1)
    return len(rows) if bool(same.all()) else int(same.argmin())


# --- report: what the receiver of data says ------------------------------------------------------

PARTIAL, DONE, REFUSED = 0, 1, 2


class MessageState(NamedTuple):
    """How a message stands at its receiver.

    Attributes:
        status: PARTIAL; DONE, it was delivered; REFUSED, it was dropped. In both latter cases the
            sender may forget it.
        got: how many of its blocks have arrived or need not come.
        lacks: ranges (first block, how many) that are asked for.
    """

    id: int
    status: int
    got: int
    lacks: tuple[tuple[int, int], ...] = ()


class Report(NamedTuple):
    """What has arrived from a sender.

    Attributes:
        seq: counts the reports; `heard` of later blocks answers it.
        stamp: the latest departure that has arrived, or None before the first.
        hold_us: how long ago that was.
        rate_bps: the link's rate by the spread of recent trains, 0 where not known.
        arrived, lost: blocks so far that came, and that had to be asked for; modulo 2^32.
    """

    seq: int
    stamp: int | None
    hold_us: int
    rate_bps: float
    arrived: int
    lost: int
    messages: tuple[MessageState, ...] = ()


_REPORT = struct.Struct("<IBxHIIfII")
_STATE = struct.Struct("<QBxHI")
_RANGE = struct.Struct("<IH")
RANGE_BYTES = _RANGE.size
STATE_BYTES = _STATE.size
REPORT_BYTES = _REPORT.size
MAX_RANGE = 0xFFFF


def encode_report(report: Report) -> bytes:
    """The plain bytes of a report; the caller keeps it within a block."""
    known = report.stamp is not None
    parts = [
        _REPORT.pack(
            report.seq, known, len(report.messages), report.stamp or 0, min(report.hold_us, _U32),
            report.rate_bps, report.arrived & _U32, report.lost & _U32,
        )
    ]  # fmt: skip
    for state in report.messages:
        parts.append(_STATE.pack(state.id, state.status, len(state.lacks), state.got))
        parts += [_RANGE.pack(first, count) for first, count in state.lacks]
    return b"".join(parts)


def decode_report(data: bytes) -> Report:
    """WireError unless `data` is exactly one report."""
    if not REPORT_BYTES <= len(data) <= ROOM:
        raise WireError(f"a report of {len(data)} bytes")
    seq, known, number, stamp, hold_us, rate_bps, arrived, lost = _REPORT.unpack_from(data)
    # `not >=` catches NaN.
    if known > 1 or (stamp and not known) or data[5] or not 0.0 <= rate_bps < 1e15:
        raise WireError("a report with fields out of range")
    offset, messages = REPORT_BYTES, []
    for _ in range(number):
        if offset + STATE_BYTES > len(data):
            raise WireError("a report that is cut off")
        id_, status, ranges, got = _STATE.unpack_from(data, offset)
        stop = offset + STATE_BYTES + ranges * RANGE_BYTES
        if status > REFUSED or data[offset + 9] or stop > len(data) or (ranges and status != PARTIAL):
            raise WireError("a report with fields out of range")
        lacks = tuple(_RANGE.iter_unpack(data[offset + STATE_BYTES : stop]))
        if any(count == 0 or first + count > _U32 for first, count in lacks):
            raise WireError("a report that asks for an impossible range")
        messages.append(MessageState(id_, status, got, lacks))
        offset = stop
    if offset != len(data):
        raise WireError("a report with bytes to spare")
    return Report(seq, stamp if known else None, hold_us, rate_bps, arrived, lost, tuple(messages))


# --- mark: what the sender of data says ----------------------------------------------------------


class Sent(NamedTuple):
    """A message of `nbytes`, of which the first `upto` blocks have left."""

    id: int
    nbytes: int
    upto: int


class Mark(NamedTuple):
    """Messages that nobody has confirmed yet, and the round trip as the sender knows it (0: it does not)."""

    rtt_us: int
    messages: tuple[Sent, ...]


_MARK = struct.Struct("<IHxx")
_SENT = struct.Struct("<QII")
MAX_SENT = (ROOM - _MARK.size) // _SENT.size


def encode_mark(mark: Mark) -> bytes:
    head = _MARK.pack(min(mark.rtt_us, _U32), len(mark.messages))
    return b"".join((head, *(_SENT.pack(*sent) for sent in mark.messages)))


def decode_mark(data: bytes) -> Mark:
    """WireError unless `data` is exactly one mark."""
    if len(data) < _MARK.size:
        raise WireError(f"a mark of {len(data)} bytes")
    rtt_us, number = _MARK.unpack_from(data)
    if number > MAX_SENT or len(data) != _MARK.size + number * _SENT.size or any(data[6:8]):
        raise WireError("a mark of the wrong size")
    messages = tuple(Sent(*fields) for fields in _SENT.iter_unpack(data[_MARK.size :]))
    if any(sent.nbytes == 0 or sent.upto > num_blocks(sent.nbytes) for sent in messages):
        raise WireError("a mark with fields out of range")
    return Mark(rtt_us, messages)
