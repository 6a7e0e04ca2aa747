"""Other users of a link: who is there, how fast each could be served, and how much each wants.

Ding et al. (HiveMind's [48], "Measurement-driven capability modeling for mobile network in large-scale urban
environment", MASS 2016) find connection density and user experienced data rate of 9,000 base stations to be
log-normal. Here a link's users come and go around a mean number, and their bit rates are log-normal.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from airloom.radio.cell.streams import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airloom.core.scenario import Background

    Floats = NDArray[np.float64]


def daily(background: Background, hour: float) -> float:
    """Users at this hour of the day over those at the peak."""
    turn = 2.0 * math.pi * (hour - background.peak_hour) / 24.0
    return 1.0 - 0.5 * background.trough * (1.0 - math.cos(turn))


class Coming(NamedTuple):
    """Somebody takes a place of a link, or leaves it.

    Attributes:
        alone: what they would get with the link to themselves; 0 where they leave.
        mean_bps: what they want on average.
    """

    at_s: float
    place: int
    alone: float
    mean_bps: float


class Crowd:
    """The other users of one link in one direction: who comes and who goes, in order of time.

    Args:
        scale: of the load: the mean number of users and their bit rates are both this much larger.
        alone: draws what a newcomer would get with the link to itself.
        start_hour: of the day at `start_s`, when the mean number of them is there already.

    Attributes:
        places: how many there are to come and go; each is there for `presence` of the time.
    """

    def __init__(
        self,
        background: Background,
        *,
        seed: int,
        name: str,
        scale: float,
        alone: Callable[[np.random.Generator], float],
        start_s: float = 0.0,
        start_hour: float = 12.0,
    ) -> None:
        self.background, self.name, self._scale, self._alone = background, name, scale, alone
        users = background.users * scale
        self.places = math.ceil(users / background.presence - 1e-9)
        self._presence = users / self.places if self.places else 0.0
        self._draws = stream(seed, "users", name)
        self._start_s, self._start_hour = start_s, start_hour
        self._first: list[Coming] = []
        #: (second, place, whether somebody comes there then), a heap.
        self._next: list[tuple[float, int, bool]] = []
        for place in range(self.places):
            if self._draws.random() < self._there(start_s):
                self._first.append(self._come(start_s, place))
            else:
                heapq.heappush(self._next, (start_s + self._away_s(start_s), place, True))

    def until(self, at_s: float) -> list[Coming]:
        """Who came or went since the last call, up to `at_s`; the first call also says who is there from the start."""
        found, self._first = self._first, []
        while self._next and self._next[0][0] <= at_s:
            now_s, place, comes = heapq.heappop(self._next)
            if comes:
                found.append(self._come(now_s, place))
            else:
                found.append(Coming(now_s, place, 0.0, 0.0))
                heapq.heappush(self._next, (now_s + self._away_s(now_s), place, True))
        return found

    def _there(self, at_s: float) -> float:
        """Share of the time that each is there."""
        return self._presence * daily(self.background, self._start_hour + (at_s - self._start_s) / 3600.0)

    def _away_s(self, at_s: float) -> float:
        there = self._there(at_s)
        mean_s = self.background.stay_s * (1.0 - there) / max(there, 1e-6)
        return float(self._draws.exponential(1.0)) * mean_s

    def _come(self, at_s: float, place: int) -> Coming:
        spread = self.background.rate_spread
        mean_bps = self.background.rate_bps * self._scale
        mean_bps *= math.exp(spread * float(self._draws.standard_normal()) - 0.5 * spread * spread)
        stay_s = float(self._draws.exponential(self.background.stay_s))
        heapq.heappush(self._next, (at_s + stay_s, place, False))
        return Coming(at_s, place, self._alone(self._draws), mean_bps)


class Swings:
    """How demand moves around each user's mean: log-normal with mean 1, autoregressive, all links at once."""

    def __init__(self, crowds: Sequence[Crowd], *, seed: int, tick_s: float) -> None:
        self._crowds = crowds
        self._streams = [stream(seed, "demand", crowd.name) for crowd in crowds]
        self._most = max((crowd.places for crowd in crowds), default=0)
        self._swing = np.array([crowd.background.swing for crowd in crowds])[:, None]
        times = (crowd.background.swing_s for crowd in crowds)
        memory = np.array([math.exp(-tick_s / t) if t > 0.0 else 0.0 for t in times])[:, None]
        self._memory, self._fresh = memory, np.sqrt(1.0 - memory**2)
        self._now = self._normals(1)[0]

    def play(self, ticks: int) -> Floats:
        """[ticks, links, most places] factors of the ticks that follow."""
        if not self._swing.any():
            return np.ones((ticks, *self._now.shape))
        found = self._normals(ticks)
        found *= self._fresh
        for t in range(ticks):
            found[t] += self._memory * self._now
            self._now = found[t]
        return np.asarray(np.exp(self._swing * (found - 0.5 * self._swing)), dtype=np.float64)

    def _normals(self, ticks: int) -> Floats:
        out = np.zeros((ticks, len(self._streams), self._most))
        for link, (draws, crowd) in enumerate(zip(self._streams, self._crowds, strict=True)):
            out[:, link, : crowd.places] = draws.standard_normal((ticks, crowd.places))
        return out
