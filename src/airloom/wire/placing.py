"""Which block each element of a blob is lost with: what a tolerance profile draws losses from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.wire.units import StreamSpec, _read_units


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
    units = _read_units(blob, (), specs, first_room, room)
    block = np.where(units.marks < first_room, 0, 1 + (units.marks - first_room) // room)
    found = []
    for number, spec in enumerate(specs):
        mine = units.stream == number
        blocks = np.zeros(spec.count, np.int32)
        # Units of a stream cover it without gaps.
        blocks[:] = np.repeat(block[mine], (units.stop - units.start)[mine])
        found.append(blocks)
    return found
