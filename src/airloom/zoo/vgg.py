"""VGG-11 in its CIFAR form: Simonyan & Zisserman (ICLR 2015), configuration A, with batch norm
and one linear layer in place of the three that 224x224 pictures need."""

from __future__ import annotations

from torch import Tensor, nn

from airloom.zoo.pixels import NormalizePixels

# Multiples of the width; None halves the picture.
_CONFIGURATION_A = (1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None)


class VGG(nn.Module):
    """Takes `[N, 3, 32, 32]` uint8 pixels, gives `[N, num_classes]` logits."""

    def __init__(self, *, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.pixels = NormalizePixels()
        layers: list[nn.Module] = []
        maps_in = 3
        for multiple in _CONFIGURATION_A:
            if multiple is None:
                layers.append(nn.MaxPool2d(2))
                continue
            maps_out = multiple * width
            layers += [nn.Conv2d(maps_in, maps_out, 3, 1, 1, bias=False), nn.BatchNorm2d(maps_out), nn.ReLU()]
            maps_in = maps_out
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(maps_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(self.pixels(x)).flatten(1))
        return logits


def vgg11(num_classes: int = 10, width: int = 64) -> VGG:
    """VGG-11 with batch norm, 9.2 M parameters at width 64."""
    return VGG(num_classes=num_classes, width=width)
