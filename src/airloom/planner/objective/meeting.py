"""From the other end: the exact frontiers of the last hosts, for labels that come from the source to meet.

Where bounds prove little, labels multiply from host to host. Half of the way from each end has far fewer
of them than the whole way from one: those of the source need only be brought to a host whose frontier
(`frontier.frontier_step`) says all that can become of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from airloom.core.problem import Cuts, Floats
from airloom.planner.objective.frontier import Frontier, FrontierTable, HostVectors, frontier_step
from airloom.planner.objective.grid import Grid, Path

#: A frontier with more ways than this is not taken a host further.
_LARGE = 40_000
#: Pairs of a label and a way that are looked at in one go.
_AT_ONCE = 500_000


@dataclass(frozen=True)
class Meeting:
    """Frontiers from host `host` to the last.

    Attributes:
        frontier: that of `host`, in the grid's dimensions.
        tables: of it and the hosts after it.
        frontiers: likewise.
    """

    host: int
    frontier: Frontier
    frontiers: tuple[Frontier, ...]
    tables: tuple[FrontierTable, ...]

    def best(self, costs: Floats, cut: Cuts, limits: Floats) -> tuple[float, int, int]:
        """The least of dimension 0 within `limits` on the others, of labels `[n, D]` at cuts `[n]`.

        Returns:
            It, the label, and its way on among those of its cut; infinity where there is none.
        """
        found, label, way = np.inf, -1, -1
        for at in np.unique(cut).tolist():
            rows, ways = np.flatnonzero(cut == at), self.frontier.at(at)
            if not len(ways):
                continue
            many = max(_AT_ONCE // len(ways), 1)
            for first in range(0, len(rows), many):
                some = rows[first : first + many]
                value = costs[some, 0][:, None] + ways[:, 0]
                for metric, limit in enumerate(limits.tolist(), 1):
                    value[costs[some, metric][:, None] + ways[:, metric] > limit] = np.inf
                place = int(np.argmin(value))
                least = float(value.flat[place])
                if least < found:
                    found, label, way = least, int(some[place // len(ways)]), place % len(ways)
        return found, label, way

    def path(self, cut: int, way: int) -> Path:
        """Where a way of `frontier` leads, from `host` on."""
        stops: list[int] = []
        ways: list[int] = []
        for frontier, table in zip(self.frontiers, self.tables, strict=True):
            if way < 0:
                stops.append(cut)
                continue
            row = int(frontier.offsets[cut]) + way
            cut, way = int(table.stop[row]), int(table.onward[row])
            stops.append(cut)
            if way >= 0:
                ways.append(int(table.way[row]))
        return Path(tuple(stops), tuple(ways))


def meeting(grid: Grid, limits: Floats) -> Meeting | None:
    """The frontiers of the last hosts, half of them at most; None where a host may not be visited to run nothing.

    Args:
        limits: `[D]` what a way may cost.
    """
    if not grid.relays or len(grid.hosts) < 2:
        return None
    found: Frontier | None = None
    frontiers: list[Frontier] = []
    tables: list[FrontierTable] = []
    for p in range(len(grid.hosts) - 1, len(grid.hosts) // 2 - 1, -1):
        host = grid.hosts[p]
        leg = grid.legs[p][0] if grid.legs[p] else None
        found, table = frontier_step(
            HostVectors(
                elapsed=grid.elapsed[p],
                constant=grid.constant[p],
                options=None if leg is None else leg.costs + leg.barred,
                last_stop=host.last_stop,
                min_stop=host.min_stop,
            ),
            found,
            bounds=limits,
        )
        frontiers.insert(0, found)
        tables.insert(0, table)
        if len(found.costs) > _LARGE:
            break
    assert found is not None
    return Meeting(len(grid.hosts) - len(frontiers), found, tuple(frontiers), tuple(tables))
