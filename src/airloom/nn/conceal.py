"""What stands in for elements that never came: zeros, calibrated means, or what their neighbours say.

All of it works on whole batches, `[N, C, ...]` with a mask, so that a tolerance profile can draw many
losses in one pass; hosts call the same functions with N = 1.

With a pruned cut one does not know of a missing element whether it was left out. Averages are
therefore taken over what the activation would have made of the neighbours: one that was left out
counts as the edge at which its map begins to pass, never as its arbitrary refill value. Behind a
max-pooling the average is over pooled windows, since one element of each says it all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from airloom.core.coding import Conceal
from airloom.nn.branch import Branch
from airloom.nn.captured import Captured

# A neighbour counts by this factor less for each step between. Measured with the bundled ResNet-20, 60 % of the
# elements lost, against plain means of 3x3 neighbours: 80 against 75 % right behind the first convolution, 73
# against 60 after the first block, 89 against 90 after the second.
_FADE = 0.04
_REACH = 4


def map_axis(captured: Captured, tensor: int) -> int:
    """The axis of a tensor's feature maps: 1 in `[N, C, ...]` and `[N, F]`, 2 in a sequence `[N, T, F]`.

    Three axes are `[N, C, T]` where a convolution, a batch norm or a pooling reads or makes them.
    """
    graph = captured.graph
    if len(graph.tensors[tensor].shape) != 3:
        return 1
    near = [op.target for op in graph.operators if tensor in op.inputs or tensor in op.outputs]
    along_time = ("conv1d", "convolution", "batch_norm", "pool1d")
    return 1 if any(word in target for target in near for word in along_time) else 2


def conceal(
    x: Tensor,
    missing: Tensor,
    method: Conceal,
    *,
    means: Tensor | None = None,
    left_out: Tensor | None = None,
    branch: Branch | None = None,
    axis: int = 1,
) -> Tensor:
    """x with what is missing filled in; a new tensor of x's type.

    Args:
        x: `[N, ...]`; what it holds at missing places does not count. Elements that were left out
            hold their refill value.
        missing: bool, shape of x.
        means: `[C]` calibrated mean of each feature map; without, the mean of what came of it.
        left_out: bool, shape of x: elements that the sender's mask left out.
        branch: the sender's mask.
        axis: of the feature maps, see `map_axis`.
    """
    if method == "zeros" or x.dim() < 2 or not bool(missing.any()):
        return x.masked_fill(missing, 0)
    work = x if x.is_floating_point() else x.float()
    present = ~missing if left_out is None else ~(missing | left_out)
    pooled = branch is not None and branch.pool is not None and len(branch.pool.kernel) == work.dim() - 2
    # The branch counts along axis 1 as the sender has it.
    passed = work if branch is None or pooled else branch.activated(work)
    if axis != 1:
        work, passed, missing, present = (t.movedim(axis, 1) for t in (work, passed, missing, present))
    if method == "mean" or work.dim() == 2:
        guess = _means(work, missing, means)
    elif branch is not None and pooled:
        guess = _pooled_neighbours(work, missing, present, means, branch)
    else:
        guess = _neighbours(passed, missing, means)
    filled = torch.where(missing, guess.to(work.dtype), work)
    if axis != 1:
        filled = filled.movedim(1, axis)
    return filled if x.is_floating_point() else filled.round().clamp(0, torch.iinfo(x.dtype).max).to(x.dtype)


def _means(x: Tensor, missing: Tensor, means: Tensor | None) -> Tensor:
    """`[N, C, 1, ...]` the mean of each feature map: as calibrated, else of what came, else 0."""
    if means is not None:
        return means.to(x.dtype).reshape(1, -1, *[1] * (x.dim() - 2)).expand(x.shape[0], *[-1] * (x.dim() - 1))
    over = list(range(2, x.dim()))
    here = (~missing).to(x.dtype)
    if not over:
        return torch.zeros_like(x)
    return (x.masked_fill(missing, 0).sum(over, keepdim=True) / here.sum(over, keepdim=True).clamp_min(1)).nan_to_num()


def _neighbours(x: Tensor, missing: Tensor, means: Tensor | None) -> Tensor:
    """The mean of what came within reach, the nearest counting most by far; else of the map."""
    axes = min(x.dim() - 2, 2)
    planes = torch.stack([x.masked_fill(missing, 0), (~missing).to(x.dtype)]).reshape(2, -1, *x.shape[-axes:])
    for axis in range(2, 2 + axes):
        planes = _faded(planes, axis)
    total, weight = planes.reshape(2, *x.shape)
    found = weight > 0
    guess = total / weight
    return guess if bool(found.all()) else torch.where(found, guess, _means(x, missing, means))


def _faded(x: Tensor, axis: int) -> Tensor:
    """At each place the sum over the places along `axis`, each times `_FADE` to the power of its distance."""
    size = x.shape[axis]
    total = x.clone()
    for distance in range(1, min(_REACH, size - 1) + 1):
        rest = size - distance
        total.narrow(axis, distance, rest).add_(x.narrow(axis, 0, rest), alpha=_FADE**distance)
        total.narrow(axis, 0, rest).add_(x.narrow(axis, distance, rest), alpha=_FADE**distance)
    return total


def _pooled_neighbours(x: Tensor, missing: Tensor, present: Tensor, means: Tensor | None, branch: Branch) -> Tensor:
    """For a pruned cut before a max-pooling: missing elements of a window of which nothing came are
    what the windows around it come out as; those of other windows are not its greatest."""
    assert branch.pool is not None
    along = [1, -1, *[1] * (x.dim() - 2)]
    sign, refill = branch.sign.to(x).reshape(along), branch.refill.to(x).reshape(along)
    edge = branch.edge.to(x).reshape(along)
    s = torch.where(present, x * sign, -math.inf)
    greatest = branch.pool.greatest(s)
    got = greatest > -math.inf
    unknown = ~got & (branch.pool.greatest(missing.to(x.dtype)) > 0)
    pooled = torch.where(got, greatest, edge * sign)
    centre = None if means is None else torch.maximum(means.to(x).reshape(along) * sign, edge * sign).flatten()
    guess = torch.where(unknown, _neighbours(pooled, unknown, centre), -math.inf)
    spread = branch.pool.spread(guess, tuple(x.shape[2:])) * sign
    return torch.where(torch.isfinite(spread), spread, refill)
