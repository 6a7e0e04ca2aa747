"""A message as bytes: the head, then the tensors one after the other, and back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airloom.core.messages import Frame, Gap, Parcel
from airloom.errors import WireError
from airloom.wire.header import decode_frame, encode_frame, head_nbytes


def pack_message(frame: Frame, parcel: Parcel) -> tuple[bytes | memoryview, ...]:
    """Head and tensors, not copied; `frame.tensors` is taken from the parcel."""
    if len(parcel.tensors) != len(parcel.data):
        raise ValueError(f"a parcel names {len(parcel.tensors)} tensors and holds {len(parcel.data)}")
    data = tuple(memoryview(d).cast("B") if d.nbytes else memoryview(b"") for d in parcel.data)
    tensors = tuple((id_, d.nbytes) for id_, d in zip(parcel.tensors, data, strict=True))
    return encode_frame(msgspec.structs.replace(frame, tensors=tensors)), *data


def unpack_message(
    buffer: bytearray | bytes | memoryview, missing: Sequence[tuple[int, int]] = ()
) -> tuple[Frame, Parcel]:
    """Frame and parcel of a whole message; `missing` are ascending byte ranges of it that are zero-filled.

    The parcel's memoryviews look into `buffer`. WireError where the head is malformed or not all
    there, or the sizes it names are not those of the message.
    """
    view = memoryview(buffer)
    head = head_nbytes(view)
    if missing and missing[0][0] < head:
        raise WireError("the head of a message is missing")
    frame = decode_frame(view)
    if head + sum(nbytes for _, nbytes in frame.tensors) != len(view):
        raise WireError(f"a message of {len(view)} bytes whose head tells of another size")
    data: list[memoryview] = []
    gaps: list[Gap] = []
    start = head
    for id_, nbytes in frame.tensors:
        stop = start + nbytes
        data.append(view[start:stop])
        gaps += [
            Gap(id_, max(low, start) - start, min(high, stop) - start)
            for low, high in missing
            if low < stop and high > start
        ]
        start = stop
    return frame, Parcel(tuple(id_ for id_, _ in frame.tensors), tuple(data), tuple(gaps))
