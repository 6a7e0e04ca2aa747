"""Which bytes of a blob earlier hops lost, as the bytes of the pseudo-tensor `GAPS`: u32 start, u32 stop each.

Little-endian, ascending, neither overlapping nor touching: every list has one encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from airloom.errors import WireError

Range = tuple[int, int]

_RANGE = struct.Struct("<II")


def encode_gaps(gaps: Iterable[Range]) -> bytes:
    """The bytes of ranges as `merged` gives them; ValueError where one does not fit."""
    try:
        return b"".join(_RANGE.pack(start, stop) for start, stop in gaps)
    except struct.error as error:
        raise ValueError(f"gaps of a blob do not fit: {error}") from None


def decode_gaps(data: bytes | bytearray | memoryview, nbytes: int) -> tuple[Range, ...]:
    """The ranges of a blob of `nbytes` bytes; WireError where they cannot be."""
    if len(data) % _RANGE.size:
        raise WireError(f"a list of gaps of {len(data)} bytes")
    gaps = tuple(_RANGE.iter_unpack(data))
    least = -1
    for start, stop in gaps:
        if not least < start < stop <= nbytes:
            raise WireError(f"a gap {start}..{stop} in a blob of {nbytes} bytes that has gaps up to {least}")
        least = stop
    return gaps


def merged(gaps: Iterable[Range]) -> tuple[Range, ...]:
    """The ranges that any of `gaps` covers, ascending, neither overlapping nor touching nor empty."""
    found: list[Range] = []
    for start, stop in sorted(gap for gap in gaps if gap[1] > gap[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return tuple(found)


def units_missing(gaps: Iterable[Range], nbytes: int, first_room: int, room: int) -> float:
    """Share of a blob's units that lack a byte: unit 0 has `first_room` bytes, every other one `room`."""

    def unit(at: int) -> int:
        return 0 if at < first_room else 1 + (at - first_room) // room

    if not nbytes:
        return 0.0
    gone = 0
    last = -1
    for start, stop in gaps:
        first, end = max(unit(start), last + 1), unit(stop - 1)
        gone += max(0, end - first + 1)
        last = max(last, end)
    return gone / (unit(nbytes - 1) + 1)
