"""Independent losses: every packet is lost with the same probability, whatever happened before."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class LossProcess(Protocol):
    """Decides for each IP packet, in order of time, whether the link loses it."""

    @property
    def expected_loss(self) -> float:
        """Long-run probability that a packet is lost."""
        ...

    def lost(self, at_s: float, rng: np.random.Generator) -> bool: ...


class Erasure:
    """Loses each packet with probability `loss`; 0 and 1 take nothing from `rng`."""

    def __init__(self, loss: float) -> None:
        if not 0.0 <= loss <= 1.0:
            raise ValueError(f"a probability lies in [0, 1], got {loss!r}")
        self._loss = loss

    @property
    def expected_loss(self) -> float:
        return self._loss

    def lost(self, at_s: float, rng: np.random.Generator) -> bool:
        if self._loss == 0.0:
            return False
        return self._loss == 1.0 or bool(rng.random() < self._loss)
