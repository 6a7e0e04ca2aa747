"""Chunks: what arrives, checked against the manifest, and made into arrays.

    part = decode_chunk(data, manifest, index)                    # fp32, fp16, int8, bits-4, statistics
    part = decode_chunk(data, manifest, index, previous=part)     # bits-6 and above

`part.arrays` are a part's weights and buffers by the names of the model's state dict, ready to be copied into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import Manifest
from airloom.deliver.manifest import MAX_CHUNK_BYTES
from airloom.errors import ChunkError
from airloom.wire.weights import PartArrays, chunk_labels, decode_part, room_for

__all__ = ["check_shapes", "chunk_labels", "decode_chunk", "room_for", "verify_chunk"]


def verify_chunk(data: bytes | bytearray | memoryview, manifest: Manifest, index: int) -> None:
    """Are these the bytes that the manifest means?

    Raises:
        ChunkError: too few, too many, or others.
    """
    chunk = manifest.chunks[index]
    if len(data) != chunk.nbytes:
        short = "cut short" if len(data) < chunk.nbytes else "too long"
        raise ChunkError(f"{chunk.file}: {short}, {len(data)} bytes of {chunk.nbytes}")
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise ChunkError(f"{chunk.file}: its SHA-256 is not the manifest's: damaged, or of another model")


def decode_chunk(
    data: bytes | bytearray | memoryview,
    manifest: Manifest,
    index: int,
    *,
    previous: PartArrays | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    in_place: bool = False,
    memory: NDArray[np.float32] | None = None,
    verified: bool = False,
) -> PartArrays:
    """The arrays of chunk `index`, verified first.

    Args:
        previous: for `bits-6` and above, the part as its chunk before made it; a part's chunks go one after another.
        shapes: what the model has under each name; None checks names and shapes against nothing but the chunk itself.
        in_place: add bits to the arrays of `previous`: faster and without more memory, but those are then gone.
        memory: float32 that was written before, `room_for(chunk.nbytes, chunk.encoding)` of it, to put weights into:
            see `wire.weights.decode_part`. Made while a chunk comes in, it makes decoding several times as fast.
        verified: the caller has called `verify_chunk` on these bytes.

    Returns:
        arrays that may be read-only views of `data`, and share memory: copy them into the model.

    Raises:
        ChunkError: not this chunk, or not of this model. `previous` is then as it was.
    """
    chunk = manifest.chunks[index]
    if chunk.nbytes > MAX_CHUNK_BYTES:
        raise ChunkError(f"{chunk.file}: {chunk.nbytes} bytes, at most {MAX_CHUNK_BYTES} are read")
    if not verified:
        verify_chunk(data, manifest, index)
    labels = chunk_labels(manifest.model, manifest.parts[chunk.part].name, chunk.encoding, chunk.depth)
    part = decode_part(
        data,
        chunk.encoding,
        labels=labels,
        previous=previous,
        in_place=in_place,
        memory=memory,
        where=chunk.file,
    )
    if shapes is not None:
        check_shapes(part, shapes, where=chunk.file)
    return part


def check_shapes(part: PartArrays, shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """Refuse arrays that the model has no place for.

    Raises:
        ChunkError: names the first of them.
    """
    for name, array in part.arrays.items():
        wanted = shapes.get(name)
        if wanted is None:
            raise ChunkError(f"{where}: weight {name[:80]!r}, which the model does not have")
        if tuple(wanted) != array.shape:
            raise ChunkError(f"{where}: weight {name[:80]!r} is {list(array.shape)}, the model's is {list(wanted)}")
