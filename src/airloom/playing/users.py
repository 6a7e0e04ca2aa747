"""Who asks for results when, and what befalls UEs on the way: the events of a scenario that a simulation follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from airloom.core.scenario import Scenario, Tasks
from airloom.core.topology import Conditions
from airloom.radio.cell.network import ScenarioNetwork
from airloom.sim.simulation import Arrival


def endless(scenario: Scenario) -> Scenario:
    """The scenario without an end of its own: others say when no more tasks come."""
    tasks = msgspec.structs.replace(scenario.tasks, count=None)
    return msgspec.structs.replace(scenario, duration_s=None, tasks=tasks)


class Users:
    """The tasks of all UEs until `ends_s` or `count` of them, whichever comes first; None for no such end."""

    def __init__(self, network: ScenarioNetwork, *, ends_s: float | None, count: int | None) -> None:
        self._network, self._ends_s, self._count = network, ends_s, count
        self._tasks: Tasks = network.scenario.tasks
        self.asked = 0

    def arrivals(self) -> Iterator[Arrival]:
        """One at a time: there may be no end of them."""
        for at_s, ue in self._network.tasks():
            if not self._wants(at_s):
                return
            self.asked += 1
            yield Arrival(at_s, self._tasks.deadline_s, ue)

    def next_after(self, ue: str, now_s: float) -> Arrival | None:
        """Back to back, the next task of a UE begins as one ends."""
        if self._tasks.kind != "back-to-back" or not self._wants(now_s):
            return None
        self.asked += 1
        return Arrival(now_s, self._tasks.deadline_s, ue)

    def _wants(self, at_s: float) -> bool:
        return (self._count is None or self.asked < self._count) and (self._ends_s is None or at_s < self._ends_s)


class Watched:
    """A scenario's changes as they happen, handovers and hosts that go counted.

    Args:
        ues: ids of the UEs.
        handover, device_down: called with the second of each.
    """

    def __init__(
        self, ues: frozenset[str], *, handover: Callable[[float], None], device_down: Callable[[], None]
    ) -> None:
        self._ues, self._handover, self._device_down = ues, handover, device_down
        self._cell: dict[str, str] = {}

    def of(self, changes: Iterator[Conditions]) -> Iterator[Conditions]:
        """`changes`, counted one ahead of the time at which they take hold."""
        for change in changes:
            yield change
            for state in change.links:
                if state.src not in self._ues:
                    continue
                if state.up and self._cell.get(state.src, state.dst) != state.dst:
                    self._handover(change.at_s)
                self._cell[state.src] = state.dst  # where it is up, or was last
            for device in change.devices:
                if not device.up:
                    self._device_down()
