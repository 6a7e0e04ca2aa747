"""Orders in which the elements of a tensor go to blocks, so that a lost block does not tear one hole.

An order is an array `order` of n positions: element k of the stream is element `order[k]` of the tensor as it
lies. Blocks are runs of the stream, so what is near in the order is lost together. Nothing travels with the data:
both ends make the order from the shape and a seed. Two kinds:

- `random_order`: a seeded permutation (Sec. V-A of NeuroMessenger).
- `structured_order`: neighbours in space and feature map are far apart in the stream, so they lie in different
  blocks, and what surrounds a lost element survives to stand in for it.

Both are the same on every machine and numpy version: they are stable sorts by keys of 32 bits, and the keys are
integer arithmetic or the raw stream of PCG64, which numpy keeps as it is (NEP 19).
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]

_CACHE_NBYTES = 64 << 20
_MASK = 0xFFFFFFFF

# Steps of the key along x, y and the feature map, in 2**-32 of a turn: 0.531773, 0.20018, 0.60911. Found by search for
# three things at once: how far apart an element and its neighbours are (0.2, and 5 colours are the most that a turn can
# give them), any two elements of a 3x3 window (0.063) and of a 3x3x2 one across maps (0.059), and what is farther off.
_STEPS = (0x8822467C, 0x333EFF19, 0x9BEEA20A)


def random_order(n: int, seed: int = 0) -> Order:
    """A seeded permutation of `n` elements: those sorted by 32 random bits each, ties as they lie. Read-only."""
    if n < 0:
        raise ValueError(f"an order of {n} elements")
    return _kept(("random", n, seed), lambda: _sorted_by(_random_keys(n, seed)))


def structured_order(shape: Sequence[int], seed: int = 0) -> Order:
    """An order in which neighbours are far apart, around the end of the stream as well. Read-only.

    Elements go by the fraction of a x + b y + d c, a lattice: the step between two places of a tensor alone says how
    far apart they are in the stream. Of n elements,

    - an element, its 8 neighbours in space and its 2 in feature map are at least n/6 apart (n/13 where n < 128), so
      they lie in different blocks wherever no block holds more than that, wherever blocks begin;
    - any two elements of a 3x3 window are at least n/28 apart where n >= 512, about n/16 where n is large: the
      neighbours of a lost element lie in blocks of their own, and some survive unless all those blocks are lost.

    With fewer blocks than that some neighbours share one: the order is then as good as it can.

    Args:
        shape: [..., C, H, W]; [H, W] and [W] too. Axes before the last two count as feature maps.
        seed: turns the order (which element comes first), no more.
    """
    dims = tuple(int(d) for d in shape)
    if any(d < 0 for d in dims):
        raise ValueError(f"an order of the shape {list(dims)}")
    maps, height, width = math.prod(dims[:-2]), *((1, 1, *dims)[-2:])
    return _kept(
        ("structured", maps, height, width, seed), lambda: _sorted_by(_lattice_keys(maps, height, width, seed))
    )


def restore(stream: NDArray[Any], order: Order) -> NDArray[Any]:
    """The elements as they lay: the inverse of `tensor.ravel()[order]`."""
    out = np.empty_like(stream)
    out[order] = stream
    return out


def _random_keys(n: int, seed: int) -> NDArray[np.uint32]:
    words: NDArray[np.uint64] = np.random.PCG64(seed).random_raw((n + 1) // 2)
    halves = words.astype("<u8", copy=False).view(np.dtype("<u4"))
    return halves[:n]


def _lattice_keys(maps: int, height: int, width: int, seed: int) -> NDArray[np.uint32]:
    turn = int(np.random.PCG64(seed).random_raw()) & _MASK if seed else 0
    x, y, c = (np.arange(n, dtype=np.uint32) * np.uint32(k) for n, k in zip((width, height, maps), _STEPS, strict=True))
    keys: NDArray[np.uint32] = c[:, None, None] + np.uint32(turn) + y[:, None] + x
    return keys.ravel()


def _sorted_by(keys: NDArray[np.uint32]) -> Order:
    """A stable sort by 32 bits in two passes of 16, each of which numpy does by radix: O(n)."""
    order = np.argsort((keys & np.uint32(0xFFFF)).astype(np.uint16), kind="stable")
    high = (keys >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


class _Orders:
    """Orders made lately, within a bound on their bytes: hosts send the same few shapes over and over."""

    def __init__(self, nbytes: int) -> None:
        self._left = nbytes
        self._orders: OrderedDict[tuple[object, ...], Order] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...], make: Callable[[], Order]) -> Order:
        with self._lock:
            if key in self._orders:
                self._orders.move_to_end(key)
                return self._orders[key]
        order = make()
        order.flags.writeable = False
        with self._lock:
            if key not in self._orders:
                self._orders[key] = order
                self._left -= order.nbytes
            while self._left < 0:
                self._left += self._orders.popitem(last=False)[1].nbytes
        return order


_kept = _Orders(_CACHE_NBYTES).get
