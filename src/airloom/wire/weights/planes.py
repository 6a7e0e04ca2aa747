"""Weights in 16 bits, sent a few bits at a time: each plane halves the interval that a weight may lie in, or more.

A weight `w` of an output channel with `scale` s has the code `floor(w / s)`, from -32768 to 32767. Its first k bits
say in which of 2**k intervals it lies, and it is taken to be in the middle of that. A scale has eight significant bits
(bfloat16, rounded up), a middle 16, and float32 keeps 24: every value that a weight takes on the way is exact in
float32, so a plane is *added* to what is there, and nothing has to be kept besides the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 16
#: Codes of a chunk are laid out in runs of this many; a tensor starts at a multiple of it.
RUN = 16
# Beyond it, the middle of an interval could be no float32.
LARGEST = float(2.0**126)

Array = NDArray[Any]


def scales_of(rows: Array) -> Array:
    """Step of each row's 16-bit codes, as float32 that bfloat16 holds.

    Args:
        rows: `[channels, weights]` float32, finite and at most `LARGEST`.
    """
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float32)
    steps = np.maximum(largest * np.float32(2.0 ** (1 - BITS)), np.float32(2.0**-126))
    up = (steps.view(np.uint32) + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)
    return np.where(largest > 0, up.view(np.float32), np.float32(0))


def codes_of(rows: Array, scales: Array) -> Array:
    """`[channels, weights]` uint16: the codes plus 32768."""
    safe = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
    codes = np.floor(rows / safe) + 2.0 ** (BITS - 1)
    return np.clip(codes, 0, 2.0**BITS - 1).astype(np.uint16)


def cut_plane(codes: Array, start: int, end: int) -> Array:
    """Bits `start` to `end` of flat codes, the most significant being bit 0, packed into uint8.

    Args:
        codes: uint16, as many as a multiple of `RUN`; `end - start` is 2 or 4.
    """
    width = end - start
    parts = 8 // width
    pieces = ((codes >> np.uint16(BITS - end)) & np.uint16(2**width - 1)).astype(np.uint8).reshape(parts, -1)
    packed = np.zeros(pieces.shape[1], np.uint8)
    for k in range(parts):
        packed |= pieces[k] << np.uint8(k * width)
    return packed


def spread_plane(packed: Array, width: int, out: Array) -> None:
    """Packed codes of `width` bits as float32, `8 // width` times as many, into `out`."""
    parts = 8 // width
    halves = out.reshape(parts, -1)
    step = 65_536  # what fits a core's cache
    piece = np.empty(min(step, packed.size), np.uint8)
    for start in range(0, packed.size, step):
        source = packed[start : start + step]
        target = piece[: source.size]
        for k in range(parts):
            np.right_shift(source, np.uint8(k * width), out=target)
            np.bitwise_and(target, np.uint8(2**width - 1), out=target)
            halves[k, start : start + step] = target


def scale_plane(
    codes: Array,
    spans: Sequence[tuple[int, int, int]],
    scales: Array,
    start: int,
    end: int,
    previous: Array | None = None,
    *,
    in_place: bool = False,
) -> None:
    """Turn spread codes into weights where they lie, or add them to `previous` where that lies.

    Args:
        codes: flat float32: the codes of bits `start` to `end`; scratch where `in_place`.
        spans: of each tensor: where it starts in `codes`, its channels, its weights per channel.
        scales: of all channels of all tensors, in order.
        previous: the weights as `start` bits have them; None where `start` is 0.
        in_place: the result goes into `previous`.
    """
    middle = np.float32((2 ** (end - start) - 1) / 2)
    widths = scales * np.float32(2.0 ** (BITS - end))
    channel = 0
    for at, channels, inner in spans:
        per = max(1, 65_536 // max(inner, 1))  # rows that fit a core's cache
        for row in range(0, channels, per):
            count = min(per, channels - row)
            piece = slice(at + row * inner, at + (row + count) * inner)
            target = codes[piece].reshape(count, inner)
            target -= middle
            target *= widths[channel + row : channel + row + count, None]
            if previous is not None:
                old = previous[piece].reshape(count, inner)
                np.add(target, old, out=old if in_place else target)
        channel += channels


def scale_rows(numbers: Array, spans: Sequence[tuple[int, int, int]], scales: Array) -> None:
    """Multiply each channel in flat `numbers` by its scale, in place."""
    channel = 0
    for at, channels, inner in spans:
        rows = numbers[at : at + channels * inner].reshape(channels, inner)
        rows *= scales[channel : channel + channels, None]
        channel += channels
