"""CIFAR-100 as uint8 arrays, from six lossless pictures of 100 x 100 tiles.

`train_0` to `train_4` hold in order 500 images of each of the 100 classes, `test_0` holds 100 of each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def load_cifar100(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x_train [50000, 3, 32, 32], y_train [50000], x_test [10000, ...], y_test; uint8, int64; sorted by class."""

    def tiles(name: str) -> np.ndarray:
        picture = np.asarray(Image.open(folder / f"{name}.webp").convert("RGB"))
        if picture.shape != (3200, 3200, 3):
            raise ValueError(f"{name}.webp: expected 3200x3200 RGB, got {picture.shape}")
        return picture.reshape(100, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(10000, 3, 32, 32)

    train = np.concatenate([tiles(f"train_{k}") for k in range(5)])
    labels = np.arange(100, dtype=np.int64)
    return train, np.repeat(labels, 500), np.ascontiguousarray(tiles("test_0")), np.repeat(labels, 100)
