"""The schemes of Table I: how a live set is coded, what is asked for again, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from evaluate import Losses
from link import MAX_ATTEMPTS, SLOT_S, Delivery, attempts_for, deliver

from airloom.core.coding import RAW, Coding
from airloom.core.tolerance import Curve, CutTolerance
from airloom.nn.captured import Captured
from airloom.nn.tolerance.channel import can_carry
from airloom.planner.accuracy import accuracy_at, tolerable

PRUNED = Coding(prune="exact")
SCATTERED = Coding(prune="exact", interleave="random")
CONCEALED = Coding(prune="exact", interleave="structured", conceal="neighbours")
TUNED = Coding(prune="exact", interleave="structured", conceal="neighbours", tuned=True)
# As many bytes as the paper's codings, so that what is gained is not gained by rounding.
FLOAT32 = (SCATTERED, CONCEALED, TUNED)

FLOOR_POINTS = 0.06  # under the clean model
OPERATING_BLER = 0.5  # of Table I; the paper's times imply 0.36 to 0.55


def fitting(host: Captured, cut: int, coding: Coding) -> Coding:
    """`coding`, or what of it this cut can have: behind a GRU there is nothing to prune, for one."""
    simpler: list[dict[str, Any]] = [{}, {"prune": "none"}, {"conceal": "zeros"}, {"prune": "none", "conceal": "zeros"}]
    for change in simpler:
        found = Coding(**{name: getattr(coding, name) for name in Coding.__struct_fields__} | change)
        if can_carry(host, cut, found):
            return found
    return RAW


def halved(coding: Coding) -> Coding:
    """The same with elements of 16 bits."""
    return Coding(**{name: getattr(coding, name) for name in Coding.__struct_fields__} | {"precision": "float16"})


def exponential(entry: CutTolerance) -> Curve:
    """The paper's G."""
    return next((curve for curve in entry.curves if curve.kind == "exponential"), entry.curves[0])


def bearable(entry: CutTolerance, floor: float, *, paper: bool = False) -> float:
    """G^-1(floor), at least 0: the share of blocks that may stay missing.

    Args:
        paper: with the paper's exponential and without a margin; else the better curve with its own.
    """
    if not paper:
        return max(0.0, tolerable(entry.curves[0], floor))
    curve = exponential(entry)
    rates = np.linspace(0.0, max(point.error_rate for point in entry.points), 1001)
    kept = [rate for rate in rates if accuracy_at(curve, float(rate)) >= floor]
    return float(max(kept, default=0.0))


def repaired_at_once(failure: Sequence[float], share: float) -> Losses:
    """Airloom's controller: nothing is asked for where G(r) keeps the floor (Eq. 1); else, message by message, what is
    missing beyond the share that G allows, until it is there."""
    if failure[0] <= share:
        return Losses(tuple(failure))
    return Losses(tuple(failure), attempts=MAX_ATTEMPTS, tolerable=share)


def by_attempts(failure: Sequence[float], share: float) -> Losses:
    """Eq. (1) as it stands: every lost block is asked for again, up to the number of attempts that brings the rate
    of loss to what G allows."""
    return Losses(tuple(failure), attempts=attempts_for(failure, share))


def whole(failure: Sequence[float], share: float = 0.0) -> Losses:
    """HARQ: every lost block is asked for again."""
    return Losses(tuple(failure), attempts=MAX_ATTEMPTS)


def once(failure: Sequence[float], share: float = 0.0) -> Losses:
    return Losses(tuple(failure))


def transmission(
    num_blocks: float, losses: Losses, *, rng: np.random.Generator, messages: int = 200
) -> tuple[Delivery, dict[str, float]]:
    """Delivery of a message of the mean size, and its seconds: `slots_s` of transmissions alone, `wire_s` with the
    round trips that are waited for at the end."""
    blocks = max(1, round(num_blocks))
    delivery = deliver(
        blocks, losses.failure, attempts=losses.attempts, allowed=math.floor(losses.tolerable * blocks + 1e-9),
        at_end=losses.at_end,
        messages=messages, rng=rng,
    )  # fmt: skip
    return delivery, {"wire_s": delivery.mean_s, "slots_s": float(delivery.sent.mean()) * SLOT_S}
