"""Links that target UEs share with others: who gets how much, tick by tick, for many links at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from airloom.radio.cell.crowd import Crowd, Swings
from airloom.radio.cell.fair import FairScheduler, vessels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


#: Ticks that are played at once.
BLOCK = 64
#: Part of a link that a UE has at least: a scheduler does not starve one for a whole tick, as frequencies
#: fade differently for each and some always suit it.
LEAST_SHARE = 0.01


class Wants(NamedTuple):
    """What target UEs would have of rows of links in `BLOCK` ticks, as of `SharedRows.play`."""

    target_bps: Floats
    link: Floats
    active: NDArray[np.bool_] | None = None


class Rows(Protocol):
    """Links of one kind.

    Attributes:
        crowds: other users of each.
        targets: UEs that one may have.
    """

    crowds: list[Crowd]
    targets: int

    def wants(self, tick: int) -> Wants:
        """Of `BLOCK` ticks from `tick` on."""
        ...

    def rates(self, got: Floats) -> Floats:
        """[T, ...] bit/s of links, in the network's order, from what the rows' targets got."""
        ...


class SharedRows:
    """Rows of one coherence time: each a link with its other users first and `targets` places for target UEs.

    Args:
        tick_s: how long a rate holds.
        fairness_s: time constant of the schedulers' averages.
    """

    def __init__(self, crowds: Sequence[Crowd], *, targets: int, seed: int, tick_s: float, fairness_s: float) -> None:
        self._crowds, self._targets, self._tick_s = crowds, targets, tick_s
        self._others = max((crowd.places for crowd in crowds), default=0)
        self._alone = np.zeros((len(crowds), self._others))
        self._means = np.zeros((len(crowds), self._others))
        self._present = np.zeros((len(crowds), targets), dtype=bool)
        self._swings = Swings(crowds, seed=seed, tick_s=tick_s)
        self._scheduler = FairScheduler(
            len(crowds), self._others + targets, tick_s=tick_s, fairness_s=fairness_s
        )  # fmt: skip

    def play(self, tick: int, target_bps: Floats, link: Floats, active: NDArray[np.bool_] | None = None) -> Floats:
        """What each target UE may have in the `BLOCK` ticks from `tick` on, bit/s. [T, R, targets]

        Args:
            target_bps: [T, R, targets] what each would have with the link to itself; 0 where it is not there.
            link: [T, R] what others' `alone` is a multiple of.
            active: [T, R, targets] whether it has something to send; None is all that are there. The others
                take nothing and are told what they would get if they were the next to begin.
        """
        ticks = len(target_bps)
        alone, means, starts = self._others_in(tick, ticks)
        rates = np.concatenate([alone * link[:, :, None], target_bps], axis=2)
        demand = np.full(rates.shape, np.inf)
        np.multiply(means, self._swings.play(ticks), out=demand[:, :, : self._others])
        self._arrivals(target_bps, rates, starts)
        if active is not None:
            demand[:, :, self._others :][~active] = 0.0
        block = vessels(rates, demand)
        out = np.empty(target_bps.shape)
        averages = self._scheduler.average_bps
        for t in range(ticks):
            for row, user, share in starts.get(t, ()):
                averages[row, user] = min(share, float(demand[t, row, user]))
            if active is None:
                got = self._scheduler.tick(block.at(t))
            else:
                rows, users = np.nonzero((target_bps[t] > 0.0) & ~active[t])
                got = self._scheduler.tick_with(block.at(t), rows, users + self._others)
            out[t] = got[:, self._others :]
        return np.maximum(out, LEAST_SHARE * target_bps)

    def _others_in(self, tick: int, ticks: int) -> tuple[Floats, Floats, dict[int, list[tuple[int, int, float]]]]:
        """[T, R, others] rate alone and mean demand, and (row, place, average to begin with) by tick."""
        alone = np.repeat(self._alone[None], ticks, axis=0)
        means = np.repeat(self._means[None], ticks, axis=0)
        starts: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        last_s = (tick + ticks - 1) * self._tick_s
        for row, crowd in enumerate(self._crowds):
            for coming in crowd.until(last_s):
                t = max(math.ceil(coming.at_s / self._tick_s - 1e-9) - tick, 0)
                alone[t:, row, coming.place] = coming.alone
                means[t:, row, coming.place] = coming.mean_bps
                starts[t].append((row, coming.place, coming.mean_bps))
        self._alone, self._means = alone[-1].copy(), means[-1].copy()
        return alone, means, starts

    def _arrivals(self, target_bps: Floats, rates: Floats, starts: dict[int, list[tuple[int, int, float]]]) -> None:
        """A UE that arrives at a link begins with an average as if it had had an equal share of it."""
        present = target_bps > 0.0
        before = np.concatenate([self._present[None], present[:-1]])
        for t, row, user in zip(*np.nonzero(present & ~before), strict=True):
            users = np.count_nonzero(rates[t, row])
            starts[int(t)].append((int(row), int(user) + self._others, float(target_bps[t, row, user]) / users))
        self._present = present[-1]


class Together:
    """Links of several kinds with the same tick, stepped as one: a tick costs by the step more than by the link."""

    def __init__(self, kinds: Sequence[Rows], *, seed: int, tick_s: float, fairness_s: float) -> None:
        self._kinds = kinds
        self._targets = max(kind.targets for kind in kinds)
        crowds = [crowd for kind in kinds for crowd in kind.crowds]
        self._rows = SharedRows(crowds, targets=self._targets, seed=seed, tick_s=tick_s, fairness_s=fairness_s)

    def play(self, tick: int) -> Floats:
        """Bit/s of [T, links] in `BLOCK` ticks from `tick` on, the links of one kind after those of the other."""
        wants = [kind.wants(tick) for kind in self._kinds]
        if len(wants) == 1:
            got = [self._rows.play(tick, *wants[0])]
        else:
            stops = np.cumsum([each.target_bps.shape[1] for each in wants])
            targets = np.zeros((BLOCK, stops[-1], self._targets))
            active = None
            if any(each.active is not None for each in wants):
                active = np.ones(targets.shape, dtype=bool)
            for each, stop in zip(wants, stops.tolist(), strict=True):
                _, rows, users = each.target_bps.shape
                targets[:, stop - rows : stop, :users] = each.target_bps
                if active is not None and each.active is not None:
                    active[:, stop - rows : stop, :users] = each.active
            whole = self._rows.play(tick, targets, np.concatenate([each.link for each in wants], axis=1), active)
            parts = np.split(whole, stops[:-1], axis=1)
            got = [part[:, :, : kind.targets] for part, kind in zip(parts, self._kinds, strict=True)]
        rates = [kind.rates(part).reshape(BLOCK, -1) for kind, part in zip(self._kinds, got, strict=True)]
        return np.concatenate(rates, axis=1)
