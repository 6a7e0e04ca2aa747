"""Residual networks, for the 32x32 pictures of CIFAR and for larger ones.

ResNet-20/32/56/110 follow He et al., "Deep Residual Learning for Image Recognition"
(CVPR 2016), section 4.2: three groups of 16, 32 and 64 feature maps, parameter-free
shortcuts (option A). ResNet-18 is the 64-wide, four-group network in its usual CIFAR
form (3x3 stem, no max-pooling), or for larger pictures that of He et al.'s table 1 (7x7 stem
with stride 2, max-pooling); Wide ResNet-28-10 is Zagoruyko & Komodakis (BMVC 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from airloom.zoo.pixels import CIFAR_SIZE, IMAGENET_MEAN, IMAGENET_STD, NormalizePixels, check_size


class ZeroPadShortcut(nn.Module):
    """Option A of He et al. 4.2: subsample, then pad feature maps with zeros."""

    def __init__(self, extra_maps: int, stride: int) -> None:
        super().__init__()
        self.before, self.after, self.stride = extra_maps // 2, extra_maps - extra_maps // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; `projection` selects a 1x1 one (option B)."""

    def __init__(self, maps_in: int, maps_out: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps_in, maps_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps_out)
        self.conv2 = nn.Conv2d(maps_out, maps_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps_out)
        self.shortcut: nn.Module
        if stride == 1 and maps_in == maps_out:
            self.shortcut = nn.Identity()
        elif projection:
            self.shortcut = nn.Sequential(nn.Conv2d(maps_in, maps_out, 1, stride, bias=False), nn.BatchNorm2d(maps_out))
        else:
            self.shortcut = ZeroPadShortcut(maps_out - maps_in, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """The wide residual block: normalise and activate before each convolution."""

    def __init__(self, maps_in: int, maps_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(maps_in)
        self.conv1 = nn.Conv2d(maps_in, maps_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps_out)
        self.conv2 = nn.Conv2d(maps_out, maps_out, 3, 1, 1, bias=False)
        self.project = (
            nn.Conv2d(maps_in, maps_out, 1, stride, bias=False) if stride != 1 or maps_in != maps_out else None
        )

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        shortcut = x if self.project is None else self.project(a)
        y: Tensor = self.conv2(F.relu(self.bn2(self.conv1(a))))
        return y + shortcut


class LargeStem(nn.Module):
    """What pictures larger than CIFAR's go through first (He et al., table 1): to a quarter of their side."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.pixels = NormalizePixels(IMAGENET_MEAN, IMAGENET_STD)
        self.conv1 = nn.Conv2d(3, maps, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(F.relu(self.bn1(self.conv1(self.pixels(x)))))
        return y


def residual_groups(blocks: Sequence[int], maps: Sequence[int], *, projection: bool) -> nn.Sequential:
    """Groups of basic blocks; each group but the first halves the picture."""
    groups: list[nn.Module] = []
    maps_in = maps[0]
    for group, (count, maps_out) in enumerate(zip(blocks, maps, strict=True)):
        group_blocks: list[nn.Module] = []
        for k in range(count):
            stride = 2 if group > 0 and k == 0 else 1
            group_blocks.append(BasicBlock(maps_in, maps_out, stride, projection=projection))
            maps_in = maps_out
        groups.append(nn.Sequential(*group_blocks))
    return nn.Sequential(*groups)


class ResNet(nn.Module):
    """Residual network over 32x32 pixels.

    Takes `[N, 3, 32, 32]` uint8 pixels, gives `[N, num_classes]` logits.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        maps: Sequence[int],
        *,
        projection: bool,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.pixels = NormalizePixels()
        self.conv1 = nn.Conv2d(3, maps[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps[0])
        self.groups = residual_groups(blocks, maps, projection=projection)
        self.fc = nn.Linear(maps[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.pixels(x))))
        x = self.groups(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class LargeResNet(nn.Module):
    """Residual network over larger pictures: `[N, 3, size, size]` uint8 pixels, `[N, num_classes]` logits."""

    def __init__(self, blocks: Sequence[int], maps: Sequence[int], *, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = LargeStem(maps[0])
        self.groups = residual_groups(blocks, maps, projection=True)
        self.fc = nn.Linear(maps[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.groups(self.stem(x)).mean(dim=(2, 3)))
        return logits


class WideResNet(nn.Module):
    """WRN-depth-widen over 32x32 uint8 pixels `[N, 3, 32, 32]`; logits `[N, num_classes]`."""

    def __init__(self, depth: int, widen: int, *, base: int = 16, num_classes: int = 10) -> None:
        super().__init__()
        if (depth - 4) % 6:
            raise ValueError(f"depth of a wide ResNet is 6n + 4, not {depth}")
        per_group = (depth - 4) // 6
        self.pixels = NormalizePixels()
        self.conv1 = nn.Conv2d(3, base, 3, 1, 1, bias=False)
        blocks: list[nn.Module] = []
        maps_in = base
        for group, maps_out in enumerate((base * widen, 2 * base * widen, 4 * base * widen)):
            for k in range(per_group):
                blocks.append(PreActivationBlock(maps_in, maps_out, 2 if group > 0 and k == 0 else 1))
                maps_in = maps_out
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(maps_in)
        self.fc = nn.Linear(maps_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.conv1(self.pixels(x)))
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean(dim=(2, 3)))
        return logits


def _cifar_resnet(depth: int, num_classes: int, width: int) -> ResNet:
    n = (depth - 2) // 6
    return ResNet((n, n, n), (width, 2 * width, 4 * width), projection=False, num_classes=num_classes)


def resnet20(num_classes: int = 10, width: int = 16) -> ResNet:
    """ResNet-20 (He et al. 4.2), 0.27 M parameters at width 16."""
    return _cifar_resnet(20, num_classes, width)


def resnet32(num_classes: int = 10, width: int = 16) -> ResNet:
    """ResNet-32 (He et al. 4.2), 0.46 M parameters at width 16."""
    return _cifar_resnet(32, num_classes, width)


def resnet44(num_classes: int = 10, width: int = 16) -> ResNet:
    """ResNet-44 (He et al. 4.2), 0.66 M parameters at width 16."""
    return _cifar_resnet(44, num_classes, width)


def resnet56(num_classes: int = 10, width: int = 16) -> ResNet:
    """ResNet-56 (He et al. 4.2), 0.85 M parameters at width 16."""
    return _cifar_resnet(56, num_classes, width)


def resnet110(num_classes: int = 10, width: int = 16) -> ResNet:
    """ResNet-110 (He et al. 4.2), 1.7 M parameters at width 16."""
    return _cifar_resnet(110, num_classes, width)


def resnet18(num_classes: int = 10, width: int = 64, size: int = 32) -> nn.Module:
    """ResNet-18 in its CIFAR form, 11.2 M parameters at width 64; of He et al.'s table 1 for a `size` above 32.

    With `size=224, num_classes=1000` it is ImageNet's, 11.7 M parameters.
    """
    check_size(size)
    blocks, maps = (2, 2, 2, 2), (width, 2 * width, 4 * width, 8 * width)
    if size != CIFAR_SIZE:
        return LargeResNet(blocks, maps, num_classes=num_classes)
    return ResNet(blocks, maps, projection=True, num_classes=num_classes)


def wrn28_10(num_classes: int = 10, width: int = 10) -> WideResNet:
    """Wide ResNet-28 with widening factor `width` (10 gives WRN-28-10, 36.5 M parameters)."""
    return WideResNet(28, width, num_classes=num_classes)
