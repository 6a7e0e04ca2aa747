"""Proportional fair scheduling of many shared links at once.

R. Kwan, C. Leung and J. Zhang, "Proportional fair multiuser scheduling in LTE", IEEE Signal Processing
Letters 16 (2009): each resource goes to the user with the largest ratio of the rate it would have to the
average rate it has had, the average being exponential with a time constant. Within a tick, over which
rates hold still, resources are many and small (slots and resource blocks), so that rule comes to a limit
that can be written down: shares x that maximise sum of log of the averages after the tick,

    x_i = clip(level - w * A_i / r_i, 0, d_i / r_i),   w = (1 - g) / g,   g = 1 - exp(-tick / time constant),

with r_i the rate of user i alone on the link, A_i its average, d_i its demand, and one `level` for which
all shares sum to 1, or all demands are met. That is filling water into vessels with bottoms and lids; it is
solved exactly, for all links at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def filled(bottoms: Floats, heights: Floats, volume: float = 1.0) -> Floats:
    """Water in each vessel when `volume` is poured over the vessels of each row.

    Args:
        bottoms: [R, N] height at which a vessel begins.
        heights: [R, N] how much it holds at most, from 0 (which holds nothing) to any finite number.

    Returns:
        [R, N]; a row sums to `volume`, or to the sum of its heights where that is less.
    """
    rows, count = bottoms.shape
    if not count:
        return np.zeros_like(bottoms)
    edges = np.concatenate([bottoms, bottoms + heights], axis=1)
    order = edges.argsort(axis=1)
    each = np.arange(rows)
    edges = edges[each[:, None], order]
    # Between two edges the surface grows by one for each vessel that has begun and is not full.
    growing = _STEPS[(order >= count).view(np.int8)].cumsum(axis=1)
    poured = ((edges[:, 1:] - edges[:, :-1]) * growing[:, :-1]).cumsum(axis=1)
    # The first edge by which enough has been poured, or the last one: all vessels are full there.
    stop = np.minimum((poured < volume).sum(axis=1), 2 * count - 2)
    rest = np.maximum(poured[each, stop] - volume, 0.0)
    level = edges[each, stop + 1] - rest / np.maximum(growing[each, stop], 1.0)
    return np.asarray(np.minimum(np.maximum(level[:, None] - bottoms, 0.0), heights), dtype=np.float64)


#: A vessel's bottom adds one to those that fill, its lid takes one away.
_STEPS = np.array([1.0, -1.0])


class FairScheduler:
    """Shares of the users of `links` links, tick after tick, with the averages that the rule remembers.

    A user is a place in a row; a place that is empty has no rate.

    Attributes:
        average_bps: [R, N] exponential average of what each user got.
        gain: g of the module's formula.
    """

    def __init__(self, links: int, users: int, *, tick_s: float, fairness_s: float) -> None:
        self.average_bps = np.zeros((links, users))
        self.gain = 1.0 - math.exp(-tick_s / fairness_s)
        self._weight = (1.0 - self.gain) / self.gain

    def tick(self, tick: Tick, idle: NDArray[np.bool_] | None = None) -> Floats:
        """What each user gets in this tick, bit/s. [R, N]

        Args:
            idle: [R, N] users whose averages stay as they are: those with nothing to send.
        """
        bottoms = self.average_bps * tick.inverse
        bottoms *= self._weight
        got = filled(bottoms, tick.heights)
        got *= tick.rate_bps
        step = got - self.average_bps
        step *= self.gain
        if idle is not None:
            step[idle] = 0.0
        self.average_bps += step
        return got

    def offers(self, tick: Tick, rows: Ints, users: Ints) -> Floats:
        """What user `users[k]` of link `rows[k]` would get in this tick if it too always had more to send. [K]"""
        each = np.arange(len(rows))
        bottoms = self._weight * self.average_bps[rows] * tick.inverse[rows]
        heights = tick.heights[rows]
        heights[each, users] = 1.0
        return np.asarray(filled(bottoms, heights)[each, users] * tick.rate_bps[rows, users], dtype=np.float64)


class Tick(NamedTuple):
    """Users of links in one tick, [R, N]; or in many, [T, R, N].

    Attributes:
        rate_bps: of each user alone on its link; 0 where it cannot be reached.
        inverse: one over that; 0 where it is 0.
        heights: share of its link that a user's demand would fill, at most 1.
    """

    rate_bps: Floats
    inverse: Floats
    heights: Floats

    def at(self, tick: int) -> Tick:
        """One of many."""
        return Tick(self.rate_bps[tick], self.inverse[tick], self.heights[tick])


def vessels(rate_bps: Floats, demand_bps: Floats) -> Tick:
    """Users who would have `rate_bps` alone and want `demand_bps`, infinite for one that always has more to send."""
    inverse = np.divide(1.0, rate_bps, out=np.zeros_like(rate_bps), where=rate_bps > 0.0)
    return Tick(rate_bps, inverse, np.minimum(demand_bps, rate_bps) * inverse)
