"""Which block each element of a blob is lost with: what a tolerance profile draws losses from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.wire.unit_format import StreamSpec
from airloom.wire.unpacking import _read_units


def blocks_of(
    blob: bytes | bytearray | memoryview, specs: Sequence[StreamSpec], *, first_room: int, room: int
) -> list[NDArray[np.int32]]:
    """The block of every element, one array a stream, in the order of the stream.

    Args:
        blob: whole.
        first_room, room: as it was packed with.

    Raises:
        WireError: the bytes are no units of these streams.
    """
    view = memoryview(blob).cast("B") if len(blob) else memoryview(b"")
    found = []
    for spec, stream in zip(specs, _read_units(view, (), specs, first_room, room), strict=True):
        blocks = np.zeros(spec.count, np.int32)
        for _, start, stop, _, marks, _, _ in stream.units:
            blocks[start:stop] = 0 if marks < first_room else 1 + (marks - first_room) // room
        found.append(blocks)
    return found
