"""What happens to the topology as time goes on: handovers and scheduled events."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from airloom.core.scenario import Scenario
from airloom.core.topology import Conditions, LinkState
from airloom.radio.cell.serving import Serving

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Where nothing happens for so long, an empty change lets whoever listens go on.
_QUIET_S = 10.0
_BLOCK = 64


def happenings(
    scenario: Scenario, *, seed: int, varying: Collection[tuple[str, str]], start_tick: int
) -> Iterator[Conditions]:
    """Handovers and scheduled events in order of time; the first, at 0 s, says which access links are down.

    Args:
        varying: links whose rate is played tick by tick; scheduled rates are part of that.
        start_tick: of the warm-up.
    """
    access = {
        pair for ue in scenario.ues for cell in scenario.cells for pair in ((ue.id, cell.device), (cell.device, ue.id))
    }
    scheduled = [kept for change in scenario.changes if (kept := _others(change, access, varying)) is not None]
    if not scenario.ues or not scenario.cells:
        yield Conditions()
        yield from scheduled
        return
    tick_s = scenario.coherence.access_s
    serving = Serving(scenario, seed=seed, tick_s=tick_s)
    # Blocks that end where tasks begin.
    before = serving.play(start_tick, 1 - start_tick).cell
    now = before[-1]
    yield Conditions(
        links=tuple(
            state
            for ue, cell in zip(scenario.ues, now, strict=True)
            for c in range(len(scenario.cells))
            if c != cell
            for state in _both(scenario, ue.id, c, up=False)
        )
    )
    tick, told_s = 1, 0.0
    while True:
        block = serving.play(tick, _BLOCK).cell
        changed = (block != np.concatenate([now[None], block[:-1]])).any(axis=1)
        for t in range(_BLOCK):
            at_s = (tick + t) * tick_s
            while scheduled and scheduled[0].at_s <= at_s:
                told_s = scheduled[0].at_s
                yield scheduled.pop(0)
            if changed[t]:
                told_s = at_s
                yield _handover(scenario, at_s, block[t - 1] if t else now, block[t])
            elif at_s - told_s >= _QUIET_S:
                told_s = at_s
                yield Conditions(at_s=at_s)
        tick, now = tick + _BLOCK, block[-1]


def _handover(scenario: Scenario, at_s: float, then: NDArray[np.int64], now: NDArray[np.int64]) -> Conditions:
    moved = [(ue.id, a, b) for ue, a, b in zip(scenario.ues, then, now, strict=True) if a != b]
    links = [state for ue, old, _ in moved if old >= 0 for state in _both(scenario, ue, old, up=False)]
    links += [state for ue, _, new in moved if new >= 0 for state in _both(scenario, ue, new, up=True)]
    return Conditions(at_s=at_s, links=tuple(links))


def _both(scenario: Scenario, ue: str, cell: int, *, up: bool) -> tuple[LinkState, LinkState]:
    gnb = scenario.cells[cell].device
    return LinkState(src=ue, dst=gnb, up=up), LinkState(src=gnb, dst=ue, up=up)


def _others(
    change: Conditions, access: Collection[tuple[str, str]], varying: Collection[tuple[str, str]]
) -> Conditions | None:
    """The change without access links, which handover speaks for, and without rates that are played."""
    links = tuple(
        msgspec.structs.replace(state, rate_bps=None) if (state.src, state.dst) in varying else state
        for state in change.links
        if (state.src, state.dst) not in access
    )
    return msgspec.structs.replace(change, links=links) if links or change.devices else None
