"""A part's arrays as a chunk in one of the encodings that `encodings` describes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import PRECISIONS, STATISTICS
from airloom.errors import ConfigError
from airloom.wire.weights import planes
from airloom.wire.weights.encodings import CODES, HALF, INT8_MAX, SCALES, SINGLE, planes_of
from airloom.wire.weights.layout import Layout, arranged, spans_of, write_layout
from airloom.wire.weights.tensorfile import write_tensors

Array = NDArray[Any]

_LEFT_OUT = "num_batches_tracked"
_MIN_INNER = 8
_TINIEST = np.float32(2.0**-126)


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
            tensors[CODES], tensors[SCALES] = _int8(coded, order)
    elif encoding != STATISTICS:
        start, end = planes_of(encoding)
        scales, codes = _planes(coded, order)
        if coded:
            tensors[CODES] = planes.cut_plane(codes, start, end)
        if start:
            return write_tensors({CODES: tensors[CODES]} if coded else {}, metadata)
        if coded:
            tensors[SCALES] = (scales.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
            bfloat16 = frozenset({SCALES})
    if coded:
        metadata["codes"] = write_layout({n: a.shape for n, a in coded.items()})
    for key, place, group in _rest({n: a for n, a in floats.items() if n not in coded}, exact=encoding == STATISTICS):
        shapes = {n: a.shape for n, a in group.items()}
        metadata[key] = write_layout(shapes)
        tensors[place] = np.concatenate([group[n].reshape(-1) for n, _ in arranged(shapes)])
    return write_tensors(tensors, metadata, bfloat16=bfloat16)


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
    groups = (("half", HALF, half), ("single", SINGLE, single))
    return [(key, place, group) for key, place, group in groups if group]


def _int8(coded: Mapping[str, Array], order: Layout) -> tuple[Array, Array]:
    codes, scales = [], []
    for name, shape in order:
        rows = coded[name].reshape(shape[0], -1)
        largest = np.abs(rows).max(axis=1, initial=0.0)
        scale = np.where(largest > 0, np.maximum(largest / np.float32(INT8_MAX), _TINIEST), 0).astype(np.float32)
        safe = np.where(scale > 0, scale, 1)[:, None].astype(np.float64)
        codes.append(np.clip(np.rint(rows / safe), -INT8_MAX, INT8_MAX).astype(np.int8).reshape(-1))
        scales.append(scale)
    return np.concatenate(codes), np.concatenate(scales)


def _planes(coded: Mapping[str, Array], order: Layout) -> tuple[Array, Array]:
    spans, length = spans_of(order, step=planes.RUN)
    codes = np.zeros(length, np.uint16)
    scales = [np.empty(0, np.float32)]
    for (name, _), (at, channels, inner) in zip(order, spans, strict=True):
        rows = coded[name].reshape(channels, inner)
        scales.append(planes.scales_of(rows))
        codes[at : at + channels * inner] = planes.codes_of(rows, scales[-1]).reshape(-1)
    return np.concatenate(scales), codes
