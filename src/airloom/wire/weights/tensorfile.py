"""Safetensors files: written, and read with every bound checked before anything is made of them.

Source: the format's description at https://github.com/huggingface/safetensors: eight bytes with the length of a JSON
header, the header (name -> dtype, shape, offsets into what follows), then the tensors' bytes without holes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.errors import ChunkError, ConfigError

Array = NDArray[Any]

MAX_HEADER_BYTES = 4 * 2**20
MAX_TENSORS = 65_536
MAX_AXES = 16
_METADATA = "__metadata__"

# numpy has no bfloat16: its bits, as uint16.
_READ: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_WRITTEN = {dtype: name for name, dtype in _READ.items() if name != "BF16"}


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a file holds.

    Attributes:
        tensors: by name; views of the file's bytes, so read-only where those are.
        dtypes: the file's name for each, `F32`; `BF16` comes as the uint16 of its bits.
        metadata: text by name.
    """

    tensors: dict[str, Array]
    dtypes: dict[str, str]
    metadata: dict[str, str]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXTS = msgspec.json.Decoder(dict[str, str])
_ENTRY = msgspec.json.Decoder(_Entry)


def write_tensors(
    tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None, *, bfloat16: frozenset[str] = frozenset()
) -> bytes:
    """A safetensors file: the widest types first, so that every tensor is aligned; the same bytes every time.

    Args:
        bfloat16: names of uint16 tensors that are the bits of bfloat16.

    Raises:
        ConfigError: a type that the format, or Airloom, does not know.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    bodies: list[bytes] = []
    at = 0
    for name, tensor in ordered:
        dtype = "BF16" if name in bfloat16 else _WRITTEN.get(tensor.dtype.newbyteorder("<"))
        if dtype is None:
            raise ConfigError(f"tensor {name!r} has type {tensor.dtype}, which no file can hold")
        body = tensor.astype(_READ[dtype], copy=False).tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + len(body)]}
        bodies.append(body)
        at += len(body)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ConfigError(f"{len(tensors)} tensors: their names take {len(text)} bytes, {MAX_HEADER_BYTES} are read")
    return b"".join([len(text).to_bytes(8, "little"), text, *bodies])


def read_tensors(data: bytes | bytearray | memoryview, *, where: str) -> TensorFile:
    """The tensors in a file's bytes; nothing is copied that is aligned.

    Args:
        where: what an error calls the file.

    Raises:
        ChunkError: not such a file: header, types, sizes, or bytes that no tensor owns.
    """
    if len(data) < 8:
        raise ChunkError(f"{where}: {len(data)} bytes are no safetensors file")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ChunkError(f"{where}: a header of {length} bytes, with {len(data) - 8} there and {MAX_HEADER_BYTES} read")
    try:
        raw = _HEADER.decode(memoryview(data)[8 : 8 + length])
        text = raw.pop(_METADATA, None)
        metadata = {} if text is None else _TEXTS.decode(text)
        if len(raw) > MAX_TENSORS:
            raise ChunkError(f"{where}: {len(raw)} tensors, {MAX_TENSORS} are read")
        entries = {name: _ENTRY.decode(item) for name, item in raw.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        why = "".join(c if c.isprintable() else "?" for c in str(error)[:120])
        raise ChunkError(f"{where}: its header is not that of a safetensors file: {why}") from None
    body = memoryview(data)[8 + length :]
    tensors: dict[str, Array] = {}
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, end = entry.data_offsets
        dtype = _READ.get(entry.dtype)
        if dtype is None:
            raise ChunkError(f"{where}: tensor {name[:80]!r} has type {entry.dtype[:20]!r}, which is not on the list")
        if len(entry.shape) > MAX_AXES or any(not 0 <= n < 2**48 for n in entry.shape):
            raise ChunkError(f"{where}: tensor {name[:80]!r} has a shape that no tensor has")
        nbytes = math.prod(entry.shape) * dtype.itemsize
        if start != at or end != start + nbytes or end > len(body):
            raise ChunkError(f"{where}: tensor {name[:80]!r} lies at {start} to {end}, it should be {nbytes} from {at}")
        tensor = np.frombuffer(body, dtype, count=nbytes // dtype.itemsize, offset=start)
        if (8 + length + start) % dtype.itemsize:
            tensor = tensor.copy()
        if entry.dtype == "BOOL" and tensor.view(np.uint8).max(initial=0) > 1:
            raise ChunkError(f"{where}: tensor {name[:80]!r} has truth values other than 0 and 1")
        tensors[name] = tensor.reshape(entry.shape)
        at = end
    if at != len(body):
        raise ChunkError(f"{where}: {len(body) - at} bytes at the end are no tensor's")
    return TensorFile(tensors, {name: entry.dtype for name, entry in entries.items()}, metadata)
