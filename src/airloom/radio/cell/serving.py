"""Which cell serves each UE, tick by tick: positions, SNRs, handover."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from airloom.radio.cell.friis import snr_db
from airloom.radio.cell.mobility import Route
from airloom.radio.cell.streams import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airloom.core.scenario import Scenario

    Floats = NDArray[np.float64]


class Block(NamedTuple):
    """Ticks in a row.

    Attributes:
        cell: [T, U] index of the cell that serves each UE; -1 for none, also while it changes cells.
        snr_db: [T, U] at that cell; -inf for none.
    """

    cell: NDArray[np.int64]
    snr_db: Floats


class Serving:
    """Which cell serves each UE, tick after tick.

    A UE begins at its best cell. It leaves it for one that has been better by the hysteresis for the
    time to trigger (38.331 event A3), and at once where it is out of reach or gone.
    """

    def __init__(self, scenario: Scenario, *, seed: int, tick_s: float) -> None:
        self._scenario, self._tick_s = scenario, tick_s
        self._routes = [Route(ue.path) for ue in scenario.ues]
        self._places = np.array([cell.at_m for cell in scenario.cells], dtype=np.float64).reshape(-1, 2)
        self._least = np.array([cell.antenna.min_snr_db for cell in scenario.cells])
        users, cells = len(scenario.ues), len(scenario.cells)
        handover = scenario.handover
        self._hysteresis = handover.hysteresis_db
        self._hold = math.ceil(handover.time_to_trigger_s / tick_s - 1e-9)
        self._gap = math.ceil(handover.interruption_s / tick_s - 1e-9)
        self._cell = np.full(users, -2, dtype=np.int64)  # -2: never served; -1: served no more
        self._runs = np.zeros((users, cells), dtype=np.int64)
        self._waits = np.zeros(users, dtype=np.int64)
        self._events = _absences(scenario)
        self._away = np.zeros((users, cells), dtype=bool)
        self._shadows = _Shadows(scenario, seed) if any(c.antenna.shadowing_db for c in scenario.cells) else None

    def play(self, tick: int, ticks: int) -> Block:
        """The `ticks` ticks from `tick` on, which follow those of the last call; the first may be any."""
        snr = self._snr_db(tick, ticks)
        cell = np.empty(snr.shape[:2], dtype=np.int64)
        own = self._of(snr, self._cell)
        before = self._runs
        runs = self._running(snr, own, before)
        ready = (runs > self._hold) | np.isneginf(own)[:, :, None]
        busy = ready.any(axis=(0, 2)) | (self._waits > 0)
        cell[:, ~busy] = self._cell[~busy]
        self._runs = runs[-1].copy()
        for user in np.flatnonzero(busy):
            cell[:, user] = self._of_one(int(user), snr[:, user], before[user])
        return Block(cell, self._of(snr, cell))

    def _of_one(self, user: int, snr: Floats, runs: NDArray[np.int64]) -> list[int]:
        """The cell of one UE tick by tick; [T, C] `snr`, [C] `runs` before."""
        found = []
        now, waits = int(self._cell[user]), int(self._waits[user])
        for row in snr:
            waits = max(waits - 1, 0)
            own = float(row[now]) if now >= 0 else -math.inf
            if now >= 0 and own > -math.inf:
                better = row > own + self._hysteresis
                runs = np.where(better, runs + 1, 0)
                ready = runs > self._hold
            else:
                ready = row > -math.inf
            if ready.any():
                waits = self._gap if now != -2 else 0
                now = int(np.where(ready, row, -math.inf).argmax())
                runs = np.zeros_like(runs)
            elif own == -math.inf:
                now = min(now, -1)
            found.append(-1 if waits else max(now, -1))
        self._cell[user], self._runs[user], self._waits[user] = now, runs, waits
        return found

    def _running(self, snr: Floats, own: Floats, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """[T, U, C] for how many ticks each cell has been better than the serving one without a break."""
        better = snr > (own + self._hysteresis)[:, :, None]
        number = np.arange(1, len(snr) + 1)[:, None, None]
        broken = np.maximum.accumulate(np.where(better, 0, number), axis=0)
        return np.where(better, number - broken + np.where(broken == 0, before, 0), 0)

    def _of(self, snr: Floats, cell: NDArray[np.int64]) -> Floats:
        """[T, U] of `snr` [T, U, C] at one cell each, [U] or [T, U]; -inf at none."""
        cells = np.broadcast_to(cell, snr.shape[:2])
        found = np.take_along_axis(snr, np.maximum(cells, 0)[:, :, None], axis=2)[:, :, 0]
        return np.where(cells < 0, -np.inf, found)

    def _snr_db(self, tick: int, ticks: int) -> Floats:
        """[T, U, C]; -inf out of reach and where the cell is away."""
        times = (tick + np.arange(ticks)) * self._tick_s
        where = np.stack([route.at(times) for route in self._routes], axis=1)
        apart = where[:, :, None, :] - self._places
        metres = np.hypot(apart[..., 0], apart[..., 1])
        found = np.empty_like(metres)
        for c, cell in enumerate(self._scenario.cells):
            found[:, :, c] = snr_db(cell.antenna, metres[:, :, c])
        if self._shadows is not None:
            found += self._shadows.next(where)
        found[found < self._least] = -np.inf
        away = np.repeat(self._away[None], ticks, axis=0)
        while self._events and self._events[0][0] <= times[-1] + 1e-9:
            at_s, user, c, gone = self._events.pop(0)
            t = max(math.ceil(at_s / self._tick_s - 1e-9) - tick, 0)
            away[t:, slice(None) if user is None else user, c] = gone
        self._away = away[-1].copy()
        found[away] = -np.inf
        return found


class _Shadows:
    """Log-normal shadowing of every UE at every cell, correlated over its way (Gudmundson 1991)."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._streams = [
            [stream(seed, "shadowing", ue.id, cell.device) for cell in scenario.cells] for ue in scenario.ues
        ]
        self._spread = np.array([cell.antenna.shadowing_db for cell in scenario.cells])
        self._range = np.array([cell.antenna.shadowing_m for cell in scenario.cells])
        self._last: tuple[Floats, Floats] | None = None

    def next(self, where: Floats) -> Floats:
        """[T, U, C] dB at the positions [T, U, 2] that follow those of the last call."""
        fresh = np.stack([np.stack([s.standard_normal(len(where)) for s in row], axis=-1) for row in self._streams], 1)
        out = np.empty_like(fresh)
        for t in range(len(where)):
            if self._last is None:
                now = fresh[t]
            else:
                before, values = self._last
                moved = np.hypot(*(where[t] - before).T)
                keep = np.exp(-moved[:, None] / self._range)
                now = keep * values + np.sqrt(1.0 - keep * keep) * fresh[t]
            self._last = (where[t], now)
            out[t] = now * self._spread
        return out


def _absences(scenario: Scenario) -> list[tuple[float, int | None, int, bool]]:
    """(second, UE or None for all, cell, whether it goes) of every scheduled change of a cell or an access link."""
    cells = {cell.device: c for c, cell in enumerate(scenario.cells)}
    users = {ue.id: u for u, ue in enumerate(scenario.ues)}
    found: list[tuple[float, int | None, int, bool]] = []
    for change in scenario.changes:
        found += [(change.at_s, None, cells[d.id], not d.up) for d in change.devices if d.id in cells]
        found += [
            (change.at_s, users[link.src], cells[link.dst], not link.up)
            for link in change.links
            if link.src in users and link.dst in cells
        ]
    return sorted(found, key=lambda e: e[0])
