"""CIFAR-10 and CIFAR-100 as uint8 tensors, decoded once into the work folder and mapped from there by every worker."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
# Behind this folder, which has a train.py too.
sys.path.append(str(HERE.parent / "zoo"))
from cifar10 import load_cifar10  # noqa: E402
from cifar100 import load_cifar100  # noqa: E402

LOADERS = {"cifar10": load_cifar10, "cifar100": load_cifar100}
PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Pictures:
    """Pictures `[N, 3, 32, 32]` uint8 and their classes `[N]`; each part shuffled by a fixed order."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def first(self, train: int, test: int) -> Pictures:
        """The first so many of each part; 0 is all of them."""
        return Pictures(
            self.x_train[: train or None], self.y_train[: train or None],
            self.x_test[: test or None], self.y_test[: test or None],
        )  # fmt: skip


def load(dataset: str, folder: Path, work: Path) -> Pictures:
    """The data set from its pictures in `folder`, or from what an earlier call left in `work`.

    Raises:
        FileNotFoundError: neither is there.
    """
    kept = work / "data"
    files = {part: kept / f"{dataset}-{part}.npy" for part in PARTS}
    if not all(file.exists() for file in files.values()):
        kept.mkdir(parents=True, exist_ok=True)
        x_train, y_train, x_test, y_test = LOADERS[dataset](folder)
        train = np.random.default_rng(0).permutation(len(x_train))
        test = np.random.default_rng(1).permutation(len(x_test))
        for part, array in zip(PARTS, (x_train[train], y_train[train], x_test[test], y_test[test]), strict=True):
            save(files[part], array)
    # Mapped copy-on-write: workers share the pages, and torch gets an array that it may regard as writable.
    return Pictures(*(torch.from_numpy(np.load(files[part], mmap_mode="c")) for part in PARTS))


def save(path: Path, array: np.ndarray) -> None:
    aside = path.with_suffix(".part.npy")
    np.save(aside, array)
    aside.replace(path)
