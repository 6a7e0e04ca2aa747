"""Which elements of a tensor come through the operators behind a cut (Fig. 13 of NeuroMessenger).

`nn.redundancy` finds the branch; a codec asks it, sample by sample, what to send.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from airloom.nn.chain import Pool

# Bits of a number as an integer of the same width.
BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
Precision = Literal["exact", "int8"]
Small = Literal["none", "not zero", "all"]


@dataclass(frozen=True, eq=False)
class Branch:
    """Which elements of a tensor `[N, C, ...]` the operators behind a cut let through.

    Attributes:
        tensor: its id.
        sign: `[C]`; an element x of map c can pass where sign[c] * x > threshold[c].
        threshold: `[C]`; -inf where only the pooling drops, +inf where the map is constant behind the branch.
        refill: `[C]` what stands where an element was left out; the branch drops it as well.
        pool: the max-pooling, of whose windows only the greatest element passes.
        small: which of the numbers next to zero are kept whatever the threshold: those that come through as
            another zero than the refill does (a negative zero passes a ReLU as it is).
        odd_infinities: infinities are kept: the branch makes NaN of them.
        by_window: the windows lie side by side, and what comes through one is said by one number: `windows` gives
            those, and the window's first element is where the receiver puts it, the refill in all others.
    """

    tensor: int
    sign: Tensor
    threshold: Tensor
    refill: Tensor
    pool: Pool | None = None
    small: Small = "none"
    odd_infinities: bool = False
    by_window: bool = False

    @functools.cached_property
    def rising(self) -> bool:
        """Whether every feature map goes up."""
        return bool((self.sign > 0).all())

    @functools.cached_property
    def edge(self) -> Tensor:
        """`[C]` the value of each map at which elements begin to pass; its refill where there is none."""
        edge = self.sign * self.threshold
        return torch.where(edge.isfinite(), edge, self.refill)

    def keep(self, x: Tensor, precision: Precision = "exact") -> Tensor:
        """The mask of what to send, bool, of the shape of x `[N, C, ...]`; any N.

        Args:
            precision: `exact`: what is left out does not change a bit of the model's output. `int8`: the
                branch sees x rounded to 8 bits (one scale for all of x), as the paper's does: it
                drops what lies within half a step of the threshold, and of the nearly equal
                elements of a window it keeps the first.
        """
        s = x if self.rising else x * along_maps(self.sign, x)
        if precision == "int8":
            return self._keep_rounded(s)
        t = along_maps(self.threshold, x)
        if self.pool is None:
            keep = torch.le(s, t).logical_not_()  # NaN passes
        else:
            keep = self._passes_pool(s, t)
            if bool(torch.isnan(s.amax())):
                keep |= torch.isnan(s)
        if self.small != "none":
            keep |= self._is_small(x)
        if self.odd_infinities:
            keep |= torch.isinf(x)
        return keep

    def entries(self, x: NDArray[Any], step: float | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What may have to be sent, and whether it has to: elements, or of each window the one that comes through.

        Which of a window's places it had does not matter behind the pooling, so it need not travel. Only where there
        is no pooling or it is `by_window`, and for finite x. All in numpy, which at one sample is quicker than torch.

        Args:
            step: of x in 8 bits, for the int8 branch: what lies within half a step of the threshold is not sent.
        """
        sign, threshold = self._numbers
        shape = (1, -1, *[1] * (x.ndim - 2))
        s = x if self.rising else x * sign.reshape(shape)
        greatest, value = s, x
        if self.pool is not None:
            greatest = _greatest_of_tiles(s, self.pool.kernel)
            value = greatest if self.rising else greatest * sign.reshape(shape)
        if step is not None:
            with np.errstate(over="ignore"):  # infinite thresholds stay what they are
                half_a_step_above = ((np.rint(threshold / step) + 0.5) * step).astype(x.dtype)
            return value, greatest > half_a_step_above.reshape(shape)
        keep = greatest > threshold.reshape(shape)
        if self.small != "none" and not self._holds_no_odd_zero(s):
            # Of equal numbers the pooling takes the first: where nothing comes through but zeros, it tells which.
            first = self.window_firsts(x)
            odd = ~keep & self._is_small(torch.from_numpy(first.copy())).numpy()
            value, keep = np.where(odd, first, value), keep | odd
        return value, keep

    @functools.cached_property
    def _numbers(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.sign.numpy(), self.threshold.numpy()

    @functools.cached_property
    def _from_zero(self) -> bool:
        """Whether every positive number passes, and of the others only those of negative sign count as small."""
        return self.small == "not zero" and self.rising and bool((self.threshold <= 0).all())

    def _holds_no_odd_zero(self, s: NDArray[Any]) -> bool:
        """Whether a glance tells that there is no zero to keep: nothing has a sign, and all else passes."""
        return self._from_zero and bool(s.view(f"i{s.itemsize}").min() >= 0)

    def window_firsts(self, x: NDArray[Any]) -> NDArray[Any]:
        """The first element of each window of x, where `by_window`; without a pooling, x."""
        if self.pool is None:
            return x
        firsts: NDArray[Any] = x[first_of_windows(self.pool)]
        return firsts

    def _is_small(self, x: Tensor) -> Tensor:
        small = x.abs() <= torch.finfo(x.dtype).tiny
        if self.small == "not zero":
            small &= x.contiguous().view(BITS[x.dtype]) != 0
        return small

    def refilled(self, x: Tensor, keep: Tensor) -> Tensor:
        """x with the refill value of its map wherever `keep` is False."""
        return torch.where(keep, x, along_maps(self.refill, x))

    def along(self, values: Tensor, x: Tensor) -> Tensor:
        """`values` `[C]`, one of its own attributes, in a form that broadcasts over x `[N, C, ...]`."""
        return along_maps(values, x)

    def activated(self, x: Tensor) -> Tensor:
        """x as far as it passes: what lies beneath the edge of its map is put on the edge."""
        edge = along_maps(self.edge, x)
        if self.rising:
            return torch.maximum(x, edge)
        sign = along_maps(self.sign, x)
        return torch.where(sign * x > sign * edge, x, edge)

    def _keep_rounded(self, s: Tensor) -> Tensor:
        scale, t = _scale(s), along_maps(self.threshold, s)
        if self.pool is None:
            return torch.gt(s, _half_a_step_above(t, scale))
        q, t = torch.round(s / scale), _rounded(t, scale)
        return self._passes_pool(q, t)

    def _passes_pool(self, s: Tensor, t: Tensor) -> Tensor:
        """Elements that are the greatest of a window, the first of equal ones, and above t."""
        assert self.pool is not None
        pool, axes = self.pool, len(self.pool.kernel)
        greatest, index = _POOLS[axes](s, pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        passed = torch.le(greatest, t).logical_not_()
        plane = math.prod(s.shape[-axes:])
        starts = torch.arange(0, s.numel(), plane, device=s.device).reshape(*s.shape[:-axes], *[1] * axes)
        keep = torch.zeros(s.numel(), dtype=torch.bool, device=s.device)
        keep[(index + starts)[passed]] = True
        return keep.reshape(s.shape)


def along_maps(values: Tensor, x: Tensor) -> Tensor:
    """`values` `[C]` in a form that broadcasts along axis 1 of x."""
    return values.reshape(1, -1, *[1] * (x.dim() - 2))


def _scale(s: Tensor) -> Tensor:
    """`[N, 1, ...]` the step of s in 8 bits."""
    # Along an axis it takes many times as long.
    ends = [torch.aminmax(one) for one in s]
    scale = (torch.stack([torch.maximum(-low, high) for low, high in ends]) / 127).clamp_min_(torch.finfo(s.dtype).tiny)
    return scale.reshape(-1, *[1] * (s.dim() - 1))


def _half_a_step_above(t: Tensor, scale: Tensor) -> Tensor:
    """Numbers above it round to more than t does."""
    return (_rounded(t, scale) + 0.5) * scale


def _rounded(t: Tensor, scale: Tensor) -> Tensor:
    """Thresholds in steps; far off where they are infinite."""
    return torch.round((t / scale).clamp(-1e6, 1e6))


def first_of_windows(pool: Pool) -> tuple[Any, ...]:
    """The index of the first element of each window, where they lie side by side."""
    return (..., *(slice(None, None, k) for k in pool.kernel))


def _greatest_of_tiles(x: NDArray[Any], kernel: tuple[int, ...]) -> NDArray[Any]:
    """A max-pooling of windows that lie side by side."""
    for k, size in enumerate(kernel):
        rest: tuple[Any, ...] = (slice(None),) * (len(kernel) - 1 - k)
        places: list[tuple[Any, ...]] = [(..., slice(j, None, size), *rest) for j in range(size)]
        x = functools.reduce(np.maximum, [x[place] for place in places])
    return x


_POOLS: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices,
}  # fmt: skip
