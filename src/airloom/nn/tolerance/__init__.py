"""How much loss each cut of a model may bear, measured; and a receiver trained to bear more."""

from __future__ import annotations

from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.ideal import measure_ideal
from airloom.nn.tolerance.layers import measure_layers
from airloom.nn.tolerance.maps import calibrate
from airloom.nn.tolerance.measuring import (
    DEFAULT_DRAWS,
    DEFAULT_RATES,
    TRANSPORT_BLOCK_BYTES,
    WIRE_BLOCK_BYTES,
    measure_cut,
)
from airloom.nn.tolerance.profile import chosen_cuts, measure
from airloom.nn.tolerance.samples import Samples, check_samples
from airloom.nn.tolerance.score import Score, load_score, top1
from airloom.nn.tolerance.tuning import fine_tune
from airloom.nn.tolerance.weights import read_tuned, write_tuned

__all__ = [
    "DEFAULT_DRAWS",
    "DEFAULT_RATES",
    "TRANSPORT_BLOCK_BYTES",
    "WIRE_BLOCK_BYTES",
    "Halves",
    "Samples",
    "Score",
    "calibrate",
    "check_samples",
    "chosen_cuts",
    "fine_tune",
    "load_score",
    "measure",
    "measure_cut",
    "measure_ideal",
    "measure_layers",
    "read_tuned",
    "top1",
    "write_tuned",
]
