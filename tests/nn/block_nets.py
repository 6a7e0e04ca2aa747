"""Small residual networks for tests of elastic training, and a problem that they learn in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.nn.elastic.model import ElasticModel, elastic

CLASSES = 4


class ConvBlock(nn.Module):
    """Batch norm, a convolution, and a way around them."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


class ConvNet(nn.Module):
    """`[N, 3, 8, 8]` uint8 pixels, `[N, CLASSES]` logits; dropout before the last layer."""

    def __init__(self, blocks: int = 4, maps: int = 8, *, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, maps, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=inplace)
        self.blocks = nn.Sequential(*(ConvBlock(maps) for _ in range(blocks)))
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(maps, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x / 255.0)))
        logits: Tensor = self.fc(self.drop(self.blocks(x).mean(dim=(2, 3))))
        return logits


class DenseBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inner(x))


class Regression(nn.Module):
    """`[N, 4]` numbers, `[N, 1]` number; no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 16)
        self.blocks = nn.Sequential(*(DenseBlock(16) for _ in range(3)))
        self.last = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.blocks(torch.tanh(self.first(x))))
        return found


def conv_net(seed: int = 0, **options: Any) -> ElasticModel:
    """An elastic `ConvNet`; `order` and `depths` as `elastic` takes them, the rest is the network's."""
    chosen = {name: options.pop(name) for name in ("order", "depths") if name in options}
    torch.manual_seed(seed)
    return elastic(ConvNet(**options), (torch.zeros(2, 3, 8, 8, dtype=torch.uint8),), **chosen)


def regression() -> ElasticModel:
    torch.manual_seed(0)
    return elastic(Regression(), (torch.zeros(2, 4),))


def pictures(count: int, seed: int = 0) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
    """Noise over one of `CLASSES` patterns, and which it is."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).integers(0, 256, (CLASSES, 3, 8, 8))
    labels = rng.integers(0, CLASSES, count)
    noisy = 0.6 * patterns[labels] + 0.4 * rng.integers(0, 256, (count, 3, 8, 8))
    return [noisy.astype(np.uint8)], labels
