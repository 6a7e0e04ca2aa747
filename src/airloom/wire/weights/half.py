"""float16 as float32, several times as fast as numpy does it on a machine whose numpy does not use its instructions.

A float16's bits, moved to where float32 has its exponent and fraction, are the number divided by 2**112: one
multiplication, exact also for the smallest numbers (binary16 and binary32, IEEE 754).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_STEP = 65_536  # what fits a core's cache
_SIGN_AND_REST = np.int32(np.uint32(0x8FFFE000).astype(np.int32))
_SHIFT = np.int32(13)
_FACTOR = np.float32(2.0**112)
_EXPONENT = np.uint16(0x7C00)


def widen(half: Array, out: Array) -> bool:
    """Put flat float16 into flat float32 `out`; False where a number is not finite."""
    source, bits = half.view(np.int16), out.view(np.int32)
    finite = True
    for start in range(0, half.size, _STEP):
        piece, numbers = bits[start : start + _STEP], out[start : start + _STEP]
        given = source[start : start + _STEP]
        finite = finite and not bool(((given.view(np.uint16) & _EXPONENT) == _EXPONENT).any())
        piece[...] = given
        np.left_shift(piece, _SHIFT, out=piece)
        np.bitwise_and(piece, _SIGN_AND_REST, out=piece)
        np.multiply(numbers, _FACTOR, out=numbers)
    return finite
