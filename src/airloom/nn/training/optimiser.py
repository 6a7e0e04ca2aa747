"""The optimisers, and what they keep for a weight, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from airloom.core.training import TrainingSpec

_SLOTS = {
    "sgd": ("momentum_buffer",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
}


def slot_names(spec: TrainingSpec) -> tuple[str, ...]:
    """What the optimiser keeps for a weight, in the order of `TrainingSpec.slot_nbytes`."""
    return () if spec.optimizer == "sgd" and not spec.momentum else _SLOTS[spec.optimizer]


def make_optimiser(spec: TrainingSpec, weights: Sequence[Tensor] | Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """Updates those of `weights` that have a gradient, one by one: which others there are changes nothing.

    Args:
        weights: or groups of them, each with options of its own, as `torch.optim` takes them.
    """
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            weights, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, nesterov=spec.nesterov,
            foreach=False,
        )  # fmt: skip
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, foreach=False)


def put_slots(optimiser: torch.optim.Optimizer, weight: Tensor, names: Sequence[str], slots: Sequence[Tensor]) -> None:
    """Give a weight's state; none at all is that of a weight that was never updated."""
    if slots:
        optimiser.state[weight] = {name: slot.clone() for name, slot in zip(names, slots, strict=True)}
    else:
        optimiser.state.pop(weight, None)
