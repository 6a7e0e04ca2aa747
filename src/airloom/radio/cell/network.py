"""A scenario played: the rate of every link that varies, tick by tick, and what else happens when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from airloom.core.scenario import Scenario
from airloom.core.topology import Conditions, Topology

if TYPE_CHECKING:
    Floats = NDArray[np.float64]


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

    scenario: Scenario
    topology: Topology
    links: tuple[tuple[str, str], ...]
    period_s: float

    def __init__(self, scenario: Scenario, *, seed: int | None = None) -> None:
        """`seed` in place of the scenario's."""
        self.scenario = scenario
        self.topology = scenario.topology
        self.links = ()
        self.period_s = scenario.coherence.access_s
        self.seed = scenario.seed if seed is None else seed

    def rates(self, tick: int) -> Floats:
        """Rate in bit/s of every link of `links` from `tick * period_s` until the next tick, in their order.

        0.0 is a link that is down: one from a UE to a cell that does not serve it. The array is the
        caller's to read until the next call. Ticks must not descend; those left out are played too.
        """
        raise NotImplementedError

    def changes(self) -> Iterator[Conditions]:
        """What goes up, down or otherwise changes, in order of time: handovers and scheduled events.

        The first, at 0 s, says which access links are down. Handovers come without end where a UE
        moves without end: stop asking when the run ends.
        """
        raise NotImplementedError

    def tasks(self) -> Iterator[tuple[float, str]]:
        """(second, UE) of every task, in order of time; without end unless the scenario has a count or duration.

        Back to back, only the first of each UE is here: the others follow when the one before has ended.
        """
        raise NotImplementedError
