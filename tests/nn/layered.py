"""A small network for what happens right behind a cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Layers(nn.Module):
    """A convolution that does nothing, so that cut 1 carries the input itself, then whatever `after` does."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1, bias=False)
        self.first.weight.data = torch.eye(2).reshape(2, 2, 1, 1)
        self.after = nn.Sequential(*after)
        self.last = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.after(self.first(x)))
