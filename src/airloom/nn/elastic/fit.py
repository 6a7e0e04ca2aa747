"""One form made out of another: pooling and zeros without parameters, or a trained map between feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.errors import UserError


class Fit(nn.Module):
    """Makes tensors of one form out of another's, without parameters.

    Average pooling where a side shrinks; zeros for feature maps that are new (half of them before, half behind, as
    option A of He et al. 4.2), means of neighbours where there are fewer.

    Args:
        form_in, form_out: shapes without the batch.
        maps_last: features lie along the last axis (tokens), not along the first one behind the batch.

    Raises:
        UserError: a side that grows, maps whose number does not divide, or another number of axes.
    """

    def __init__(self, form_in: Sequence[int], form_out: Sequence[int], *, maps_last: bool = False) -> None:
        super().__init__()
        if len(form_in) != len(form_out) or not 1 <= len(form_in) <= 4:
            raise UserError(f"no pooling makes {list(form_out)} of {list(form_in)}")
        at = -1 if maps_last else 0
        self.maps_last = maps_last
        self.maps = (form_in[at], form_out[at])
        sides = [[n for k, n in enumerate(form) if k != at % len(form)] for form in (form_in, form_out)]
        self.sides = (tuple(sides[0]), tuple(sides[1]))
        if any(b > a for a, b in zip(*self.sides, strict=True)):
            raise UserError(f"no pooling makes {list(form_out)} of {list(form_in)}: a side grows")
        if self.maps[1] < self.maps[0] and self.maps[0] % self.maps[1]:
            raise UserError(f"{self.maps[0]} feature maps are no multiple of {self.maps[1]}")

    def forward(self, x: Tensor) -> Tensor:
        if self.maps_last:
            x = x.movedim(-1, 1)
        x = self._maps(self._pooled(x))
        return x.movedim(1, -1) if self.maps_last else x

    def _pooled(self, x: Tensor) -> Tensor:
        before, after = self.sides
        if before == after:
            return x
        axes = len(before)
        if all(a % b == 0 for a, b in zip(before, after, strict=True)):
            kernel = [a // b for a, b in zip(before, after, strict=True)]
            pooled: Tensor = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1](x, kernel)
        else:
            adaptive: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
            pooled = adaptive(x, list(after) if axes > 1 else after[0])
        return pooled

    def _maps(self, x: Tensor) -> Tensor:  # [N, C, ...]
        before, after = self.maps
        if after > before:
            extra = after - before
            return F.pad(x, [0, 0] * (x.dim() - 2) + [extra // 2, extra - extra // 2])
        if after == before:
            return x
        # Slices, not a view: no number of samples is written down in the graph.
        each = before // after
        total = x[:, ::each]
        for k in range(1, each):
            total = total + x[:, k::each]
        return total / each


class Mixing(Fit):
    """A trained linear map between feature maps in place of zeros and means, at every place the same (a 1x1
    convolution); where a side shrinks, average pooling before it.

    It starts as what `Fit` does with zeros, and so adds nothing to an untrained network.
    """

    def __init__(self, form_in: Sequence[int], form_out: Sequence[int], *, maps_last: bool = False) -> None:
        at = -1 if maps_last else 0
        same = list(form_out)
        same[at] = form_in[at]
        super().__init__(form_in, same, maps_last=maps_last)
        self.weight = nn.Parameter(mixing_start(form_in[at], form_out[at]))

    def _maps(self, x: Tensor) -> Tensor:  # [N, C, ...]
        if x.dim() == 2:
            return F.linear(x, self.weight)
        axes = x.dim() - 2
        kernel = self.weight.reshape(*self.weight.shape, *([1] * axes))
        mixed: Tensor = (F.conv1d, F.conv2d, F.conv3d)[axes - 1](x, kernel)
        return mixed


def mixing_start(before: int, after: int) -> Tensor:
    """`[after, before]` ones where zero-padding or dropping feature maps on both sides leaves a map, else zeros."""
    weight = torch.zeros(after, before)
    shift = (after - before) // 2
    for k in range(before):
        if 0 <= k + shift < after:
            weight[k + shift, k] = 1.0
    return weight
