"""Dropout whose masks do not depend on where an operator runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

Dropout = Callable[..., tuple[Tensor, Tensor]]


class Draws:
    """Random numbers of operators: they follow from `seed`, `step` and the operator's place in the graph alone.

    They are drawn on the CPU whatever the torch device, so that all devices drop the same.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.step = seed, 0

    def generator(self, operator: int) -> torch.Generator:
        """For one operator in this step."""
        text = f"{self.seed} {self.step} {operator}".encode()
        number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(number)

    def dropout(self, operator: int) -> Dropout:
        """What runs in place of `aten.native_dropout`: the result and its mask."""

        def native_dropout(x: Tensor, p: float, train: bool | None = True) -> tuple[Tensor, Tensor]:
            if train is False or p == 0.0:
                return x * 1.0, torch.ones(x.shape, dtype=torch.bool, device=x.device)
            kept = torch.rand(x.shape, generator=self.generator(operator)) >= p
            kept = kept.to(x.device)
            scale = 0.0 if p >= 1.0 else 1.0 / (1.0 - p)
            return x * (kept * scale).to(x.dtype), kept

        return native_dropout
