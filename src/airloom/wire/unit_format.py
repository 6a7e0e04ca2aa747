"""A coded live set as one blob of units that each stand alone, aligned to the wire's blocks.

A lost block takes only the elements of its own units: where they belong, how they are scaled and which of them were
left out is said in the unit itself. Block 0 of a message is always repaired, for its head; nothing else has to be.

A unit is a span of one stream's elements, little-endian:

     0 u16  kind << 14 | scaled << 13 | number of the stream
     2 u16  values in it (0 where dense)
     4 u32  first element of the span
     8 u32  elements in the span
    12 f32  scale, f32 zero: only where scaled
       ...  contents, the smallest of
            dense    every element's value
            bitmap   a bit an element, the first in the highest bit, then the kept values; spans start at multiples of 8
            gaps     u16 number of bytes, one byte for each kept element: how many before it were left out since the
                     one before; 255 stands for 255 left out and no element; then the kept values

Units of a blob ascend by stream and element and never overlap. What is left of a block after its units is 0, and
too short for a unit or starting with the 0 that is no unit's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING, LEFT_OUT, PRESENT = 0, 1, 2
DENSE, BITMAP, GAPS = 1, 2, 3

MIN_ROOM = 128
MAX_STREAMS = 1 << 13
MAX_UNIT_BYTES = 0xFFFF  # so that what a unit counts fits 16 bits

UNIT = struct.Struct("<HHII")
SCALED_UNIT = struct.Struct("<HHIIff")
SCALE = struct.Struct("<ff")
U16 = struct.Struct("<H")
SCALED = 1 << 13
ESCAPE = 255


class Stream(NamedTuple):
    """Elements to carry, in the order in which they go to blocks.

    Attributes:
        values: one dimension, any number of them, of 1, 2, 4 or 8 bytes each.
        keep: same order; elements where it is False are left out, but for a few that come all the same where all
            of a span costs less than saying which. None: all are kept.
        scale, zero: of quantised values, repeated in every unit: x = scale * (value - zero). Values that are their
            own leave both as they are, and then they cost nothing.
        order: with it, values and keep lie in any order, and element k of the stream is their element order[k]:
            quicker than values in order where a mask keeps few of them. It may leave some out.
    """

    values: NDArray[Any]
    keep: NDArray[np.bool_] | None = None
    scale: float = 1.0
    zero: float = 0.0
    order: NDArray[np.intp] | None = None

    @property
    def in_order(self) -> NDArray[Any]:
        """The values of the stream, kept or not."""
        return self.values if self.order is None else self.values.take(self.order)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What the receiver knows of a stream: how many elements, of which numpy dtype."""

    count: int
    dtype: str


class Unpacked(NamedTuple):
    """A stream as it came.

    Attributes:
        values: zeros where nothing came or was sent.
        state: uint8 for each element: MISSING, LEFT_OUT by the mask, or PRESENT.
        scale, zero: as sent; 1 and 0 where no unit came.
    """

    values: NDArray[Any]
    state: NDArray[np.uint8]
    scale: float = 1.0
    zero: float = 0.0


class Sparse(NamedTuple):
    """A stream as it came, no larger than what came of it; quicker than `Unpacked` where much was left out.

    Attributes:
        places: ascending positions of the values; None where no element was left out: then `values` has an entry for
            every element, zeros in the missing spans.
        values: what came.
        missing: ascending spans (start, stop) of elements of which nothing is known.
        scale, zero: as sent; 1 and 0 where no unit came.
    """

    places: NDArray[np.intp] | None
    values: NDArray[Any]
    missing: tuple[tuple[int, int], ...]
    scale: float = 1.0
    zero: float = 0.0
