"""Pixels as the sensor gives them: normalisation is part of the network.

A cut before the first operator then carries uint8, a quarter of float32's bytes, so that
a baseline which sends the picture is priced honestly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Per-channel mean and standard deviation of the 50,000 CIFAR-10 training images, in [0, 1].
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

# The usual ones of ImageNet's training images.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The side of the pictures that a network's CIFAR form is for, and the least that the others are.
CIFAR_SIZE = 32
LEAST_SIZE = 64


def check_size(size: int) -> None:
    """A picture has 32x32 pixels, or 64x64 and more in steps of 32: five halvings leave whole numbers.

    Raises:
        ValueError: neither.
    """
    if size != CIFAR_SIZE and (size < LEAST_SIZE or size % CIFAR_SIZE):
        raise ValueError(f"size is {CIFAR_SIZE}, or {LEAST_SIZE} and more in steps of {CIFAR_SIZE}, not {size}")


class NormalizePixels(nn.Module):
    """uint8 `[N, C, H, W]` in 0..255 -> float32 with zero mean and unit deviation per channel."""

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: tuple[float, ...] = CIFAR10_MEAN,
        std: tuple[float, ...] = CIFAR10_STD,
    ) -> None:
        super().__init__()
        m, s = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (1.0 / (255.0 * s)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-m / s).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.scale.dtype) * self.scale + self.shift
