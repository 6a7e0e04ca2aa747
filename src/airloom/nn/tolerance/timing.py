"""Seconds of a call."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def timed(work: Callable[[], object], *, seconds: float = 0.1, least: int = 3, most: int = 50) -> float:
    """Seconds of one call of `work`, called for about `seconds`, at least `least` times: the lower quartile.

    What else the machine does only ever adds time, and a burst of it may last for half of the calls.
    """
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < least or (time.perf_counter() < end and len(took) < most):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return float(np.quantile(took, 0.25))
