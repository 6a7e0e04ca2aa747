"""Chunks as a part's arrays: each encoding back, planes added to those that came before. `encode` has the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.errors import ChunkError
from airloom.wire.weights import planes
from airloom.wire.weights.encodings import CODES, HALF, INT8_MAX, SCALES, SINGLE, planes_of
from airloom.wire.weights.half import widen
from airloom.wire.weights.layout import Layout, Span, read_layout, spans_of, total
from airloom.wire.weights.tensorfile import TensorFile, read_tensors

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class PartArrays:
    """A part, usable.

    Attributes:
        encoding: of the last chunk that went into it.
        arrays: by name: float32, or the integers that a buffer had. May be read-only, and may share memory.
    """

    encoding: str
    arrays: dict[str, Array]
    _flat: Array = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    _scales: Array = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    _coded: Layout = field(default=(), repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.arrays.items()}


def decode_part(
    data: bytes | bytearray | memoryview,
    encoding: str,
    *,
    labels: Mapping[str, str] | None = None,
    previous: PartArrays | None = None,
    in_place: bool = False,
    memory: Array | None = None,
    where: str = "chunk",
) -> PartArrays:
    """What `encode_part` wrote; of later planes together with the chunks before them.

    Args:
        labels: what the file must say that it is.
        previous: for `bits-6` and above, the part as the chunk before made it.
        in_place: add planes to the arrays of `previous`, which is then no more what it was.
        memory: flat float32 to put weights into, where it has room (`room_for`): pages that were never written cost
            more than the decoding. The result lies in it, or with `in_place` it is scratch.
        where: what an error calls the file.

    Raises:
        ChunkError: not such a chunk. `previous` is as it was.
    """
    file = read_tensors(data, where=where)
    for key, text in {**(labels or {}), "encoding": encoding}.items():
        found = file.metadata.get(key)
        if found != text:
            raise ChunkError(f"{where}: {key} {(found or 'unknown')[:80]!r} where {text!r} was expected")
    if encoding in ("fp32", "fp16"):
        return _plain(file, encoding, memory, where)
    bits = planes_of(encoding) if encoding.startswith("bits-") else (0, 0)
    if bits[0]:
        return _refined(file, encoding, previous, in_place, memory, where)
    arrays: dict[str, Array] = {}
    coded = read_layout(file.metadata.get("codes", "[]"), where=where)
    spans, length = spans_of(coded, step=1 if encoding == "int8" else planes.RUN)
    channels = sum(count for _, count, _ in spans)
    flat, scales = np.empty(0, np.float32), np.empty(0, np.float32)
    if coded:
        scales = _scales(file, "F32" if encoding == "int8" else "BF16", channels, where)
        dtype, count = ("I8", length) if encoding == "int8" else ("U8", length * bits[1] // 8)
        codes = _flat(file, CODES, dtype, count, where)
        flat = _room(memory, length)
        if encoding == "int8":
            flat[...] = codes
            planes.scale_rows(flat, spans, scales)
        else:
            planes.spread_plane(codes, bits[1], flat)
            planes.scale_plane(flat, spans, scales, 0, bits[1])
        arrays |= _named(flat, coded, spans)
    for key, place, dtype in (("half", HALF, "F16"), ("single", SINGLE, "F32")):
        layout = read_layout(file.metadata.get(key, "[]"), where=where)
        if layout:
            numbers = _flat(file, place, dtype, total(layout), where).astype(np.float32, copy=False)
            if not np.isfinite(numbers).all():
                raise ChunkError(f"{where}: numbers that are not finite")
            arrays |= _named(numbers, layout, spans_of(layout)[0])
    for name, tensor in file.tensors.items():
        if not name.startswith(":"):
            if tensor.dtype.kind == "f" or name in arrays:
                raise ChunkError(f"{where}: tensor {name[:80]!r} should not be there")
            arrays[name] = tensor
    return PartArrays(encoding, arrays, flat, scales, coded)


def room_for(nbytes: int, encoding: str) -> int:
    """Numbers of `memory` that are enough to decode a chunk of `nbytes`, `bits-6` and above included."""
    if not encoding.startswith("bits-"):
        return nbytes
    start, end = planes_of(encoding)
    return nbytes * 8 // (end - start)


def _refined(
    file: TensorFile, encoding: str, previous: PartArrays | None, in_place: bool, memory: Array | None, where: str
) -> PartArrays:
    start, end = planes_of(encoding)
    if previous is None or previous.encoding != f"bits-{start}":
        what = "nothing" if previous is None else previous.encoding
        raise ChunkError(f"{where}: {encoding} adds to bits-{start}, and {what} is there")
    if set(file.tensors) - {CODES}:
        raise ChunkError(f"{where}: tensors that no chunk of {encoding} has")
    coded = previous._coded
    if not coded:
        return PartArrays(encoding, previous.arrays)
    spans, length = spans_of(coded, step=planes.RUN)
    packed = _flat(file, CODES, "U8", length * (end - start) // 8, where)
    codes = _room(memory, length)
    planes.spread_plane(packed, end - start, codes)
    planes.scale_plane(codes, spans, previous._scales, start, end, previous._flat, in_place=in_place)
    if in_place:
        return PartArrays(encoding, previous.arrays, previous._flat, previous._scales, coded)
    return PartArrays(encoding, previous.arrays | _named(codes, coded, spans), codes, previous._scales, coded)


def _room(memory: Array | None, length: int) -> Array:
    return np.empty(length, np.float32) if memory is None or memory.size < length else memory[:length]


def _named(flat: Array, layout: Layout, spans: list[Span]) -> dict[str, Array]:
    return {
        name: flat[at : at + channels * inner].reshape(shape)
        for (name, shape), (at, channels, inner) in zip(layout, spans, strict=True)
    }


def _flat(file: TensorFile, name: str, dtype: str, count: int, where: str) -> Array:
    tensor = file.tensors.get(name)
    if tensor is None or file.dtypes[name] != dtype or tensor.shape != (count,):
        raise ChunkError(f"{where}: {name} is not {count} numbers of type {dtype}")
    return tensor


def _scales(file: TensorFile, dtype: str, count: int, where: str) -> Array:
    found = _flat(file, SCALES, dtype, count, where)
    scales = (found.astype(np.uint32) << np.uint32(16)).view(np.float32) if dtype == "BF16" else found
    # What `encode_part` lets through makes none beyond these, and no weight overflows with them.
    largest = 2 * planes.LARGEST / (INT8_MAX if dtype == "F32" else 2 ** (planes.BITS - 1))
    if not bool(((scales >= 0) & (scales <= largest)).all()):
        raise ChunkError(f"{where}: a scale that no channel has")
    return scales


def _plain(file: TensorFile, encoding: str, memory: Array | None, where: str) -> PartArrays:
    """The tensors of an ordinary file; what is float32 already stays where it is."""
    arrays: dict[str, Array] = {}
    narrow = {name: tensor for name, tensor in file.tensors.items() if file.dtypes[name] == "F16"}
    flat = _room(memory, sum(tensor.size for tensor in narrow.values()))
    at = 0
    for name, tensor in file.tensors.items():
        if name.startswith(":") or file.dtypes[name] in ("F64", "BF16") or (name in narrow and encoding == "fp32"):
            raise ChunkError(f"{where}: tensor {name[:80]!r} should not be there")
        if name in narrow:
            numbers = flat[at : at + tensor.size]
            finite = widen(tensor.reshape(-1), numbers)
            arrays[name] = numbers.reshape(tensor.shape)
            at += tensor.size
        else:
            finite = tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())
            arrays[name] = tensor
        if not finite:
            raise ChunkError(f"{where}: tensor {name[:80]!r} has numbers that are not finite")
    return PartArrays(encoding, arrays)
