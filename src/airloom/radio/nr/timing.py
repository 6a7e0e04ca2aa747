"""How long transport blocks take when some are sent again: slots, round trips and HARQ processes.

A block's next attempt begins one round trip after the last one's slot has ended, so attempts of a block
are `spacing` slots apart; repeats go before new blocks. A block holds a process from its first slot until
the answer to its last attempt is back, so no more than `processes / spacing` of the slots can be used.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from airloom.core.topology import NrRadio
from airloom.radio.nr.numerology import slot_s

Floats = NDArray[np.float64]


def spacing_slots(radio: NrRadio) -> int:
    """Slots from one attempt of a block to its next: the round trip, in whole slots, and the attempt's own."""
    return 1 + math.ceil(radio.round_trip_s / slot_s(radio.scs_khz) - 1e-9)


def usable_share(radio: NrRadio) -> float:
    """Share of the slots that the HARQ processes can fill; 1.0 without HARQ."""
    return 1.0 if radio.attempts == 1 else min(1.0, radio.processes / spacing_slots(radio))


def expected_slots(blocks: int, residual: Floats, radio: NrRadio) -> float:
    """Mean slots from the first slot of an idle link until the last attempt at any of `blocks` blocks has ended.

    Repeats are taken to be sent as soon as they may: what they wait for one another is left out.

    Args:
        residual: error rate after 1, 2, ... attempts: [attempts].
    """
    if blocks < 1:
        return 0.0
    if len(residual) == 1:
        return float(blocks)
    starts = _starts(blocks, residual, radio)
    spacing, again = spacing_slots(radio), np.append(1.0, residual[:-1])  # P(attempts > k), k = 0, 1, ...
    last = int(starts[-1]) + 1
    # Until all have begun the last cannot have ended; from then on count slots that are still needed.
    ends = last + np.arange(len(residual) * spacing + 1)
    done = np.floor((ends[:, None] - starts - 1.0) / spacing).astype(np.int64) + 1
    still = np.where(done >= len(again), 0.0, again[np.clip(done, 0, len(again) - 1)])
    still[done < 1] = 1.0
    return last + float(np.sum(1.0 - np.prod(1.0 - still, axis=1)))


def _starts(blocks: int, residual: Floats, radio: NrRadio) -> Floats:
    """Slot in which each block is sent first: [blocks]; what repeats leave free of every `spacing` slots."""
    spacing, share = spacing_slots(radio), usable_share(radio)
    fresh: list[float] = []
    total = 0.0
    while total < blocks:
        older = sum(p * fresh[-k] for k, p in enumerate(residual[:-1], start=1) if k <= len(fresh))
        # Repeats alone can fill a round trip; a trickle keeps the count finite.
        fresh.append(max(share - older, 1e-3))
        total += fresh[-1] * spacing
    sent = np.concatenate([[0.0], np.cumsum(fresh)]) * spacing
    return np.interp(np.arange(blocks), sent, spacing * np.arange(len(sent)))
