"""What a cut need not carry: elements that the activation and the pooling behind it drop anyway.

NeuroMessenger (Sec. V-B, Fig. 13) runs a small branch next to the sender, the first activation and
max-pooling that follow the split in int8, and leaves out what does not come through. Here the
branch is read off the graph, and reduced to what decides: the operators before the pooling are
monotone in every feature map, so an element passes if it lies beyond a threshold of its map, and it
is the greatest of its window if it was so before them. The thresholds are found by bisection with
the stage's own operators, so in float the mask is exact: with a refill value in place of every
element that was left out, the model gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from airloom.nn.captured import Captured
from airloom.nn.chain import Pool, Step, lower_bound, read_chain
from airloom.nn.program import DTYPES

# Bits of a number as an integer of the same width.
_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
# Thresholds are looked for on at most so many elements of a sample: operators treat all places alike.
_MAX_PROBE = 1 << 15

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
    """

    tensor: int
    sign: Tensor
    threshold: Tensor
    refill: Tensor
    pool: Pool | None = None
    small: Small = "none"
    odd_infinities: bool = False

    @functools.cached_property
    def rising(self) -> bool:
        """Whether every feature map goes up."""
        return bool((self.sign > 0).all())

    @functools.cached_property
    def edge(self) -> Tensor:
        """`[C]` the value of each map at which elements begin to pass; its refill where there is none."""
        edge = self.sign * self.threshold
        return torch.where(edge.isfinite(), edge, self.refill)

    def keep(self, x: Tensor, precision: Literal["exact", "int8"] = "exact") -> Tensor:
        """The mask of what to send, bool, of the shape of x `[N, C, ...]`; any N.

        Args:
            precision: `exact`: what is left out does not change a bit of the model's output. `int8`: the
                branch sees x rounded to 8 bits (one scale for all of x), as the paper's does: it
                drops what lies within half a step of the threshold, and of the nearly equal
                elements of a window it keeps the first.
        """
        s = x if self.rising else x * _along_maps(self.sign, x)
        if precision == "int8":
            return self._keep_rounded(s)
        t = _along_maps(self.threshold, x)
        if self.pool is None:
            keep = torch.le(s, t).logical_not_()  # NaN passes
        else:
            keep = self._passes_pool(s, t)
            if bool(torch.isnan(s.amax())):
                keep |= torch.isnan(s)
        if self.small != "none":
            small = x.abs() <= torch.finfo(x.dtype).tiny
            if self.small == "not zero":
                small &= x.contiguous().view(_BITS[x.dtype]) != 0
            keep |= small
        if self.odd_infinities:
            keep |= torch.isinf(x)
        return keep

    def refilled(self, x: Tensor, keep: Tensor) -> Tensor:
        """x with the refill value of its map wherever `keep` is False."""
        return torch.where(keep, x, _along_maps(self.refill, x))

    def along(self, values: Tensor, x: Tensor) -> Tensor:
        """`values` `[C]`, one of its own attributes, in a form that broadcasts over x `[N, C, ...]`."""
        return _along_maps(values, x)

    def activated(self, x: Tensor) -> Tensor:
        """x as far as it passes: what lies beneath the edge of its map is put on the edge."""
        edge = _along_maps(self.edge, x)
        if self.rising:
            return torch.maximum(x, edge)
        sign = _along_maps(self.sign, x)
        return torch.where(sign * x > sign * edge, x, edge)

    def _keep_rounded(self, s: Tensor) -> Tensor:
        flat = s.flatten(1)
        scale = (flat.abs().amax(1) / 127).clamp_min_(torch.finfo(s.dtype).tiny)
        scale = scale.reshape(-1, *[1] * (s.dim() - 1))
        q = torch.round(s / scale)
        t = torch.round((_along_maps(self.threshold, s) / scale).clamp(-1e6, 1e6))
        return torch.gt(q, t) if self.pool is None else self._passes_pool(q, t, first=True)

    def _passes_pool(self, s: Tensor, t: Tensor, *, first: bool = False) -> Tensor:
        """Elements that are the greatest of a window and above t; all of the equal ones, or the `first`."""
        assert self.pool is not None
        pool, axes = self.pool, len(self.pool.kernel)
        tiled = pool.tiles(tuple(s.shape[-axes:]))
        exact = s.dtype in (torch.float32, torch.float64) if first else s.dtype != torch.bfloat16
        if tiled and axes == 2 and s.device.type == "cpu" and exact:
            return _passes_tiles(*(_first_ahead(s, t, pool) if first else (s, t)), pool)
        greatest, index = _POOLS[axes](s, pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        passed = torch.le(greatest, t).logical_not_()
        plane = math.prod(s.shape[-axes:])
        starts = torch.arange(0, s.numel(), plane, device=s.device).reshape(*s.shape[:-axes], *[1] * axes)
        keep = torch.zeros(s.numel(), dtype=torch.bool, device=s.device)
        keep[(index + starts)[passed]] = True
        return keep.reshape(s.shape)


def find_branch(captured: Captured, cut: int, tensor: int) -> Branch | None:
    """The branch behind `cut` on `tensor`, a member of its live set; None where all of it may matter.

    A tensor with several readers (a residual block's) is pruned only of what an activation before
    the cut left at its least value; so is one that is read by anything else than a chain of
    operators on single feature maps.
    """
    graph = captured.graph
    spec = graph.tensors[tensor]
    if graph.mode != "eval" or len(spec.shape) < 2 or DTYPES[spec.dtype] not in _BITS or not math.prod(spec.shape):
        return None
    least = lower_bound(captured, tensor)
    steps = _usable(read_chain(captured, cut, tensor))
    probe = _Probe(steps, spec.shape, DTYPES[spec.dtype], least)
    if not probe.drops:
        if least is None:
            return None
        probe = _Probe([], spec.shape, DTYPES[spec.dtype], least)
    return probe.branch(tensor)


def _usable(steps: list[Step]) -> list[Step]:
    """The steps up to the second pooling, or to the first that turns round what the pooling gave."""
    usable: list[Step] = []
    pooled = False
    for step in steps:
        if step.pool is not None:
            if pooled or not all(s.strict for s in usable):
                break
            pooled = True
        elif pooled and not (step.strict and bool((step.sign > 0).all())):
            break
        usable.append(step)
    return usable


class _Probe:
    """Asks the operators of a chain, poolings left out, where each feature map begins to pass.

    Every question is put to all places of a sample at once: should an operator round differently
    at some places (the tail of a vector), the cautious answer counts.
    """

    def __init__(self, steps: list[Step], shape: tuple[int, ...], dtype: torch.dtype, least: float | None) -> None:
        self.functions = [step.function for step in steps if step.function is not None]
        self.pool = next((step.pool for step in steps if step.pool is not None), None)
        maps, inner = shape[1], list(shape[2:])
        while inner and maps * math.prod(inner) > _MAX_PROBE and max(inner) > 1:
            inner[inner.index(max(inner))] //= 2
        self.shape, self.dtype, self.bounded = (1, maps, *inner), dtype, least is not None
        sign = torch.ones(maps)
        for step in steps:
            sign = sign * step.sign
        self.sign = sign.to(dtype)
        infinity = torch.full((maps,), math.inf, dtype=dtype)
        ends = self._after(infinity), self._after(-infinity)
        self.odd_infinities = any(bool(end.isnan().any()) for end in ends)
        if self.pool is None:
            # Nothing has to be the greatest: the end at which a map stays constant counts, whichever it is.
            high, low = (end.isfinite().all(0) for end in (self._at(infinity), self._at(-infinity)))
            self.sign = torch.where(high & ~low, -self.sign, self.sign)
        self.low = torch.where(self.sign > 0, least, -infinity) if least is not None else -infinity
        odd = self._at(self.low).isnan().any(0)
        self.low = torch.where(odd, torch.finfo(dtype).min, self.low)
        self.bottom = self._at(self.low)

    @property
    def drops(self) -> bool:
        """Whether anything is left out: by a pooling, or in a map that stays constant up to some value."""
        constant = self.bottom.isfinite().all(0)
        return self.pool is not None or bool(constant.any() and (self.functions or self.bounded))

    def branch(self, tensor: int) -> Branch:
        """What the answers add up to."""
        threshold = self._threshold()
        zeros = torch.zeros_like(threshold)
        beyond = threshold - threshold.abs().clamp_min(1.0)
        refill = torch.where(self._passes(self._placed(beyond)), self._placed(self.low), self._placed(beyond))
        refill = torch.where(self._passes(zeros) | (threshold == -math.inf), refill, zeros)
        refill = torch.where(beyond.isfinite() | (threshold == math.inf), refill, self._placed(self.low))
        if self.bounded:
            refill = torch.where(self.sign > 0, self.low, refill)
        tiny = [torch.finfo(self.dtype).tiny * 2.0**-k for k in (0, 8, 16, 23)]
        small: Small = "none"
        if self._lost(zeros, threshold):
            small = "all"
        elif any(self._lost(zeros + x, threshold) for t in (0.0, *tiny) for x in (t, -t)):
            small = "not zero"
        return Branch(tensor, self.sign, threshold, refill, self.pool, small, self.odd_infinities)

    def _threshold(self) -> Tensor:
        """`[C]` the greatest s of each map that comes out as the lowest does; +inf where all do."""
        low, high = _key(self.low), _key(torch.full_like(self.low, torch.finfo(self.dtype).max))
        constant = ~self._passes(self._placed(_number(high, self.dtype)))
        while bool((high - low > 1).any()):
            middle = (low + high) // 2
            passes = self._passes(self._placed(_number(middle, self.dtype)))
            low, high = torch.where(passes, low, middle), torch.where(passes, middle, high)
        return torch.where(constant, math.inf, _number(low, self.dtype))

    def _placed(self, s: Tensor) -> Tensor:
        """The x `[C]` whose s it is; where a map does not depend on x, any."""
        return torch.where(self.sign == 0, s, self.sign * s)

    def _at(self, s: Tensor) -> Tensor:
        return self._after(self._placed(s))

    def _after(self, x: Tensor) -> Tensor:
        """What the operators make of maps that hold x `[C]` everywhere: `[places, C]`."""
        out = _along_maps(x, torch.empty(self.shape, device="meta")).expand(self.shape).contiguous()
        for function in self.functions:
            out = function(out)
        return out[0].flatten(1).T if out.dim() > 2 else out

    def _passes(self, x: Tensor) -> Tensor:
        """`[C]` whether x comes out as anything but the lowest, bit for bit, at any place."""
        bits = _BITS[self.dtype]
        return (self._after(x).contiguous().view(bits) != self.bottom.contiguous().view(bits)).any(0)

    def _lost(self, x: Tensor, threshold: Tensor) -> bool:
        """Whether x would be left out in some map although it comes out as something else."""
        return bool((self._passes(x) & torch.le(self.sign * x, threshold)).any())


def _along_maps(values: Tensor, x: Tensor) -> Tensor:
    """`values` `[C]` in a form that broadcasts along axis 1 of x."""
    return values.reshape(1, -1, *[1] * (x.dim() - 2))


def _key(x: Tensor) -> Tensor:
    """Integers in the order of the numbers, next to each other where the numbers are; both zeros are 0."""
    bits = x.view(_BITS[x.dtype]).to(torch.int64)
    return torch.where(bits >= 0, bits, torch.iinfo(_BITS[x.dtype]).min - bits)


def _number(key: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `_key`."""
    bits = torch.where(key >= 0, key, torch.iinfo(_BITS[dtype]).min - key)
    return bits.to(_BITS[dtype]).view(dtype)


def _first_ahead(s: Tensor, t: Tensor, pool: Pool) -> tuple[Tensor, Tensor]:
    """Of whole numbers s and thresholds t such that of the equal elements of a window the first is the greatest."""
    (down, across), (height, width) = pool.kernel, s.shape[-2:]
    ahead = torch.arange(down * across - 1, -1, -1, dtype=s.dtype, device=s.device).reshape(down, across)
    tiled = ahead.repeat(height // down, width // across)
    return torch.add(tiled, s, alpha=down * across), t * (down * across) + (down * across - 1)


def _passes_tiles(s: Tensor, t: Tensor, pool: Pool) -> Tensor:
    """`Branch._passes_pool` for windows of a picture that lie side by side; numpy is quicker at one sample."""
    (down, across), (height, width) = pool.kernel, s.shape[-2:]
    tiles = s.contiguous().numpy().reshape(*s.shape[:-2], height // down, down, width)
    rows = functools.reduce(np.maximum, [tiles[..., k, :] for k in range(down)])
    greatest = functools.reduce(np.maximum, [rows[..., k::across] for k in range(across)])
    greatest = np.where(greatest <= t.numpy(), math.nan, greatest).astype(greatest.dtype, copy=False)  # equal to none
    spread = np.empty_like(rows)
    for k in range(across):
        spread[..., k::across] = greatest
    return torch.from_numpy(tiles == spread[..., None, :]).reshape(s.shape)


_POOLS: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices,
}  # fmt: skip
