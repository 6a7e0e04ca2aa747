"""A coded live set as one blob of units that each stand alone: what others need of it, in one place.

`unit_format` says what the bytes mean, `packing` makes them, `unpacking` reads them.
"""

from airloom.wire.packing import pack
from airloom.wire.unit_format import (
    LEFT_OUT,
    MAX_STREAMS,
    MIN_ROOM,
    MISSING,
    PRESENT,
    Sparse,
    Stream,
    StreamSpec,
    Unpacked,
)
from airloom.wire.unpacking import side_nbytes, unpack, unpack_sparse

__all__ = [
    "LEFT_OUT",
    "MAX_STREAMS",
    "MIN_ROOM",
    "MISSING",
    "PRESENT",
    "Sparse",
    "Stream",
    "StreamSpec",
    "Unpacked",
    "pack",
    "side_nbytes",
    "unpack",
    "unpack_sparse",
]
