"""Streams into a blob of units, each of its own block (the format: `wire.unit_format`)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.wire.unit_format import (
    BITMAP,
    DENSE,
    ESCAPE,
    GAPS,
    MAX_STREAMS,
    MAX_UNIT_BYTES,
    MIN_ROOM,
    SCALED,
    SCALED_UNIT,
    U16,
    UNIT,
    Stream,
)

# Contents that fit 8 elements of 8 bytes and their bits: less of a block is not begun, unless the stream ends in it.
_LEAST = 72
_ZEROS = bytes(_LEAST)


def pack(streams: Sequence[Stream], *, first_room: int, room: int) -> bytearray:
    """The streams as units: those of block k lie in block k alone.

    Args:
        first_room: bytes of the blob that go with block 0, beside the message's head.
        room: bytes of every other block, at least MIN_ROOM.

    Raises:
        ValueError: a stream is not as it must be, or there are more than MAX_STREAMS.
    """
    if room < MIN_ROOM or first_room < 0 or len(streams) > MAX_STREAMS:
        raise ValueError(f"{len(streams)} streams in blocks of {first_room} and {room} bytes")
    writer = _Writer(first_room, room)
    for number, stream in enumerate(streams):
        if stream.values.ndim != 1 or (stream.keep is not None and stream.keep.shape != stream.values.shape):
            raise ValueError(f"stream {number} is no single row of values, with a mask as long")
        if not len(stream.values if stream.order is None else stream.order):
            continue
        scale = (stream.scale, stream.zero) if stream.scale != 1.0 or stream.zero != 0.0 else ()
        tag = number | (SCALED if scale else 0)
        if stream.keep is None:
            _pack_dense(writer, tag, scale, stream.in_order)
        else:
            _pack_masked(writer, tag, scale, stream)
    return bytearray().join(writer.parts)


class _Writer:
    """Parts of a blob, and how much of the block at its end is free."""

    def __init__(self, first_room: int, room: int) -> None:
        self.parts: list[bytes | memoryview] = []
        self.free = first_room
        self.room = room

    def turn(self) -> None:
        """Leave the rest of this block empty."""
        self.parts.append(bytes(self.free))
        self.free = self.room


def _pack_dense(writer: _Writer, tag: int, scale: tuple[float, ...], values: NDArray[Any]) -> None:
    itemsize, total, start = values.itemsize, len(values), 0
    values, head = np.ascontiguousarray(values), SCALED_UNIT if scale else UNIT
    data = values.data.cast("B")
    tag |= DENSE << 14
    while start < total:
        budget = min(writer.free, MAX_UNIT_BYTES) - head.size
        if budget < min(_LEAST, (total - start) * itemsize):
            writer.turn()
            continue
        count = budget // itemsize
        units = (total - start) // count if writer.free == writer.room <= MAX_UNIT_BYTES else 0
        if units > 1:
            whole = values[start : start + units * count].reshape(units, count)
            writer.parts.append(_full_blocks(head, (tag, 0, start, count, *scale), whole, writer.room))
            start += units * count
            continue
        count = min(count, total - start)
        stop = start + count
        writer.parts += (head.pack(tag, 0, start, count, *scale), data[start * itemsize : stop * itemsize])
        writer.free -= head.size + count * itemsize
        start = stop


def _full_blocks(head: struct.Struct, fields: tuple[Any, ...], values: NDArray[Any], room: int) -> memoryview:
    """Blocks of one dense unit each: those of a large stream, made at once. values: [blocks, values of each]."""
    blocks, count = values.shape
    out = np.empty((blocks, room), np.uint8)
    out[:, : head.size] = np.frombuffer(head.pack(*fields), np.uint8)
    starts = (fields[2] + count * np.arange(blocks, dtype="<u4")).astype("<u4")
    out[:, 4:8] = starts.view(np.uint8).reshape(blocks, 4)
    used = head.size + values.itemsize * count
    out[:, head.size : used] = values.view(np.uint8)
    out[:, used:] = 0
    return out.data.cast("B")


def _pack_masked(writer: _Writer, tag: int, scale: tuple[float, ...], stream: Stream) -> None:
    assert stream.keep is not None
    keep = stream.keep if stream.order is None else stream.keep[stream.order]
    itemsize, total, head = stream.values.itemsize, len(keep), SCALED_UNIT if scale else UNIT
    index = np.flatnonzero(keep)
    if len(index) == total:
        _pack_dense(writer, tag, scale, stream.in_order)
        return
    bits = np.packbits(keep)
    bitmap = bits.tobytes()
    kept_data = stream.values.take(index if stream.order is None else stream.order.take(index)).data.cast("B")
    data: memoryview | None = None
    gaps: _Gaps | None = None
    groups = len(bits)
    # sizes[g]: bytes of the first g groups of 8 elements as a bitmap; sizes[g] - g are those of their values.
    summed = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bitwise_count(bits) * np.uint8(itemsize) + np.uint8(1), dtype=np.int64, out=summed[1:])
    sizes = summed.data
    parts, free, room, at, base = writer.parts, writer.free, writer.room, 0, 0
    whole, least, limit = sizes[groups], _LEAST, groups + 1
    head_size, sparsest, pack_head, tag_of_bitmap = head.size, 1 + itemsize, head.pack, tag | BITMAP << 14
    # This loop runs once a block, and a block takes a link no longer than some 100 microseconds.
    while at < groups:
        budget = (free if free < MAX_UNIT_BYTES else MAX_UNIT_BYTES) - head_size
        if budget < least and budget < whole - base:
            parts.append(bytes(free))
            free = room
            continue
        high = at + budget // sparsest + 2  # of one element in 8, where gaps begin to be smaller
        stop = bisect_right(sizes, base + budget, at, high if high < limit else limit) - 1
        if stop == high - 1:
            high = at + budget + 1  # a group takes a byte or more
            stop = bisect_right(sizes, base + budget, stop, high if high < limit else limit) - 1
        end = sizes[stop]
        span, nbytes = stop - at, end - base
        if nbytes < span * sparsest:  # under one element in 8
            if gaps is None:
                gaps = _Gaps.of(index, (summed - np.arange(groups + 1)) // itemsize, itemsize)
            reach = bisect_right(gaps.sizes, gaps.sizes[at] + budget - U16.size, at) - 1
            if reach > stop or gaps.sizes[reach] - gaps.sizes[at] + U16.size < nbytes:
                first, last = base - at, sizes[reach] - reach
                kept, count = (last - first) // itemsize, min(8 * reach, total) - 8 * at
                spaces = gaps.of_unit(first // itemsize, last // itemsize, 8 * at)
                parts += (pack_head(tag | GAPS << 14, kept, 8 * at, count, *scale), U16.pack(len(spaces)), spaces)
                parts.append(kept_data[first:last])
                free -= head_size + U16.size + len(spaces) + last - first
                at, base = reach, sizes[reach]
                continue
        elif nbytes > 8 * span * itemsize and budget >= 8 * itemsize:
            if data is None:
                data = np.ascontiguousarray(stream.in_order).data.cast("B")
            stop = min(at + budget // (8 * itemsize), groups)
            count = min(8 * stop, total) - 8 * at
            parts.append(pack_head(tag | DENSE << 14, 0, 8 * at, count, *scale))
            parts.append(data[8 * at * itemsize : (8 * at + count) * itemsize])
            free -= head_size + count * itemsize
            at, base = stop, sizes[stop]
            continue
        count = 8 * span if stop < groups else total - 8 * at
        parts += (
            pack_head(tag_of_bitmap, (nbytes - span) // itemsize, 8 * at, count, *scale),
            bitmap[at:stop],
            kept_data[base - at : end - stop],
        )
        free -= head_size + nbytes
        if free < least and stop < groups:  # as above, where it would take another round
            parts.append(_ZEROS[:free])
            free = room
        at, base = stop, end
    writer.free = free


class _Gaps(NamedTuple):
    """The gaps of a whole stream, one byte and its escapes for each kept element.

    Attributes:
        spaces: the bytes.
        ends: where the bytes of the first j kept elements end.
        sizes: bytes of the first g groups of 8 elements with their values: an upper bound of what a unit takes, whose
            first gap begins with the unit.
        places: of the kept elements.
    """

    spaces: bytes
    ends: memoryview
    sizes: memoryview
    places: NDArray[np.intp]

    @classmethod
    def of(cls, places: NDArray[np.intp], counted: NDArray[np.int64], itemsize: int) -> _Gaps:
        apart = np.diff(places, prepend=-1) - 1
        ends = np.arange(len(places) + 1)
        if len(apart) and apart.max() >= ESCAPE:
            escapes, apart = np.divmod(apart, ESCAPE)
            ends[1:] += np.cumsum(escapes)
        out = np.full(ends[-1], ESCAPE, np.uint8)
        out[ends[1:] - 1] = apart
        sizes = ends[counted] + counted * itemsize
        return cls(out.tobytes(), ends.data, sizes.data, places)

    def of_unit(self, first: int, last: int, start: int) -> bytes:
        """The bytes of kept elements `first` to `last` in a unit that begins with element `start`."""
        if first == last:
            return b""
        escapes, rest = divmod(int(self.places[first]) - start, ESCAPE)
        return bytes((*(ESCAPE,) * escapes, rest)) + self.spaces[self.ends[first + 1] : self.ends[last]]
