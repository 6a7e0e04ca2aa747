"""Links between nodes, by radio or cable, that carry others' traffic too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from airloom.core.scenario import LOADS, Scenario, SharedLink
from airloom.radio.cell.crowd import Crowd
from airloom.radio.cell.friis import snr_db
from airloom.radio.cell.shared import BLOCK, Wants
from airloom.radio.cell.throughput import throughput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def link_bps(scenario: Scenario, link: SharedLink) -> float:
    """What the link carries with nobody else on it: the topology's rate, and no more than its radio brings."""
    capacity = scenario.topology.link(link.src, link.dst).rate_bps
    if link.antenna is None:
        return capacity
    (ax, ay), (bx, by) = (_position(scenario, end) for end in (link.src, link.dst))
    found = snr_db(link.antenna, math.hypot(ax - bx, ay - by))
    if found < link.antenna.min_snr_db:
        return 0.0
    return min(capacity, float(throughput(link.antenna).rate_bps(found)))


class SharedLinks:
    """Rates of links of one coherence time, tick by tick; what the target UEs have together.

    Attributes:
        crowds: other users of each.
        targets: the most flows that one has.
    """

    def __init__(
        self, scenario: Scenario, links: Sequence[SharedLink], *, seed: int, tick_s: float, start_s: float
    ) -> None:
        self._tick_s = tick_s
        self._bps = np.array([link_bps(scenario, link) for link in links])
        self.crowds = [
            Crowd(
                link.background,
                seed=seed,
                name=f"link {link.src}->{link.dst}",
                scale=LOADS[scenario.load],
                alone=lambda draws: 1.0,
                start_s=start_s,
                start_hour=scenario.start_hour,
            )
            for link in links
        ]
        self.targets = most = max(link.flows for link in links)
        self._flows = np.arange(most) < np.array([link.flows for link in links])[:, None]
        rows = {(link.src, link.dst): row for row, link in enumerate(links)}
        self._up = np.ones(len(links))
        self._events = [
            (change.at_s, rows[state.src, state.dst], state.rate_bps, state.up)
            for change in scenario.changes
            for state in change.links
            if (state.src, state.dst) in rows
        ]

    def wants(self, tick: int) -> Wants:
        """Of `BLOCK` ticks from `tick` on; its rows are the links."""
        bps = np.repeat(self._bps[None], BLOCK, axis=0)
        up = np.repeat(self._up[None], BLOCK, axis=0)
        while self._events and self._events[0][0] <= (tick + BLOCK - 1) * self._tick_s + 1e-9:
            at_s, row, rate_bps, is_up = self._events.pop(0)
            t = max(math.ceil(at_s / self._tick_s - 1e-9) - tick, 0)
            up[t:, row] = is_up
            if rate_bps is not None:
                bps[t:, row] = rate_bps
        self._bps, self._up = bps[-1].copy(), up[-1].copy()
        bps = bps * up
        return Wants(bps[:, :, None] * self._flows, bps)

    def rates(self, got: Floats) -> Floats:
        """Bit/s of each link from what its flows got; 0 where it is down. [T, links]"""
        return np.asarray(got.sum(axis=2), dtype=np.float64)


def _position(scenario: Scenario, device: str) -> tuple[float, float]:
    for cell in scenario.cells:
        if cell.device == device:
            return cell.at_m
    raise ValueError(f"a radio backhaul joins two cells: {device} has no position")
