"""A scenario played: the rate of every link that varies, tick by tick, and what else happens when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from airloom.core.scenario import Scenario
from airloom.core.topology import Conditions, Topology
from airloom.radio.cell.access import AccessLinks
from airloom.radio.cell.asking import tasks
from airloom.radio.cell.backhaul import SharedLinks
from airloom.radio.cell.happening import happenings
from airloom.radio.cell.mobility import Route
from airloom.radio.cell.shared import BLOCK, Rows, Together
from airloom.radio.replay import ReplayedRate, read_rate_trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


#: Places for UEs that may stay empty for the sake of one step in place of two.
_PADDED = 8


class ScenarioNetwork:
    """What the links of a scenario offer over time; the same for the same scenario and seed.

    Time is that of the tasks: 0 is the end of the warm-up, which is played before the first tick.
    Each link, cell and UE draws from its own stream, named by what it is: one more of them leaves the
    draws of all others as they were.

    Attributes:
        scenario: as given.
        topology: the scenario's; links in `links` have no trace of their own left, and the rate that
            planners may start from.
        links: (src, dst) of all that vary: access links of every UE to every cell, shared links, and
            links with a recorded trace.
        period_s: of a tick: the shortest coherence time. Rates of a link with a longer one change at
            multiples of that.
    """

    def __init__(self, scenario: Scenario, *, seed: int | None = None) -> None:
        """`seed` in place of the scenario's.

        Raises:
            ConfigError: a trace cannot be read.
            ValueError: a coherence time is no multiple of the shortest one.
        """
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        times = scenario.coherence
        kinds = {"access": times.access_s, "backhaul": times.backhaul_s, "wired": times.wired_s}
        self.period_s = min(kinds.values())
        every = {kind: _multiple(time_s, self.period_s, kind) for kind, time_s in kinds.items()}
        # All kinds begin their warm-up at a multiple of their own time.
        lap = math.lcm(*every.values())
        self._start = -lap * math.ceil(scenario.warm_up_s / (lap * self.period_s) - 1e-9)
        start_s = self._start * self.period_s
        self._players: list[_Player] = []
        links: list[tuple[str, str]] = []
        played: list[tuple[int, int, Rows]] = []
        if scenario.ues and scenario.cells:
            access = AccessLinks(scenario, seed=self.seed, tick_s=times.access_s, start_s=start_s)
            played.append((every["access"], len(links), access))
            for ue in scenario.ues:
                for cell in scenario.cells:
                    links += [(ue.id, cell.device), (cell.device, ue.id)]
        for length in sorted({every["backhaul"], every["wired"]}):
            rows = [link for link in scenario.links if every[link.kind] == length]
            if rows:
                tick_s = length * self.period_s
                played.append(
                    (length, len(links), SharedLinks(scenario, rows, seed=self.seed, tick_s=tick_s, start_s=start_s))
                )
                links += [(link.src, link.dst) for link in rows]
        for group in _stepped(played):
            length, first, _ = group[0]
            together = Together(
                [kind for _, _, kind in group], seed=self.seed, tick_s=length * self.period_s,
                fairness_s=scenario.fairness_s,
            )  # fmt: skip
            self._players.append(_Player(length, first, together.play))
        traces = _traces(scenario, links)
        for link, trace in traces.items():
            self._players.append(_Player(1, len(links), _Replayed(trace, self.period_s).play))
            links.append(link)
        self.links = tuple(links)
        self._now = np.zeros(len(links))
        self._tick = self._start - 1
        self.topology = _planned_from(scenario, set(links), traces)

    def rates(self, tick: int) -> Floats:
        """Rate in bit/s of every link of `links` from `tick * period_s` until the next tick, in their order.

        0.0 is a link that is down: one from a UE to a cell that does not serve it. The array is the
        caller's to read until the next call. Ticks must not descend; those left out are played too.

        Raises:
            ValueError: a tick before the last one.
        """
        if tick < max(self._tick, 0):
            raise ValueError(f"ticks must not descend: {tick} after {self._tick}")
        while self._tick < tick:
            self._tick += 1
            for player in self._players:
                if self._tick % player.every == 0:
                    found = player.next(self._tick // player.every)
                    self._now[player.first : player.first + len(found)] = found
        return self._now

    def changes(self) -> Iterator[Conditions]:
        """What goes up, down or otherwise changes, in order of time: handovers and scheduled events.

        The first, at 0 s, says which access links are down. Where UEs move it has no end, and tells every
        ten quiet seconds with an empty change that nothing has happened.
        """
        ticks = round(self._start * self.period_s / self.scenario.coherence.access_s)
        return happenings(self.scenario, seed=self.seed, varying=set(self.links), start_tick=ticks)

    def tasks(self) -> Iterator[tuple[float, str]]:
        """(second, UE) of every task, in order of time; without end unless the scenario has a count or duration.

        Back to back, only the first of each UE is here: the others follow when the one before has ended.
        """
        return tasks(self.scenario, seed=self.seed)

    def position(self, ue: str, at_s: float) -> tuple[float, float]:
        """(x, y) in m of a UE.

        Raises:
            KeyError: there is no such UE.
        """
        for each in self.scenario.ues:
            if each.id == ue:
                x, y = Route(each.path).at(at_s)
                return float(x), float(y)
        raise KeyError(ue)


class _Player:
    """What plays links from index `first` on, every so many ticks, a block of them at once."""

    def __init__(self, every: int, first: int, play: Callable[[int], Floats]) -> None:
        self.every, self.first, self._play = every, first, play
        self._block = np.zeros((0, 0))
        self._start = 0

    def next(self, tick: int) -> Floats:
        """Rates of a tick, the one after the last; the first may be any."""
        if not self._start <= tick < self._start + len(self._block):
            found = self._play(tick)
            self._block, self._start = found.reshape(len(found), -1), tick
        return np.asarray(self._block[tick - self._start], dtype=np.float64)


class _Replayed:
    """A recorded trace, row by row as ticks go by."""

    def __init__(self, trace: ReplayedRate, tick_s: float) -> None:
        self._trace, self._tick_s = trace, tick_s

    def play(self, tick: int) -> Floats:
        return np.array([[self._trace.rate_bps(max(t, 0) * self._tick_s)] for t in range(tick, tick + BLOCK)])


def _stepped(kinds: Sequence[tuple[int, int, Rows]]) -> list[list[tuple[int, int, Rows]]]:
    """Neighbours with ticks of one length are stepped as one, unless one has many UEs and the other few."""
    found: list[list[tuple[int, int, Rows]]] = []
    for each in kinds:
        last = found[-1][-1] if found else None
        if last is not None and last[0] == each[0] and abs(last[2].targets - each[2].targets) <= _PADDED:
            found[-1].append(each)
        else:
            found.append([each])
    return found


def _multiple(time_s: float, period_s: float, kind: str) -> int:
    count = round(time_s / period_s)
    if not math.isclose(count * period_s, time_s, rel_tol=1e-6):
        raise ValueError(f"coherence times are multiples of the shortest, {period_s:g} s, but {kind} has {time_s:g} s")
    return count


def _traces(scenario: Scenario, played: Sequence[tuple[str, str]]) -> dict[tuple[str, str], ReplayedRate]:
    already = set(played)
    return {
        (link.src, link.dst): read_rate_trace(Path(link.trace))
        for link in scenario.topology.links
        if link.trace and (link.src, link.dst) not in already
    }


def _planned_from(
    scenario: Scenario, varying: set[tuple[str, str]], traces: Mapping[tuple[str, str], ReplayedRate]
) -> Topology:
    """The topology with its traces taken out: their mean stands for them until a rate has been seen."""
    links = []
    for link in scenario.topology.links:
        pair = (link.src, link.dst)
        if pair in varying and link.trace:
            rate = traces[pair].mean_rate_bps() if pair in traces else link.rate_bps
            link = msgspec.structs.replace(link, trace="", rate_bps=rate)
        links.append(link)
    return msgspec.structs.replace(scenario.topology, links=tuple(links))
