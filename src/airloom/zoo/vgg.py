"""VGG-11: Simonyan & Zisserman (ICLR 2015), configuration A, with batch norm.

In its CIFAR form one linear layer takes the place of the three that larger pictures need."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from airloom.zoo.pixels import CIFAR_SIZE, IMAGENET_MEAN, IMAGENET_STD, NormalizePixels, check_size

# Multiples of the width; None halves the picture.
_CONFIGURATION_A = (1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None)


def _features(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    maps_in = 3
    for multiple in _CONFIGURATION_A:
        if multiple is None:
            layers.append(nn.MaxPool2d(2))
            continue
        maps_out = multiple * width
        layers += [nn.Conv2d(maps_in, maps_out, 3, 1, 1, bias=False), nn.BatchNorm2d(maps_out), nn.ReLU()]
        maps_in = maps_out
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Takes `[N, 3, 32, 32]` uint8 pixels, gives `[N, num_classes]` logits."""

    def __init__(self, *, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.pixels = NormalizePixels()
        self.features = _features(width)
        self.fc = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(self.pixels(x)).flatten(1))
        return logits


class LargeVGG(nn.Module):
    """Takes `[N, 3, size, size]` uint8 pixels, gives `[N, num_classes]` logits.

    The linear layers have 64 * `width` features: 4096 at width 64, as published. There is no dropout: a stage
    that draws random numbers could not be run twice with one answer.
    """

    def __init__(self, *, num_classes: int = 10, width: int = 64, size: int = 224) -> None:
        super().__init__()
        self.pixels = NormalizePixels(IMAGENET_MEAN, IMAGENET_STD)
        self.features = _features(width)
        side = size // 32
        self.fc1 = nn.Linear(8 * width * side * side, 64 * width)
        self.fc2 = nn.Linear(64 * width, 64 * width)
        self.fc3 = nn.Linear(64 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.pixels(x)).flatten(1)
        logits: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))
        return logits


def vgg11(num_classes: int = 10, width: int = 64, size: int = 32) -> nn.Module:
    """VGG-11 with batch norm, 9.2 M parameters at width 64; with three linear layers for a `size` above 32.

    With `size=224, num_classes=1000` it is ImageNet's, 133 M parameters (507 MiB), most of them in the first
    linear layer.
    """
    check_size(size)
    if size != CIFAR_SIZE:
        return LargeVGG(num_classes=num_classes, width=width, size=size)
    return VGG(num_classes=num_classes, width=width)
