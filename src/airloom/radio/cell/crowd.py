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
        places: how many users there can be at once: so many more than the mean that next to none is turned away.
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
        self._users = background.users * scale
        self.places = math.ceil(self._users + 5.0 * math.sqrt(self._users) + 4.0) if self._users else 0
        self._draws = stream(seed, "users", name)
        self._free = list(range(self.places - 1, -1, -1))
        self._leaves: list[tuple[float, int]] = []
        self._start_s, self._start_hour = start_s, start_hour
        self._comes_s = math.inf
        self._first: list[Coming] = []
        if self._users:
            for _ in range(self._draws.poisson(self._users * daily(background, start_hour))):
                self._first += self._come(start_s)
            self._comes_s = start_s + self._gap_s()

    def until(self, at_s: float) -> list[Coming]:
        """Who came or went since the last call, up to `at_s`; the first call also says who is there from the start."""
        found, self._first = self._first, []
        while True:
            leaves_s = self._leaves[0][0] if self._leaves else math.inf
            if min(leaves_s, self._comes_s) > at_s:
                return found
            if leaves_s <= self._comes_s:
                _, place = heapq.heappop(self._leaves)
                self._free.append(place)
                found.append(Coming(leaves_s, place, 0.0, 0.0))
                continue
            now_s = self._comes_s
            hour = self._start_hour + (now_s - self._start_s) / 3600.0
            # Thinning: they come as often as at the peak, and turn round as the hour asks.
            if self._draws.random() < daily(self.background, hour):
                found += self._come(now_s)
            self._comes_s = now_s + self._gap_s()

    def _gap_s(self) -> float:
        return float(self._draws.exponential(self.background.stay_s / self._users))

    def _come(self, at_s: float) -> list[Coming]:
        stay_s = float(self._draws.exponential(self.background.stay_s))
        spread = self.background.rate_spread
        mean_bps = self.background.rate_bps * self._scale
        mean_bps *= math.exp(spread * float(self._draws.standard_normal()) - 0.5 * spread * spread)
        alone = self._alone(self._draws)
        if not self._free:
            return []
        place = self._free.pop()
        heapq.heappush(self._leaves, (at_s + stay_s, place))
        return [Coming(at_s, place, alone, mean_bps)]


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
