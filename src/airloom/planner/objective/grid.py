"""The O(L) wave for several weightings of the metrics at once, and what its tables lead to.

Under a weighting the cost of an assignment is one number, and `planner.wave` finds the least. Here
that is done for S weightings in one pass of arrays `[S, L+1]`. The numbers that come out (the least
that is still to come from each host and cut) bound what any assignment through that host and cut can
reach, which is what the exact solver prunes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airloom.core.problem import Cuts, Floats
from airloom.planner.objective.vectors import VectorProblem
from airloom.planner.objective.windows import Windows


@dataclass(frozen=True)
class Leg:
    """A crossing in the grid's dimensions.

    Attributes:
        dst: the host it leads to.
        costs: `[K, D, L+1]`, 0 where barred.
        barred: `[K, 1, L+1]` infinity where a cut has no such way, else 0.
    """

    dst: int
    costs: Floats
    barred: Floats


@dataclass(frozen=True)
class Path:
    """An assignment found in the grid; `ways` are of its transfers."""

    stops: tuple[int, ...]
    ways: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """The least that is still to come, under each of S weightings.

    Attributes:
        weightings: `[S, D]`.
        elapsed: `[P, S, L+1]`.
        constant: `[P, S]`.
        legs: per host and leg, `[K, S, L+1]` of the hop alone.
        tails: per host, `[S, L+1]` from the moment it stops at a cut.
        costs: per host, `[S, L+1]` from the moment it is handed a cut.
    """

    weightings: Floats
    elapsed: Floats
    constant: Floats
    legs: list[list[Floats]]
    tails: list[Floats]
    costs: list[Floats]


class Grid:
    """A `VectorProblem` in D dimensions, each a weighted sum of its metrics.

    Attributes:
        elapsed: `[P, D, L+1]`.
        constant: `[P, D]`.
        legs: per host.
        windows: per host, the stops that fit in memory; None where all fit.
    """

    def __init__(self, problem: VectorProblem, mix: Floats) -> None:
        """`mix`: `[D, M]` what each dimension is made of."""
        self.relays = problem.relays
        self.hosts = problem.hosts
        self.last = problem.num_operators
        self.elapsed = mix @ np.stack(problem.elapsed)
        self.constant = np.stack(problem.constant) @ mix.T
        self.legs: list[list[Leg]] = []
        for crossings in problem.crossings:
            legs = []
            for crossing in crossings:
                barred = np.isinf(crossing.costs[:, :1, :])
                legs.append(
                    Leg(crossing.dst, mix @ np.where(barred, 0.0, crossing.costs), np.where(barred, np.inf, 0.0))
                )
            self.legs.append(legs)
        self.windows = [Windows(host.last_stop) if host.is_limited else None for host in self.hosts]
        self._every = np.arange(self.last + 1)

    def fold(self, weightings: Floats) -> Fold:
        """The wave under each row of `weightings`, `[S, D]`."""
        count = len(weightings)
        elapsed: Floats = weightings @ self.elapsed
        constant: Floats = self.constant @ weightings.T
        legs: list[list[Floats]] = []
        tails: list[Floats] = [np.zeros(0)] * len(self.hosts)
        costs: list[Floats] = [np.zeros(0)] * len(self.hosts)
        for p in range(len(self.hosts) - 1, -1, -1):
            here = [weightings @ leg.costs + leg.barred for leg in self.legs[p]]
            legs.append(here)
            tail = np.full((count, self.last + 1), np.inf)
            for leg, price in zip(self.legs[p], here, strict=True):
                onward = (price[0] if len(price) == 1 else price.min(axis=0)) + costs[leg.dst]
                tail = onward if len(here) == 1 else np.minimum(tail, onward)
            tail[:, : self.hosts[p].min_stop] = np.inf
            tail[:, -1] = 0.0
            reach = elapsed[p] + tail
            cost = np.empty_like(tail)
            cost[:, -1] = 0.0
            window = self.windows[p]
            if window is None:
                np.minimum.accumulate(reach[:, :0:-1], axis=1, out=cost[:, -2::-1])
            else:
                cost[:, :-1] = window.least(reach)
            cost[:, :-1] += constant[p][:, None] - elapsed[p][:, :-1]
            if self.relays or p == 0:
                np.minimum(cost, tail, out=cost)
            tails[p], costs[p] = tail, cost
        legs.reverse()
        return Fold(weightings, elapsed, constant, legs, tails, costs)

    def follow(self, fold: Fold, s: int, host: int = 0, start: int = 0) -> Path:
        """The best assignment under weighting s from a host and cut; of equals the latest stops."""
        stops: list[int] = []
        ways: list[int] = []
        p = host
        while True:
            stop = start
            tail = fold.tails[p][s]
            if start < self.last:
                stop = self._stop(fold, s, p, start, tail)
            stops.append(stop)
            if stop == self.last:
                break
            q, way = self._onward(fold, s, p, stop)
            ways.append(way)
            stops += [stop] * (q - p - 1)
            p, start = q, stop
        stops += [self.last] * (len(self.hosts) - host - len(stops))
        return Path(tuple(stops), tuple(ways))

    def _stop(self, fold: Fold, s: int, p: int, start: int, tail: Floats) -> int:
        window = self.windows[p]
        end = self.last + 1 if window is None else int(window.last_stop[start]) + 1
        if end <= start + 1:
            return start
        elapsed = fold.elapsed[p, s]
        reach = elapsed[start + 1 : end] + tail[start + 1 : end]
        best = len(reach) - 1 - int(reach[::-1].argmin())
        runs = reach[best] - elapsed[start] + fold.constant[p, s]
        return start if (self.relays or p == 0) and tail[start] < runs else start + 1 + best

    def _onward(self, fold: Fold, s: int, p: int, stop: int) -> tuple[int, int]:
        legs = fold.legs[p]
        if len(legs) == 1 and len(legs[0]) == 1:
            return p + 1, 0
        found = [
            price[:, s, stop] + fold.costs[leg.dst][s, stop] for leg, price in zip(self.legs[p], legs, strict=True)
        ]
        best = int(np.argmin([row.min() for row in found]))
        return self.legs[p][best].dst, int(np.argmin(found[best]))

    def price(self, path: Path) -> Floats:
        """`[D]` of an assignment."""
        total, start, taken, arrived = np.zeros(self.elapsed.shape[1]), 0, 0, 0
        for p, stop in enumerate(path.stops):
            if p < arrived:
                continue
            if stop > start:
                total += self.constant[p] + self.elapsed[p, :, stop] - self.elapsed[p, :, start]
            if stop == self.last:
                break
            arrived = p + 1
            if not self.relays:
                arrived = next((q for q in range(p + 1, len(path.stops)) if path.stops[q] > stop), len(path.stops) - 1)
            total += self.legs[p][arrived - p - 1].costs[path.ways[taken], :, stop]
            start, taken = stop, taken + 1
        return total

    def completions(self, fold: Fold, rows: Sequence[int]) -> list[Floats]:
        """Per host, `[len(rows), D, L+1]` what the rest costs in every dimension where the tables are followed."""
        found: list[Floats] = [np.zeros(0)] * len(self.hosts)
        chosen = list(rows)
        count, dims = len(chosen), self.elapsed.shape[1]
        for p in range(len(self.hosts) - 1, -1, -1):
            tail, elapsed = fold.tails[p][chosen], fold.elapsed[p, chosen]
            stops = self._stop_table(elapsed + tail, p)
            reach = np.take_along_axis(elapsed + tail, stops, axis=1) - elapsed + fold.constant[p, chosen][:, None]
            window = self.windows[p]
            if window is not None:
                reach[:, window.empty] = np.inf  # nothing fits from there
            if self.relays or p == 0:
                stops = np.where(tail < reach, self._every, stops)
            stops[:, -1] = self.last
            after = np.zeros((count, dims, self.last + 1))
            nearest = np.full((count, self.last + 1), np.inf)
            for leg, price in zip(self.legs[p], fold.legs[p], strict=True):
                priced = price[:, chosen, :]
                way = priced.argmin(axis=0)  # [count, L+1]
                total = np.take_along_axis(priced, way[None], axis=0)[0] + fold.costs[leg.dst][chosen]
                hop = leg.costs.transpose(0, 2, 1)[way, self._every].transpose(0, 2, 1)
                better = total < nearest
                nearest = np.where(better, total, nearest)
                after = np.where(better[:, None, :], hop + found[leg.dst], after)
            after[:, :, -1] = 0.0
            runs = np.where(stops > self._every, 1.0, 0.0)
            at = stops[:, None, :]
            own = np.take_along_axis(np.broadcast_to(self.elapsed[p], after.shape), at, axis=2) - self.elapsed[p]
            rest = own + self.constant[p][None, :, None] * runs[:, None, :] + np.take_along_axis(after, at, axis=2)
            found[p] = np.where(np.isinf(fold.costs[p][chosen])[:, None, :], np.inf, rest)
        return found

    def _stop_table(self, reach: Floats, p: int) -> Cuts:
        """`[S, L+1]` the latest stop beyond each start that attains the least `reach`."""
        window = self.windows[p]
        if window is None:
            low = np.minimum.accumulate(reach[:, ::-1], axis=1)[:, ::-1]
            records = np.where(reach[:, :-1] < low[:, 1:], self._every[:-1], self.last)
            records = np.concatenate([records, np.full((len(reach), 1), self.last)], axis=1)
            first: Cuts = np.minimum.accumulate(records[:, ::-1], axis=1)[:, ::-1]
            return np.concatenate([first[:, 1:], np.full((len(reach), 1), self.last)], axis=1)
        return window.latest(reach)
