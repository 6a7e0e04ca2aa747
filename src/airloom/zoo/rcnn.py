"""A detector in two parts: a backbone that proposes regions, and a head that looks at each.

Faster R-CNN (Ren et al., NeurIPS 2015) on a ResNet-18 trunk, with a fixed number of regions so that every
tensor has a fixed shape: the best peaks of the objectness map stand in for non-maximum suppression (Zhou et al.,
"Objects as Points", 2019), and regions are pooled by bilinear sampling (RoIAlign of He et al., "Mask R-CNN", 2017,
one sample a bin).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.zoo.pixels import CIFAR_SIZE, check_size
from airloom.zoo.resnet import LargeStem, residual_groups

# Sides of the anchors as shares of the picture, and how much wider than high.
_SCALES = (0.15, 0.35, 0.7)
_RATIOS = (0.5, 1.0, 2.0)
# No box grows or shrinks by more than a factor of four, exp(1.4): an untrained network's stay finite.
_MOST_GROWTH = 1.4


def anchors(side: int) -> Tensor:
    """`[9 * side * side, 4]` boxes (centre x, y, width, height) in shares of the picture, by cell, then kind."""
    shapes = torch.tensor([(s * r**0.5, s / r**0.5) for s in _SCALES for r in _RATIOS])
    centres = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    cells = torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, len(shapes), -1)
    return torch.cat([cells, shapes.expand(len(cells), -1, -1)], -1).reshape(-1, 4)


def moved(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (centre x, y, width, height) moved by deltas of the same shape (Girshick et al. 2014, appendix C)."""
    centre = boxes[..., :2] + deltas[..., :2] * boxes[..., 2:]
    grown = torch.exp(deltas[..., 2:].clamp(-_MOST_GROWTH, _MOST_GROWTH))
    return torch.cat([centre, boxes[..., 2:] * grown], -1)


def pooled_regions(maps: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """`[N * K, C, bins, bins]`: the maps `[N, C, H, W]` sampled at the middle of each bin of the boxes `[N, K, 4]`."""
    batch, regions, _ = boxes.shape
    steps = (torch.arange(bins, dtype=maps.dtype, device=maps.device) + 0.5) / bins - 0.5
    x = boxes[..., 0:1] + boxes[..., 2:3] * steps  # [N, K, bins]
    y = boxes[..., 1:2] + boxes[..., 3:4] * steps
    places = torch.stack(
        [x.unsqueeze(2).expand(-1, -1, bins, -1), y.unsqueeze(3).expand(-1, -1, -1, bins)], -1
    )  # [N, K, bins, bins, 2]
    grid = (2 * places - 1).reshape(batch, regions * bins, bins, 2)
    samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    samples = samples.reshape(batch, maps.shape[1], regions, bins, bins).transpose(1, 2)
    return samples.reshape(batch * regions, maps.shape[1], bins, bins)


class RCNN(nn.Module):
    """Takes `[N, 3, size, size]` uint8 pixels.

    Gives the regions' boxes `[N, regions, 4]` (centre x, y, width, height in shares of the picture) and their
    logits `[N, regions, num_classes + 1]`, the last of which is for background.
    """

    def __init__(self, *, num_classes: int, width: int, size: int, regions: int, bins: int = 7) -> None:
        super().__init__()
        self.regions, self.bins, self.num_classes = regions, bins, num_classes
        kinds, maps = len(_SCALES) * len(_RATIOS), 4 * width
        self.stem = LargeStem(width)
        self.groups = residual_groups((2, 2, 2), (width, 2 * width, maps), projection=True)  # a sixteenth of the side
        self.propose = nn.Conv2d(maps, maps, 3, 1, 1)
        self.objectness = nn.Conv2d(maps, kinds, 1)
        self.deltas = nn.Conv2d(maps, 4 * kinds, 1)
        self.register_buffer("anchors", anchors(size // 16), persistent=False)
        self.fc1 = nn.Linear(maps * bins * bins, 16 * width)
        self.fc2 = nn.Linear(16 * width, 16 * width)
        self.classes = nn.Linear(16 * width, num_classes + 1)
        self.boxes = nn.Linear(16 * width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.groups(self.stem(x))
        boxes = self.proposals(maps)
        y = pooled_regions(maps, boxes, self.bins).flatten(1)
        y = F.relu(self.fc2(F.relu(self.fc1(y))))
        logits = self.classes(y).reshape(-1, self.regions, self.num_classes + 1)
        return moved(boxes, self.boxes(y).reshape(-1, self.regions, 4)), logits

    def proposals(self, maps: Tensor) -> Tensor:
        """The `regions` boxes `[N, regions, 4]` that look most like an object."""
        y = F.relu(self.propose(maps))
        score = self.objectness(y)
        # A cell below its neighbours proposes what they propose better.
        score = torch.where(score == F.max_pool2d(score, 3, 1, 1), score, score - 1e3)
        best = score.permute(0, 2, 3, 1).flatten(1).topk(self.regions, 1).indices
        deltas = self.deltas(y).permute(0, 2, 3, 1).reshape(len(maps), -1, 4)
        chosen = best.unsqueeze(2).expand(-1, -1, 4)
        near: Tensor = self.anchors[best]  # type: ignore[index]
        return moved(near, deltas.gather(1, chosen))


def rcnn(num_classes: int = 20, width: int = 64, size: int = 224, regions: int = 16) -> RCNN:
    """Detector with `regions` regions over a ResNet-18 trunk; 17.3 M parameters at width 64."""
    check_size(size)
    if size == CIFAR_SIZE:
        raise ValueError("size is 64 and more for a detector")
    places = len(_SCALES) * len(_RATIOS) * (size // 16) ** 2
    if regions > places:
        raise ValueError(f"a picture of {size} pixels has {places} anchors: ask for no more regions")
    return RCNN(num_classes=num_classes, width=width, size=size, regions=regions)
