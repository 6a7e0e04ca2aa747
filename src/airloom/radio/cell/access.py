"""Access links: the radio between every UE and every cell, shared with the other UEs of the cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from airloom.core.scenario import LOADS, Cell, Scenario
from airloom.radio.cell.crowd import Crowd
from airloom.radio.cell.friis import snr_db
from airloom.radio.cell.serving import Serving
from airloom.radio.cell.shared import BLOCK, Wants
from airloom.radio.cell.streams import stream
from airloom.radio.cell.throughput import throughput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class AccessLinks:
    """Rates of the links between UEs and cells, tick by tick.

    Attributes:
        crowds: other users of each row.
        targets: UEs that a row may have.
    """

    def __init__(self, scenario: Scenario, *, seed: int, tick_s: float, start_s: float) -> None:
        self._scenario, self._tick_s = scenario, tick_s
        self._serving = Serving(scenario, seed=seed, tick_s=tick_s)
        self._tables = [throughput(cell.antenna) for cell in scenario.cells]
        self.crowds = [
            Crowd(
                background,
                seed=seed,
                name=f"cell {cell.device} {way}",
                scale=LOADS[scenario.load],
                alone=_Somewhere(cell),
                start_s=start_s,
                start_hour=scenario.start_hour,
            )
            for cell in scenario.cells
            for way, background in (("up", cell.uplink), ("down", cell.downlink))
        ]
        self.targets = users = len(scenario.ues)
        self._activity = np.array([ue.activity for ue in scenario.ues])
        self._streams = [stream(seed, "activity", ue.id) for ue in scenario.ues]
        self._limits = np.full((len(scenario.cells), 2, users), math.inf)
        self._events = _limits(scenario)

    def wants(self, tick: int) -> Wants:
        """Of `BLOCK` ticks from `tick` on; its rows are cells, up and down."""
        cells, users = len(self._tables), len(self._activity)
        served = self._serving.play(tick, BLOCK)
        alone = np.zeros((BLOCK, cells, 2, users))
        for c, (cell, table) in enumerate(zip(self._scenario.cells, self._tables, strict=True)):
            mine = served.cell == c
            bps = np.minimum(table.rate_bps(np.where(mine, served.snr_db, -np.inf)), cell.capacity_bps)
            alone[:, c] = np.where(mine, bps, 0.0)[:, None, :]
        most = np.minimum(alone, self._limits_in(tick)).reshape(BLOCK, 2 * cells, users)
        active = None
        if (self._activity < 1.0).any():
            busy = np.stack([s.random(BLOCK) for s in self._streams], axis=1) < self._activity
            active = np.broadcast_to(busy[:, None, :], most.shape)
        return Wants(most, np.ones((BLOCK, 2 * cells)), active)

    def rates(self, got: Floats) -> Floats:
        """Bit/s of [T, U, C, 2] (up, down) from what the rows got; 0 where a cell does not serve the UE."""
        cells, users = len(self._tables), len(self._activity)
        return got.reshape(BLOCK, cells, 2, users).transpose(0, 3, 1, 2)

    def _limits_in(self, tick: int) -> Floats:
        """[T, C, 2, U] what scheduled events leave to a link."""
        found = np.repeat(self._limits[None], BLOCK, axis=0)
        while self._events and self._events[0][0] <= (tick + BLOCK - 1) * self._tick_s + 1e-9:
            at_s, where, bps = self._events.pop(0)
            found[(slice(max(math.ceil(at_s / self._tick_s - 1e-9) - tick, 0), None), *where)] = bps
        self._limits = found[-1].copy()
        return found


def _limits(scenario: Scenario) -> list[tuple[float, tuple[int, int, int], float]]:
    """(second, (cell, way, UE), bit/s) of every scheduled rate of an access link."""
    cells = {cell.device: c for c, cell in enumerate(scenario.cells)}
    users = {ue.id: u for u, ue in enumerate(scenario.ues)}
    found = []
    for change in scenario.changes:
        for link in change.links:
            if link.rate_bps is None:
                continue
            if link.src in users and link.dst in cells:
                found.append((change.at_s, (cells[link.dst], 0, users[link.src]), link.rate_bps))
            elif link.src in cells and link.dst in users:
                found.append((change.at_s, (cells[link.src], 1, users[link.dst]), link.rate_bps))
    return found


class _Somewhere:
    """What another UE would get with the cell to itself, somewhere in its disc."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self._table = cell, throughput(cell.antenna)

    def __call__(self, draws: np.random.Generator) -> float:
        metres = self._cell.radius_m * math.sqrt(draws.random())
        found = snr_db(self._cell.antenna, metres)
        return min(float(self._table.rate_bps(found)), self._cell.capacity_bps)
