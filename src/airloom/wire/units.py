"""A coded live set as one blob of units that each stand alone, aligned to the wire's blocks.

A lost block takes only the elements of its own units: where they belong, how they are scaled and which of them were
left out is said in the unit itself. Block 0 of a message is always repaired, for its head; nothing else has to be.

A unit is a span of one stream's elements, little-endian:

     0 u16  kind << 14 | scaled << 13 | number of the stream
     2 u16  values in it (0 where dense)
     4 u32  first element of the span
     8 u32  elements in the span
    12 f32  scale, f32 zero: only where scaled
       ...  contents, the smallest of
            dense    every element's value
            bitmap   a bit an element, the first in the highest bit, then the kept values; spans start at multiples of 8
            gaps     u16 number of bytes, one byte for each kept element: how many before it were left out since the
                     one before; 255 stands for 255 left out and no element; then the kept values

Units of a blob ascend by stream and element and never overlap. What is left of a block after its units is 0, and
too short for a unit or starting with the 0 that is no unit's.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.errors import WireError

MISSING, LEFT_OUT, PRESENT = 0, 1, 2
DENSE, BITMAP, GAPS = 1, 2, 3

MIN_ROOM = 128
MAX_STREAMS = 1 << 13

_UNIT = struct.Struct("<HHII")
_SCALE = struct.Struct("<ff")
_SCALED_UNIT = struct.Struct("<HHIIff")
_U16 = struct.Struct("<H")
_SCALED = 1 << 13
_ESCAPE = 255
_MAX_UNIT = 0xFFFF  # bytes, so that what it counts fits 16 bits
# Contents that fit 8 elements of 8 bytes and their bits: less of a block is not begun, unless the stream ends in it.
_LEAST = 72


class Stream(NamedTuple):
    """Elements to carry, in the order in which they go to blocks.

    Attributes:
        values: one dimension, any number of them, of 1, 2, 4 or 8 bytes each.
        keep: same order; elements where it is False are left out, but for a few that come all the same where all
            of a span costs less than saying which. None: all are kept.
        scale, zero: of quantised values, repeated in every unit: x = scale * (value - zero). Values that are their
            own leave both as they are, and then they cost nothing.
    """

    values: NDArray[Any]
    keep: NDArray[np.bool_] | None = None
    scale: float = 1.0
    zero: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What the receiver knows of a stream: how many elements, of which numpy dtype."""

    count: int
    dtype: str


class Unpacked(NamedTuple):
    """A stream as it came.

    Attributes:
        values: zeros where nothing came or was sent.
        state: uint8 for each element: MISSING, LEFT_OUT by the mask, or PRESENT.
        scale, zero: as sent; 1 and 0 where no unit came.
    """

    values: NDArray[Any]
    state: NDArray[np.uint8]
    scale: float = 1.0
    zero: float = 0.0


class Sparse(NamedTuple):
    """A stream as it came, no larger than what came of it; quicker than `Unpacked` where much was left out.

    Attributes:
        places: ascending positions of the values; None where no element was left out: then `values` has an entry for
            every element, zeros in the missing spans.
        values: what came.
        missing: ascending spans (start, stop) of elements of which nothing is known.
        scale, zero: as sent; 1 and 0 where no unit came.
    """

    places: NDArray[np.intp] | None
    values: NDArray[Any]
    missing: tuple[tuple[int, int], ...]
    scale: float = 1.0
    zero: float = 0.0


# --- packing -------------------------------------------------------------------------------------


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
        if len(stream.values) == 0:
            continue
        scale = (stream.scale, stream.zero) if stream.scale != 1.0 or stream.zero != 0.0 else ()
        tag = number | (_SCALED if scale else 0)
        if stream.keep is None:
            _pack_dense(writer, tag, scale, stream.values)
        else:
            _pack_masked(writer, tag, scale, stream.values, stream.keep)
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
    data, head = np.ascontiguousarray(values).data.cast("B"), _SCALED_UNIT if scale else _UNIT
    tag |= DENSE << 14
    while start < total:
        budget = min(writer.free, _MAX_UNIT) - head.size
        if budget < min(_LEAST, (total - start) * itemsize):
            writer.turn()
            continue
        count = min(budget // itemsize, total - start)
        stop = start + count
        writer.parts += (head.pack(tag, 0, start, count, *scale), data[start * itemsize : stop * itemsize])
        writer.free -= head.size + count * itemsize
        start = stop


def _pack_masked(
    writer: _Writer, tag: int, scale: tuple[float, ...], values: NDArray[Any], keep: NDArray[np.bool_]
) -> None:
    itemsize, total, head = values.itemsize, len(values), _SCALED_UNIT if scale else _UNIT
    index = np.flatnonzero(keep)
    if len(index) == total:
        _pack_dense(writer, tag, scale, values)
        return
    bits = np.packbits(keep)
    bitmap = bits.tobytes()
    kept_data = values.take(index).data.cast("B")
    data: memoryview | None = None
    gap_sizes: memoryview | None = None
    groups = len(bits)
    # sizes[g]: bytes of the first g groups of 8 elements as a bitmap; sizes[g] - g are those of their values.
    counted = _counted(bits)
    sizes = (counted * itemsize + np.arange(groups + 1)).data
    parts, free, room, at, base = writer.parts, writer.free, writer.room, 0, 0
    whole, least, limit = sizes[groups], _LEAST, groups + 1
    # This loop runs once a block, and a block takes a link no longer than some 100 microseconds.
    while at < groups:
        budget = (free if free < _MAX_UNIT else _MAX_UNIT) - head.size
        if budget < least and budget < whole - base:
            parts.append(bytes(free))
            free = room
            continue
        high = at + budget + 1  # a group takes a byte or more
        stop = bisect_right(sizes, base + budget, at, high if high < limit else limit) - 1
        end = sizes[stop]
        span, nbytes = stop - at, end - base
        if nbytes < span * (1 + itemsize):  # under one element in 8
            if gap_sizes is None:
                gap_sizes = _gap_sizes(index, counted, itemsize)
            reach = bisect_right(gap_sizes, gap_sizes[at] + budget - _U16.size, at) - 1
            if reach > stop or gap_sizes[reach] - gap_sizes[at] + _U16.size < nbytes:
                first, last = base - at, sizes[reach] - reach
                spaces = _gaps(index[first // itemsize : last // itemsize], 8 * at)
                kept, count = (last - first) // itemsize, min(8 * reach, total) - 8 * at
                parts += (head.pack(tag | GAPS << 14, kept, 8 * at, count, *scale), _U16.pack(len(spaces)), spaces)
                parts.append(kept_data[first:last])
                free -= head.size + _U16.size + len(spaces) + last - first
                at, base = reach, sizes[reach]
                continue
        elif nbytes > 8 * span * itemsize and budget >= 8 * itemsize:
            if data is None:
                data = np.ascontiguousarray(values).data.cast("B")
            stop = min(at + budget // (8 * itemsize), groups)
            count = min(8 * stop, total) - 8 * at
            parts.append(head.pack(tag | DENSE << 14, 0, 8 * at, count, *scale))
            parts.append(data[8 * at * itemsize : (8 * at + count) * itemsize])
            free -= head.size + count * itemsize
            at, base = stop, sizes[stop]
            continue
        count = 8 * span if stop < groups else total - 8 * at
        parts += (
            head.pack(tag | BITMAP << 14, (nbytes - span) // itemsize, 8 * at, count, *scale),
            bitmap[at:stop],
            kept_data[base - at : end - stop],
        )
        free -= head.size + nbytes
        at, base = stop, end
    writer.free = free


def _counted(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """counted[g]: how many bits are set in the first g bytes."""
    counted = np.zeros(len(bits) + 1, np.int64)
    np.cumsum(np.bitwise_count(bits), dtype=np.int64, out=counted[1:])
    return counted


def _gap_sizes(index: NDArray[np.intp], counted: NDArray[np.int64], itemsize: int) -> memoryview:
    """Bytes of the first g groups of 8 elements as gaps, escapes as if nothing cut the stream: an upper bound."""
    spaces = np.diff(index, prepend=-1) - 1
    cost = np.zeros(len(index) + 1, np.int64)
    np.cumsum(spaces // _ESCAPE + (1 + itemsize), out=cost[1:])
    return cost[counted].data


def _gaps(index: NDArray[np.intp], start: int) -> bytes:
    """One byte for each place in `index`: how many elements lie before it since the one before, or `start`."""
    spaces = np.diff(index, prepend=start - 1) - 1
    if not len(spaces) or spaces.max() < _ESCAPE:
        return spaces.astype(np.uint8).tobytes()
    escapes, rest = np.divmod(spaces, _ESCAPE)
    ends = np.cumsum(escapes + 1)
    out = np.full(ends[-1], _ESCAPE, np.uint8)
    out[ends - 1] = rest
    return out.tobytes()


# --- unpacking -----------------------------------------------------------------------------------


class _Unit(NamedTuple):
    """A unit in a blob: its span, and where its contents lie (bits or gaps, then values)."""

    kind: int
    start: int
    stop: int
    kept: int
    marks: int
    data: int
    end: int


def unpack(
    blob: bytes | bytearray | memoryview,
    missing: Sequence[tuple[int, int]],
    specs: Sequence[StreamSpec],
    *,
    first_room: int,
    room: int,
) -> list[Unpacked]:
    """The streams of a blob; every element of a block that a `missing` byte range touches is MISSING.

    Memory is bounded by `specs`, whatever the bytes say. WireError where they are no units of these streams.
    """
    return [
        _spread(sparse, spec)
        for sparse, spec in zip(
            unpack_sparse(blob, missing, specs, first_room=first_room, room=room), specs, strict=True
        )
    ]


def unpack_sparse(
    blob: bytes | bytearray | memoryview,
    missing: Sequence[tuple[int, int]],
    specs: Sequence[StreamSpec],
    *,
    first_room: int,
    room: int,
) -> list[Sparse]:
    """As `unpack`, without a place for what never came or was left out."""
    view = memoryview(blob).cast("B") if len(blob) else memoryview(b"")
    units, scales = _read_units(view, missing, specs, first_room, room)
    return [
        _gather(view, found, spec, *scales.get(number, (1.0, 0.0)))
        for number, (found, spec) in enumerate(zip(units, specs, strict=True))
    ]


def side_nbytes(
    blob: bytes | bytearray | memoryview, specs: Sequence[StreamSpec], *, first_room: int, room: int
) -> int:
    """How many bytes of a whole blob are no values: heads of units, marks, and the rests of blocks."""
    view = memoryview(blob).cast("B") if len(blob) else memoryview(b"")
    units, _ = _read_units(view, (), specs, first_room, room)
    return len(view) - sum(unit.end - unit.data for found in units for unit in found)


def blocks_of(
    blob: bytes | bytearray | memoryview, specs: Sequence[StreamSpec], *, first_room: int, room: int
) -> list[NDArray[np.int32]]:
    """For each stream of a whole blob the block of each element: the one that it is lost with."""
    view = memoryview(blob).cast("B") if len(blob) else memoryview(b"")
    units, _ = _read_units(view, (), specs, first_room, room)
    found = []
    for spec, stream in zip(specs, units, strict=True):
        blocks = np.zeros(spec.count, np.int32)
        for unit in stream:
            blocks[unit.start : unit.stop] = 0 if unit.marks < first_room else 1 + (unit.marks - first_room) // room
        found.append(blocks)
    return found


def _whole_blocks(
    nbytes: int, missing: Sequence[tuple[int, int]], first_room: int, room: int
) -> Iterator[tuple[int, int]]:
    """Byte ranges of the blocks of which nothing is missing."""
    gone: set[int] = set()
    for low, high in missing:
        if high > low:
            first, last = (0 if at < first_room else 1 + (at - first_room) // room for at in (low, high - 1))
            gone.update(range(first, last + 1))
    low, high, block = 0, first_room, 0
    while low < nbytes:
        if block not in gone:
            yield low, min(high, nbytes)
        low, high, block = high, high + room, block + 1


def _read_units(
    view: memoryview, missing: Sequence[tuple[int, int]], specs: Sequence[StreamSpec], first_room: int, room: int
) -> tuple[list[list[_Unit]], dict[int, tuple[float, float]]]:
    """The units of the blocks that came, stream by stream, and the streams' scales; each checked against its spec."""
    if room < MIN_ROOM or first_room < 0:
        raise ValueError(f"blocks of {first_room} and {room} bytes")
    units: list[list[_Unit]] = [[] for _ in specs]
    itemsizes = [np.dtype(spec.dtype).itemsize for spec in specs]
    scales: dict[int, tuple[float, float]] = {}
    number, done = 0, 0  # the stream and element that a next unit may not precede
    unpack_head, head_size = _UNIT.unpack_from, _UNIT.size
    for at, end in _whole_blocks(len(view), missing, first_room, room):
        while end - at >= head_size:
            tag, kept, start, count = unpack_head(view, at)
            kind, stream = tag >> 14, tag & (MAX_STREAMS - 1)
            if kind == 0:
                break
            if stream != number:
                if not number < stream < len(specs):
                    raise WireError(f"a unit of stream {stream}, out of its turn")
                number, done = stream, 0
            stop = start + count
            if start < done or not count or stop > specs[number].count:
                raise WireError(f"a unit of elements {start} to {stop}, out of its turn")
            done = stop
            marks = at + head_size
            if tag & _SCALED:
                if end - marks < _SCALE.size:
                    raise WireError("a unit that is cut off")
                scale = _SCALE.unpack_from(view, marks)
                # The difference with itself is 0 for finite numbers only.
                if scales.setdefault(number, scale) != scale or scale[0] - scale[0] != 0 or scale[1] - scale[1] != 0:
                    raise WireError("a unit whose scale is not its stream's")
                marks += _SCALE.size
            if kind == DENSE:
                data, kept = marks, count
            elif kind == BITMAP:
                if start & 7 or (count & 7 and stop != specs[number].count):
                    raise WireError("a bitmap that does not begin and end at a multiple of 8")
                data = marks + (count + 7 >> 3)
            else:
                if end - marks < _U16.size:
                    raise WireError("a unit that is cut off")
                data = marks + _U16.size + _U16.unpack_from(view, marks)[0]
                marks += _U16.size
            at = data + kept * itemsizes[number]
            if at > end:
                raise WireError("a unit that is cut off")
            units[number].append(_Unit(kind, start, stop, kept, marks, data, at))
    return units, scales


def _gather(view: memoryview, units: list[_Unit], spec: StreamSpec, scale: float, zero: float) -> Sparse:
    dtype = np.dtype(spec.dtype)
    missing: list[tuple[int, int]] = []
    done = 0
    for unit in units:
        if unit.start > done:
            missing.append((done, unit.start))
        done = unit.stop
    if done < spec.count:
        missing.append((done, spec.count))
    if all(unit.kind == DENSE for unit in units):
        values = np.zeros(spec.count, dtype)
        into, size = values.data.cast("B") if spec.count else memoryview(b""), dtype.itemsize
        for unit in units:
            into[unit.start * size : unit.stop * size] = view[unit.data : unit.end]
        return Sparse(None, values, tuple(missing), scale, zero)
    came = np.frombuffer(b"".join([view[unit.data : unit.end] for unit in units]), dtype)
    return Sparse(_places(view, units, spec.count), came, tuple(missing), scale, zero)


def _places(view: memoryview, units: list[_Unit], total: int) -> NDArray[np.intp]:
    """The places of the units' values, ascending."""
    bitmap = bytearray(total + 7 >> 3)
    for unit in units:
        if unit.kind == BITMAP:
            bitmap[unit.start >> 3 : unit.stop + 7 >> 3] = view[unit.marks : unit.data]
    bits = np.frombuffer(bitmap, np.uint8)
    present = np.unpackbits(bits)
    if present[total:].any():
        raise WireError("a bitmap of more elements than the stream has")
    masked = [(unit.start, unit.stop, unit.kept) for unit in units if unit.kind == BITMAP]
    if masked:
        counted = _counted(bits)
        start, stop, kept = np.array(masked).T
        if (counted[stop + 7 >> 3] - counted[start >> 3] != kept).any():
            raise WireError("a bitmap that does not have as many values as it says")
    for unit in units:
        if unit.kind == DENSE:
            present[unit.start : unit.stop] = 1
        elif unit.kind == GAPS:
            spaces = np.frombuffer(view[unit.marks : unit.data], np.uint8)
            ahead = np.cumsum(np.where(spaces == _ESCAPE, _ESCAPE, spaces + np.intp(1)))
            places = ahead[spaces != _ESCAPE] + (unit.start - 1)
            if len(places) != unit.kept or (len(ahead) and unit.start + ahead[-1] > unit.stop):
                raise WireError("gaps that do not lead to as many values as they say")
            present[places] = 1
    return np.flatnonzero(present[:total].view(np.bool_))  # several times as fast as on integers


def _spread(sparse: Sparse, spec: StreamSpec) -> Unpacked:
    if sparse.places is None:
        values, state = sparse.values, np.full(spec.count, PRESENT, np.uint8)
    else:
        values, state = np.zeros(spec.count, spec.dtype), np.full(spec.count, LEFT_OUT, np.uint8)
        values[sparse.places] = sparse.values
        state[sparse.places] = PRESENT
    for start, stop in sparse.missing:
        state[start:stop] = MISSING
    return Unpacked(values, state, sparse.scale, sparse.zero)
