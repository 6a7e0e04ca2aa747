"""Several models made one: the mean of their weights, each counted by how much it has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from airloom.errors import ConfigError


def weighted_mean(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """The state dict of the mean model (McMahan et al., "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS 2017, algorithm 1).

    Equal models give that very model, bit for bit. Counters and other whole numbers are rounded.

    Args:
        states: one or more, with the same entries of the same shapes.
        weights: how much each counts; none below 0, and not all 0.

    Raises:
        ConfigError: nothing to merge, models of different forms, or weights that are none.
    """
    if not states or len(states) != len(weights):
        raise ConfigError(f"{len(states)} models and {len(weights)} weights: give one or more, and a weight for each")
    total = float(sum(weights))
    if min(weights) < 0 or not 0 < total < float("inf"):
        raise ConfigError(f"weights of a mean are at least 0 and not all 0, got {', '.join(map(str, weights))}")
    first = states[0]
    for k, other in enumerate(states[1:], 1):
        for key in sorted(first.keys() ^ other.keys()):
            raise ConfigError(f"model {k} and model 0 differ: only one has an entry {key!r}")
        for key, tensor in other.items():
            if tensor.shape != first[key].shape:
                raise ConfigError(
                    f"model {k} has {key!r} of shape {list(tensor.shape)}, model 0 of {list(first[key].shape)}"
                )
    return {
        key: _mean([state[key].detach() for state in states], [weight / total for weight in weights]) for key in first
    }


def _mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    first = tensors[0]
    whole = not (first.is_floating_point() or first.is_complex())
    precise = torch.complex128 if first.is_complex() else torch.float64
    base = first.to(precise)
    mean = base.clone()
    for share, tensor in zip(shares, tensors, strict=True):
        # By what it differs from the first, so that equal ones stay what they are.
        mean += share * (tensor.to(precise) - base)
    return (mean.round() if whole else mean).to(first.dtype)
