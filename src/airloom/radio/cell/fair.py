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


#: A vessel's bottom adds one to those that fill, its lid takes one away.
_STEPS = np.array([1.0, -1.0])


class Surface(NamedTuple):
    """How water rises in rows of vessels.

    Attributes:
        edges: [R, 2N] bottoms and lids, ascending.
        growing: [R, 2N - 1] how many vessels fill between an edge and the next.
        poured: [R, 2N] what has been poured when the water stands at an edge.
    """

    edges: Floats
    growing: Floats
    poured: Floats


def surface(bottoms: Floats, heights: Floats) -> Surface:
    """How water rises in vessels [R, N], N at least 1, that begin at `bottoms` and hold `heights`."""
    rows, count = bottoms.shape
    edges = np.concatenate([bottoms, bottoms + heights], axis=1)
    order = edges.argsort(axis=1)
    edges = edges[np.arange(rows)[:, None], order]
    growing = _STEPS[(order >= count).view(np.int8)].cumsum(axis=1)[:, :-1]
    poured = np.zeros(edges.shape)
    ((edges[:, 1:] - edges[:, :-1]) * growing).cumsum(axis=1, out=poured[:, 1:])
    return Surface(edges, growing, poured)


def filled(bottoms: Floats, heights: Floats, volume: float = 1.0) -> Floats:
    """Water in each vessel when `volume` is poured over the vessels of each row.

    Args:
        bottoms: [R, N] height at which a vessel begins.
        heights: [R, N] how much it holds at most, from 0 (which holds nothing) to any finite number.

    Returns:
        [R, N]; a row sums to `volume`, or to the sum of its heights where that is less.
    """
    if not bottoms.size:
        return np.zeros_like(bottoms)
    return under(_level(surface(bottoms, heights), volume), bottoms, heights)


def under(level: Floats, bottoms: Floats, heights: Floats) -> Floats:
    """Water in vessels [R, N] where it stands at `level` [R]."""
    return np.asarray(np.minimum(np.maximum(level[:, None] - bottoms, 0.0), heights), dtype=np.float64)


def _level(found: Surface, volume: float) -> Floats:
    """[R] where the water stands; at the last lid where all vessels are full."""
    each = np.arange(len(found.edges))
    # The first edge by which enough has been poured, or the last one: all vessels are full there.
    stop = np.minimum((found.poured[:, 1:] < volume).sum(axis=1), found.growing.shape[1] - 1)
    rest = np.maximum(found.poured[each, stop + 1] - volume, 0.0)
    return np.asarray(found.edges[each, stop + 1] - rest / np.maximum(found.growing[each, stop], 1.0), dtype=np.float64)


def for_one_more(found: Surface, rows: Ints, bottom: Floats) -> Floats:
    """What a vessel that begins at `bottom[k]` and holds 1 would get if it stood in row `rows[k]` too. [K]

    The water of 1 is what the row has with it; the sorted row serves for all who might come.
    """
    edges, growing, poured = found.edges[rows], found.growing[rows], found.poured[rows]
    with_it = poured + np.clip(edges - bottom[:, None], 0.0, 1.0)
    passed = (with_it < 1.0).sum(axis=1)
    each = np.arange(len(rows))
    before = np.maximum(passed - 1, 0)
    start, had = edges[each, before], poured[each, before]
    slope = np.where(passed < edges.shape[1], growing[each, np.minimum(before, growing.shape[1] - 1)], 0.0)
    own = np.maximum(start - bottom, 0.0)
    # From the last edge that was passed on, others take `slope` of each unit, and it one more once it has begun.
    spare = 1.0 - had - own
    ahead = np.maximum(bottom - start, 0.0)
    share = own + np.maximum(spare - slope * ahead, 0.0) / (slope + 1.0)
    return np.asarray(np.where(passed == 0, 1.0, np.minimum(share, 1.0)), dtype=np.float64)


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
        # A tick is many steps on few numbers: they are written into the same arrays again and again.
        self._edges = np.empty((links, 2 * users))
        self._signs = np.tile(np.repeat(_STEPS, users), links)
        self._rows = np.arange(links)[:, None] * (2 * users)
        self._least = self._rows[:, 0]
        self._rows_before = np.arange(links)
        self._last = max(2 * users - 2, 0)

    def tick(self, tick: Tick) -> Floats:
        """What each user gets in this tick, bit/s. [R, N]

        As `filled` with the bottoms of the module's formula.
        """
        bottoms = self.average_bps * tick.inverse
        bottoms *= self._weight
        if not bottoms.size:
            return bottoms
        users = bottoms.shape[1]
        unsorted = self._edges
        unsorted[:, :users] = bottoms
        np.add(bottoms, tick.heights, out=unsorted[:, users:])
        order = unsorted.argsort(axis=1)
        order += self._rows
        edges = unsorted.ravel().take(order)
        growing = self._signs.take(order).cumsum(axis=1)
        poured = edges[:, 1:] - edges[:, :-1]
        poured *= growing[:, :-1]
        np.add.accumulate(poured, axis=1, out=poured)
        stop = np.minimum(np.add.reduce(poured < 1.0, axis=1), self._last)
        stop += self._least
        # `poured` has a column less: the first edge, at which there is nothing yet.
        rest = poured.ravel().take(stop - self._rows_before)
        rest -= 1.0
        np.maximum(rest, 0.0, out=rest)
        rest /= np.maximum(growing.ravel().take(stop), 1.0)
        level = edges.ravel().take(stop + 1)
        level -= rest
        got: Floats = level[:, None] - bottoms
        np.maximum(got, 0.0, out=got)
        np.minimum(got, tick.heights, out=got)
        got *= tick.rate_bps
        np.subtract(got, self.average_bps, out=bottoms)
        bottoms *= self.gain
        self.average_bps += bottoms
        return got

    def tick_with(self, tick: Tick, rows: Ints, users: Ints) -> Floats:
        """As `tick`; user `users[k]` of link `rows[k]` wants nothing and is told what it would get if it did.

        Its average stays as it is. That is for each of them alone, beside those that want something.
        """
        bottoms = self.average_bps * tick.inverse
        bottoms *= self._weight
        found = surface(bottoms, tick.heights)
        got = under(_level(found, 1.0), bottoms, tick.heights)
        got *= tick.rate_bps
        kept = self.average_bps[rows, users]
        self.average_bps += self.gain * (got - self.average_bps)
        self.average_bps[rows, users] = kept
        got[rows, users] = for_one_more(found, rows, bottoms[rows, users]) * tick.rate_bps[rows, users]
        return got


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
