"""Pictures shifted and mirrored at random, as ResNets are trained on CIFAR (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Pixels by which a picture is shifted at most, either way.
SHIFT = 4


def is_pictures(array: Array) -> bool:
    """Whether these are uint8 `[N, C, H, W]`."""
    return array.ndim == 4 and array.dtype == np.uint8


def crop_flip(pictures: Array, rng: np.random.Generator) -> Array:
    """Each of `[N, C, H, W]` cut from itself with `SHIFT` black pixels around it, and every other mirrored.

    Returns:
        A new array of the same form.
    """
    count, _, height, width = pictures.shape
    framed = np.pad(pictures, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, (height, width), axis=(2, 3))
    top, left = rng.integers(0, 2 * SHIFT + 1, size=(2, count))
    result: Array = windows[np.arange(count), :, top, left]
    mirrored = rng.random(count) < 0.5
    result[mirrored] = result[mirrored][..., ::-1]
    return result
