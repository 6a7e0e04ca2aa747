"""When each UE asks for a result."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from airloom.core.scenario import Scenario
from airloom.radio.cell.streams import stream


def tasks(scenario: Scenario, *, seed: int) -> Iterator[tuple[float, str]]:
    """(second, UE) of every task, in order of time; without end where neither count nor duration ends it.

    The topology's source begins at 0; other UEs that ask at regular times begin at a random moment
    of their first period. Back to back, only the first task of each UE is here.
    """
    each = (_of_one(scenario, ue.id, seed) for ue in scenario.ues)
    return itertools.islice(heapq.merge(*each), scenario.tasks.count)


def _of_one(scenario: Scenario, ue: str, seed: int) -> Iterator[tuple[float, str]]:
    asked, draws = scenario.tasks, stream(seed, "tasks", ue)
    match asked.kind:
        case "back-to-back":
            yield 0.0, ue
            return
        case "every":
            phase_s = 0.0 if ue == scenario.topology.source else float(draws.uniform(0.0, asked.every_s))
            times: Iterator[float] = (phase_s + k * asked.every_s for k in itertools.count())
        case "poisson":
            times = itertools.accumulate(float(draws.exponential(asked.every_s)) for _ in itertools.count())
    for at_s in times:
        if scenario.duration_s is not None and at_s >= scenario.duration_s:
            return
        yield at_s, ue
