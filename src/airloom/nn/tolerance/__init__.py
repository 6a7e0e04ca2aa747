"""How much loss each cut of a model may bear, measured; and a receiver trained to bear more."""

from __future__ import annotations

from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.measuring import (
    DEFAULT_DRAWS,
    DEFAULT_RATES,
    TRANSPORT_BLOCK_BYTES,
    WIRE_BLOCK_BYTES,
    measure_cut,
)
from airloom.nn.tolerance.samples import Samples, check_samples
from airloom.nn.tolerance.score import Score, load_score, top1

__all__ = [
    "DEFAULT_DRAWS",
    "DEFAULT_RATES",
    "TRANSPORT_BLOCK_BYTES",
    "WIRE_BLOCK_BYTES",
    "Halves",
    "Samples",
    "Score",
    "check_samples",
    "load_score",
    "measure_cut",
    "top1",
]
