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

import math

import torch
from torch import Tensor

from airloom.nn.branch import BITS, Branch, Small, along_maps, first_of_windows
from airloom.nn.captured import Captured
from airloom.nn.chain import Step, lower_bound, read_chain
from airloom.nn.program import DTYPES

# Thresholds are looked for on at most so many elements of a sample: operators treat all places alike.
_MAX_PROBE = 1 << 15


def find_branch(captured: Captured, cut: int, tensor: int) -> Branch | None:
    """The branch behind `cut` on `tensor`, a member of its live set; None where all of it may matter.

    A tensor with several readers (a residual block's) is pruned only of what an activation before
    the cut left at its least value; so is one that is read by anything else than a chain of
    operators on single feature maps.
    """
    graph = captured.graph
    spec = graph.tensors[tensor]
    if graph.mode != "eval" or len(spec.shape) < 2 or DTYPES[spec.dtype] not in BITS or not math.prod(spec.shape):
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
        self.inner = shape[len(shape) - len(self.pool.kernel) :] if self.pool is not None else ()
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
        by_window = self._by_window(threshold, small)
        return Branch(tensor, self.sign, threshold, refill, self.pool, small, self.odd_infinities, by_window)

    def _by_window(self, threshold: Tensor, small: Small) -> bool:
        """Whether one number says all of a window: nothing that passes compares equal to what is left out, and
        where zeros of both signs are left the pooling takes the first."""
        if self.pool is None or not self.pool.tiles(self.inner) or self.dtype == torch.bfloat16:  # numpy has none
            return False
        above = _number(_key(threshold) + 1, self.dtype)
        if not bool((self._at(above) > self.bottom)[:, threshold.isfinite()].all()):
            return False
        zeros = torch.zeros_like(threshold)
        told_apart = (self._after(zeros).signbit() != self._after(-zeros).signbit()).any(0)
        if bool((told_apart & (threshold < 0)).any()):
            return False  # both pass, and one equals the other
        if small == "none":
            return True
        shape = (1, 1, *self.inner)
        signs = torch.zeros(shape, dtype=self.dtype)
        signs[first_of_windows(self.pool)] = -0.0
        taken, other = (self.pool.greatest(x).signbit() for x in (signs, -signs))
        return bool(taken.all()) and not bool(other.any())

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
        out = along_maps(x, torch.empty(self.shape, device="meta")).expand(self.shape).contiguous()
        for function in self.functions:
            out = function(out)
        return out[0].flatten(1).T if out.dim() > 2 else out

    def _passes(self, x: Tensor) -> Tensor:
        """`[C]` whether x comes out as anything but the lowest, bit for bit, at any place."""
        bits = BITS[self.dtype]
        return (self._after(x).contiguous().view(bits) != self.bottom.contiguous().view(bits)).any(0)

    def _lost(self, x: Tensor, threshold: Tensor) -> bool:
        """Whether x would be left out in some map although it comes out as something else."""
        return bool((self._passes(x) & torch.le(self.sign * x, threshold)).any())


def _key(x: Tensor) -> Tensor:
    """Integers in the order of the numbers, next to each other where the numbers are; both zeros are 0."""
    bits = x.view(BITS[x.dtype]).to(torch.int64)
    return torch.where(bits >= 0, bits, torch.iinfo(BITS[x.dtype]).min - bits)


def _number(key: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `_key`."""
    bits = torch.where(key >= 0, key, torch.iinfo(BITS[dtype]).min - key)
    return bits.to(BITS[dtype]).view(dtype)
