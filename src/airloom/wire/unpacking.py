"""Units back into streams (the format: `wire.unit_format`): what came, and exactly what did not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.errors import WireError
from airloom.wire.unit_format import (
    BITMAP,
    DENSE,
    ESCAPE,
    GAPS,
    LEFT_OUT,
    MAX_STREAMS,
    MIN_ROOM,
    MISSING,
    PRESENT,
    SCALE,
    SCALED,
    U16,
    UNIT,
    Sparse,
    StreamSpec,
    Unpacked,
)


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
    view = _bytes(blob)
    return [
        _gather(view, found, spec)
        for found, spec in zip(_read_units(view, missing, specs, first_room, room), specs, strict=True)
    ]


def side_nbytes(
    blob: bytes | bytearray | memoryview, specs: Sequence[StreamSpec], *, first_room: int, room: int
) -> int:
    """How many bytes of a whole blob are no values: heads of units, marks, and the rests of blocks."""
    view = _bytes(blob)
    return len(view) - sum(
        end - data for found in _read_units(view, (), specs, first_room, room) for *_, data, end in found.units
    )


def _bytes(blob: bytes | bytearray | memoryview) -> memoryview:
    return memoryview(blob).cast("B") if len(blob) else memoryview(b"")


# A unit in a blob: kind, first element, the one after the last, values, and where its bits or gaps begin, where its
# values, and what follows. One is made for every block, so it is as plain as can be.
_Unit = tuple[int, int, int, int, int, int, int]


class _Found(NamedTuple):
    """The units of a stream that came, ascending, the spans of elements between them, and its scale."""

    units: list[_Unit]
    gaps: list[tuple[int, int]]
    scales: list[tuple[float, float]]


def _read_units(
    view: memoryview, missing: Sequence[tuple[int, int]], specs: Sequence[StreamSpec], first_room: int, room: int
) -> list[_Found]:
    """The units of the blocks that came, stream by stream, each checked against its spec."""
    if room < MIN_ROOM or first_room < 0:
        raise ValueError(f"blocks of {first_room} and {room} bytes")
    streams = [_Found([], [], []) for _ in specs]
    number, done, total, itemsize = -1, 0, 0, 1  # the stream of the unit before, and the element after its last
    units: list[_Unit] = []
    unpack_head, head_size = UNIT.unpack_from, UNIT.size
    # This loop runs once a block, and a block takes a link no longer than some 100 microseconds.
    for at, end in _whole_blocks(len(view), missing, first_room, room):
        while end - at >= head_size:
            tag, kept, start, count = unpack_head(view, at)
            kind = tag >> 14
            if kind == 0:
                break
            if tag & (MAX_STREAMS - 1) != number:
                if not number < tag & (MAX_STREAMS - 1) < len(specs):
                    raise WireError(f"a unit of stream {tag & (MAX_STREAMS - 1)}, out of its turn")
                number = tag & (MAX_STREAMS - 1)
                units, done, total = streams[number].units, 0, specs[number].count
                itemsize = np.dtype(specs[number].dtype).itemsize
            stop = start + count
            if not done <= start < stop <= total:
                raise WireError(f"a unit of elements {start} to {stop}, out of its turn")
            if start > done:
                streams[number].gaps.append((done, start))
            done = stop
            marks = at + head_size
            if tag & SCALED:
                _check_scale(streams[number].scales, view[marks : min(marks + SCALE.size, end)])
                marks += SCALE.size
            if kind == BITMAP:
                if start & 7 or (count & 7 and stop != total):
                    raise WireError("a bitmap that does not begin and end at a multiple of 8")
                data = marks + (count + 7 >> 3)
            elif kind == DENSE:
                data, kept = marks, count
            else:
                marks += U16.size
                if marks > end:
                    raise WireError("a unit that is cut off")
                data = marks + U16.unpack_from(view, marks - U16.size)[0]
            at = data + kept * itemsize
            if at > end:
                raise WireError("a unit that is cut off")
            units.append((kind, start, stop, kept, marks, data, at))
    return streams


def _check_scale(scales: list[tuple[float, float]], data: memoryview) -> None:
    """Take a unit's scale for its stream's; WireError where it is another, or none."""
    if len(data) < SCALE.size:
        raise WireError("a unit that is cut off")
    scale = SCALE.unpack(data)
    if not scales:
        # The difference with itself is 0 for finite numbers only.
        if scale[0] - scale[0] != 0 or scale[1] - scale[1] != 0:
            raise WireError("a scale that is not finite")
        scales.append(scale)
    elif scales[0] != scale:
        raise WireError("a unit whose scale is not its stream's")


def _whole_blocks(
    nbytes: int, missing: Sequence[tuple[int, int]], first_room: int, room: int
) -> Iterator[tuple[int, int]]:
    """First byte and end of each block of which nothing is missing."""
    edges = [*range(0, min(first_room, nbytes), first_room or 1), *range(first_room, nbytes, room), nbytes]
    blocks = itertools.pairwise(edges)
    if not missing:
        return blocks
    gone: set[int] = set()
    skipped = 1 if first_room else 0
    for low, high in missing:
        if high > low:
            first, last = (0 if at < first_room else skipped + (at - first_room) // room for at in (low, high - 1))
            gone.update(range(first, min(last + 1, len(edges))))
    return (block for k, block in enumerate(blocks) if k not in gone)


def _gather(view: memoryview, found: _Found, spec: StreamSpec) -> Sparse:
    dtype, units = np.dtype(spec.dtype), found.units
    missing = tuple(found.gaps)
    if not units or units[-1][2] < spec.count:
        missing = (*missing, (units[-1][2] if units else 0, spec.count)) if spec.count else ()
    scale, zero = found.scales[0] if found.scales else (1.0, 0.0)
    kinds = {unit[0] for unit in units}
    if kinds <= {DENSE}:
        values, size = np.zeros(spec.count, dtype), dtype.itemsize
        into = values.data.cast("B") if spec.count else memoryview(b"")
        for _, start, stop, _, _, data, end in units:
            into[start * size : stop * size] = view[data:end]
        return Sparse(None, values, missing, scale, zero)
    came = np.frombuffer(b"".join([view[unit[5] : unit[6]] for unit in units]), dtype)
    return Sparse(_places(view, units, spec.count, kinds == {BITMAP}), came, missing, scale, zero)


def _places(view: memoryview, units: list[_Unit], total: int, all_marked: bool) -> NDArray[np.intp]:
    """The places of the units' values, ascending; `all_marked`: all the units are bitmaps."""
    bitmap = bytearray(total + 7 >> 3)
    marked = units if all_marked else [unit for unit in units if unit[0] == BITMAP]
    for _, start, stop, _, marks, data, _ in marked:
        bitmap[start >> 3 : stop + 7 >> 3] = view[marks:data]
    bits = np.frombuffer(bitmap, np.uint8)
    if marked:
        # Between the units of bitmaps there are no bits, so each counts up to where the next begins.
        starts = [unit[1] >> 3 for unit in marked]
        counts = np.add.reduceat(np.bitwise_count(bits), starts, dtype=np.int64)
        if counts.tolist() != [unit[3] for unit in marked]:
            raise WireError("a bitmap that does not have as many values as it says")
    present = np.unpackbits(bits)
    if total & 7 and present[total:].any():
        raise WireError("a bitmap of more elements than the stream has")
    others = [] if all_marked else [unit for unit in units if unit[0] != BITMAP]
    gaps = [unit for unit in others if unit[0] == GAPS]
    if gaps:
        present[_gap_places(view, gaps)] = 1
    for kind, start, stop, *_ in others:
        if kind == DENSE:
            present[start:stop] = 1
    return np.flatnonzero(present[:total].view(np.bool_))  # several times as fast as on integers


def _gap_places(view: memoryview, units: list[_Unit]) -> NDArray[np.int64]:
    """The places of the values of units that are all gaps."""
    _, start, stop, count, marks, data, _ = np.array(units, np.int64).T
    spaces = np.frombuffer(b"".join([view[unit[4] : unit[5]] for unit in units]), np.uint8)
    bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(data - marks)))
    real = spaces != ESCAPE
    ahead, reals = np.zeros((2, len(spaces) + 1), np.int64)
    np.cumsum(spaces + real.astype(np.int64), out=ahead[1:])
    np.cumsum(real, out=reals[1:])
    moved, kept = np.diff(ahead[bounds]), np.diff(reals[bounds])
    if (kept != count).any() or (start + moved > stop).any():
        raise WireError("gaps that do not lead to as many values as they say")
    places: NDArray[np.int64] = ahead[1:][real] - 1 + np.repeat(start - ahead[bounds[:-1]], kept)
    return places


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
