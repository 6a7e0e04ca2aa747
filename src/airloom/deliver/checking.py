"""How accurate a model is on samples at hand: what a manifest promises, measured where the model runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def accuracy(call: Callable[..., Array], inputs: Sequence[Array], labels: Array, *, batch: int) -> float:
    """Share of samples whose label is the place of the largest value in the last axis of what `call` gives.

    Args:
        inputs: one array an input, row k of each is sample k, `[N, ...]`.
        labels: `[N]`.
    """
    right = 0
    for start in range(0, len(labels), batch):
        values = call(*(rows[start : start + batch] for rows in inputs))
        right += int((np.argmax(values, axis=-1) == labels[start : start + batch]).sum())
    return right / len(labels)
