"""A part's arrays in one encoding, as a safetensors file, and back.

| encoding | weights of two or more axes | the rest | exact to |
|---|---|---|---|
| `fp32` | float32 | float32 | every bit |
| `fp16` | float16 | float16 or float32 | half a unit in float16's last place |
| `int8` | int8, a float32 scale for each channel | float16 or float32 | half a step: max / 254 of its channel |
| `bits-K` | K of 16 bits, a bfloat16 scale for each channel | float16 or float32 | half a step: about max / 2**K |
| `statistics` | | float32 | every bit |

*The rest*: biases, normalisation, and whatever has fewer than eight weights for each channel, the first axis. It is
little, and accuracy hangs on it, so float16 is used only where each number of a tensor keeps eleven significant bits
in it; a tensor with larger or smaller numbers goes in float32, whatever the encoding. Integer and truth-value buffers
go as they are; `num_batches_tracked`, which only training reads, stays behind.

`fp32` and `fp16` are ordinary files, a tensor for each name. The others hold `:codes`, `:scales`, `:half` and `:single`
with the tensors end to end, and say in their metadata which those are (`layout`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import BIT_PLANES, PRECISIONS, STATISTICS
from airloom.errors import ChunkError, ConfigError
from airloom.wire.weights import planes
from airloom.wire.weights.half import widen
from airloom.wire.weights.layout import Layout, arranged, read_layout, total, write_layout
from airloom.wire.weights.tensorfile import TensorFile, read_tensors, write_tensors

Array = NDArray[Any]

_LEFT_OUT = "num_batches_tracked"
_CODES, _SCALES, _HALF, _SINGLE = ":codes", ":scales", ":half", ":single"
_MIN_INNER = 8
_INT8_MAX = 127
_TINIEST = np.float32(2.0**-126)


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


def encode_part(arrays: Mapping[str, Array], encoding: str, *, labels: Mapping[str, str] | None = None) -> bytes:
    """One chunk of a part.

    Args:
        arrays: by name; floating point of any width (bfloat16 as float32), integers, truth values.
        encoding: one of `core.progressive.PRECISIONS`, or `statistics`.
        labels: what the file is said to be; decoding asks for the same.

    Raises:
        ConfigError: a weight that is no finite number, or a type or name that no file can hold.
    """
    if encoding not in PRECISIONS and encoding != STATISTICS:
        raise ConfigError(f"no encoding {encoding!r}: it is one of {', '.join((*PRECISIONS, STATISTICS))}")
    floats: dict[str, Array] = {}
    tensors: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.rpartition(".")[2] == _LEFT_OUT:
            continue
        if name.startswith((":", "__metadata__")):
            raise ConfigError(f"tensor {name!r}: no name may start so")
        if array.dtype.kind == "f":
            floats[name] = _single(name, array)
        elif array.dtype.kind in "iub":
            tensors[name] = array
        else:
            raise ConfigError(f"tensor {name!r} has type {array.dtype}, which no chunk can hold")
    metadata = dict(labels or {}) | {"encoding": encoding}
    if encoding == "fp32":
        return write_tensors(floats | tensors, metadata)
    if encoding == "fp16":
        half = {n: a.astype(np.float16) if _fits_half(a, coded=_is_coded(a)) else a for n, a in floats.items()}
        return write_tensors(half | tensors, metadata)
    coded = {n: a for n, a in floats.items() if encoding != STATISTICS and _is_coded(a)}
    order = arranged({n: a.shape for n, a in coded.items()})
    bfloat16: frozenset[str] = frozenset()
    if encoding == "int8":
        if coded:
            tensors[_CODES], tensors[_SCALES] = _int8(coded, order)
    elif encoding != STATISTICS:
        start, end = _bits(encoding)
        scales, codes = _planes(coded, order)
        if coded:
            tensors[_CODES] = planes.cut_plane(codes, start, end)
        if start:
            return write_tensors({_CODES: tensors[_CODES]} if coded else {}, metadata)
        if coded:
            tensors[_SCALES] = (scales.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
            bfloat16 = frozenset({_SCALES})
    if coded:
        metadata["codes"] = write_layout({n: a.shape for n, a in coded.items()})
    for key, place, group in _rest({n: a for n, a in floats.items() if n not in coded}, exact=encoding == STATISTICS):
        shapes = {n: a.shape for n, a in group.items()}
        metadata[key] = write_layout(shapes)
        tensors[place] = np.concatenate([group[n].reshape(-1) for n, _ in arranged(shapes)])
    return write_tensors(tensors, metadata, bfloat16=bfloat16)


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
    bits = _bits(encoding) if encoding.startswith("bits-") else (0, 0)
    if bits[0]:
        return _refined(file, encoding, previous, in_place, memory, where)
    arrays: dict[str, Array] = {}
    coded = read_layout(file.metadata.get("codes", "[]"), where=where)
    spans, length = _spans(coded, aligned=encoding != "int8")
    channels = sum(count for _, count, _ in spans)
    flat, scales = np.empty(0, np.float32), np.empty(0, np.float32)
    if coded:
        scales = _scales(file, "F32" if encoding == "int8" else "BF16", channels, where)
        dtype, count = ("I8", length) if encoding == "int8" else ("U8", length * bits[1] // 8)
        codes = _flat(file, _CODES, dtype, count, where)
        flat = _room(memory, length)
        if encoding == "int8":
            flat[...] = codes
            planes.scale_rows(flat, spans, scales)
        else:
            planes.spread_plane(codes, bits[1], flat)
            planes.scale_plane(flat, spans, scales, 0, bits[1])
        arrays |= _named(flat, coded, spans)
    for key, place, dtype in (("half", _HALF, "F16"), ("single", _SINGLE, "F32")):
        layout = read_layout(file.metadata.get(key, "[]"), where=where)
        if layout:
            numbers = _flat(file, place, dtype, total(layout), where).astype(np.float32, copy=False)
            if not np.isfinite(numbers).all():
                raise ChunkError(f"{where}: numbers that are not finite")
            arrays |= _named(numbers, layout, _spans(layout, aligned=False)[0])
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
    start, end = _bits(encoding)
    return nbytes * 8 // (end - start)


def _refined(
    file: TensorFile, encoding: str, previous: PartArrays | None, in_place: bool, memory: Array | None, where: str
) -> PartArrays:
    start, end = _bits(encoding)
    if previous is None or previous.encoding != f"bits-{start}":
        what = "nothing" if previous is None else previous.encoding
        raise ChunkError(f"{where}: {encoding} adds to bits-{start}, and {what} is there")
    if set(file.tensors) - {_CODES}:
        raise ChunkError(f"{where}: tensors that no chunk of {encoding} has")
    coded = previous._coded
    if not coded:
        return PartArrays(encoding, previous.arrays)
    spans, length = _spans(coded, aligned=True)
    packed = _flat(file, _CODES, "U8", length * (end - start) // 8, where)
    codes = _room(memory, length)
    planes.spread_plane(packed, end - start, codes)
    planes.scale_plane(codes, spans, previous._scales, start, end, previous._flat, in_place=in_place)
    if in_place:
        return PartArrays(encoding, previous.arrays, previous._flat, previous._scales, coded)
    return PartArrays(encoding, previous.arrays | _named(codes, coded, spans), codes, previous._scales, coded)


def _room(memory: Array | None, length: int) -> Array:
    return np.empty(length, np.float32) if memory is None or memory.size < length else memory[:length]


def _bits(encoding: str) -> tuple[int, int]:
    end = int(encoding.removeprefix("bits-"))
    ends = (0, *BIT_PLANES)
    return ends[ends.index(end) - 1], end


def _single(name: str, array: Array) -> Array:
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    largest = np.abs(single).max(initial=0.0)
    if not largest <= planes.LARGEST:
        what = "not finite" if not np.isfinite(array).all() else f"beyond {planes.LARGEST:.3g}"
        raise ConfigError(f"tensor {name!r} has numbers that are {what}: it cannot be sent")
    return single


def _is_coded(array: Array) -> bool:
    return array.ndim >= 2 and math.prod(array.shape[1:]) >= _MIN_INNER and array.shape[0] > 0


def _fits_half(array: Array, *, coded: bool) -> bool:
    """Whether float16 holds the numbers; those of the rest with all eleven bits."""
    size = np.abs(array)
    if size.max(initial=0.0) > 65_504:
        return False
    return coded or not bool(((size > 0) & (size < 2.0**-14)).any())


def _rest(floats: Mapping[str, Array], *, exact: bool) -> list[tuple[str, str, dict[str, Array]]]:
    half = {n: a.astype(np.float16) for n, a in floats.items() if not exact and _fits_half(a, coded=False)}
    single = {n: a for n, a in floats.items() if n not in half}
    groups = (("half", _HALF, half), ("single", _SINGLE, single))
    return [(key, place, group) for key, place, group in groups if group]


def _int8(coded: Mapping[str, Array], order: Layout) -> tuple[Array, Array]:
    codes, scales = [], []
    for name, shape in order:
        rows = coded[name].reshape(shape[0], -1)
        largest = np.abs(rows).max(axis=1, initial=0.0)
        scale = np.where(largest > 0, np.maximum(largest / np.float32(_INT8_MAX), _TINIEST), 0).astype(np.float32)
        safe = np.where(scale > 0, scale, 1)[:, None].astype(np.float64)
        codes.append(np.clip(np.rint(rows / safe), -_INT8_MAX, _INT8_MAX).astype(np.int8).reshape(-1))
        scales.append(scale)
    return np.concatenate(codes), np.concatenate(scales)


def _planes(coded: Mapping[str, Array], order: Layout) -> tuple[Array, Array]:
    spans, length = _spans(order, aligned=True)
    codes = np.zeros(length, np.uint16)
    scales = [np.empty(0, np.float32)]
    for (name, _), (at, channels, inner) in zip(order, spans, strict=True):
        rows = coded[name].reshape(channels, inner)
        scales.append(planes.scales_of(rows))
        codes[at : at + channels * inner] = planes.codes_of(rows, scales[-1]).reshape(-1)
    return np.concatenate(scales), codes


def _spans(layout: Layout, *, aligned: bool) -> tuple[list[tuple[int, int, int]], int]:
    """Of each tensor, where it starts, its channels and the weights of each; and where the last one ends."""
    step = planes.RUN if aligned else 1
    sizes = [math.prod(shape) for _, shape in layout]
    starts = list(itertools.accumulate((-(-size // step) * step for size in sizes), initial=0))
    spans = [
        (at, shape[0] if shape else 1, size // shape[0] if shape and shape[0] else size)
        for at, size, (_, shape) in zip(starts[:-1], sizes, layout, strict=True)
    ]
    return spans, starts[-1]


def _named(flat: Array, layout: Layout, spans: list[tuple[int, int, int]]) -> dict[str, Array]:
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
    found = _flat(file, _SCALES, dtype, count, where)
    scales = (found.astype(np.uint32) << np.uint32(16)).view(np.float32) if dtype == "BF16" else found
    # What `encode_part` lets through makes none beyond these, and no weight overflows with them.
    largest = 2 * planes.LARGEST / (_INT8_MAX if dtype == "F32" else 2 ** (planes.BITS - 1))
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
