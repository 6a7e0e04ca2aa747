"""How long a message takes on an uplink that sends a transport block a slot and hears of each a round trip later.

A slot carries a block that is asked for again if there is one, else the next new one; HARQ processes are as many as
a round trip has slots or more, so the link never stops to wait except at the end. What is asked for again is the
policy: up to `attempts` transmissions of a block, and `allowed` blocks of a message that may stay missing. Those are
best kept for the message's end, where asking again would wait for a round trip; but a live set of several tensors has
the last of them there, and must lose a little of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SLOT_S = 0.0005  # 30 kHz
ROUND_TRIP_SLOTS = 8  # data, decoding, HARQ feedback, grant and preparation: 4 ms
PROCESSES = 16  # 38.214, 5.1 and 6.1
MAX_ATTEMPTS = 16  # the paper's HARQ


class Delivery(NamedTuple):
    """Of each simulated message: slots until the last block that the receiver waited for, blocks that never came,
    transmissions."""

    slots: NDArray[np.int64]
    missing: NDArray[np.int64]
    sent: NDArray[np.int64]

    @property
    def mean_s(self) -> float:
        return float(self.slots.mean()) * SLOT_S


def deliver(
    blocks: int,
    failure: Sequence[float],
    *,
    attempts: int = 1,
    allowed: int = 0,
    at_end: bool = True,
    messages: int = 200,
    round_trip: int = ROUND_TRIP_SLOTS,
    rng: np.random.Generator,
) -> Delivery:
    """Send messages of `blocks` transport blocks.

    Args:
        failure: probability that attempt k + 1 fails where the k before it did; the last holds from there on.
        attempts: transmissions of one block at most.
        allowed: so many losses of a message are let go at most; `at_end`, or evenly (`spared`).
    """
    if not 1 <= round_trip <= PROCESSES:
        raise ValueError(f"a round trip of {round_trip} slots: {PROCESSES} processes cover 1 to {PROCESSES}")
    fails = np.array([failure[min(k, len(failure) - 1)] for k in range(attempts)])
    rows = np.arange(messages)
    fresh = np.full(messages, blocks)
    waiting = np.zeros((messages, attempts), np.int64)  # asked for again, by the attempt that comes next
    heard = np.zeros(messages, np.int64)
    let_go = np.zeros(messages, np.int64)
    missing = np.zeros(messages, np.int64)
    sent = np.zeros(messages, np.int64)
    last = np.zeros(messages, np.int64)
    flying: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []  # attempt made (-1: none), failed
    slot = 0
    while True:
        if len(flying) >= round_trip:
            attempt, failed = flying.pop(0)
            heard += attempt == 0
            spare = (
                failed & (attempt == 0) & spared(allowed - let_go, blocks - heard, failure[0], at_end=at_end, rng=rng)
            )
            again = failed & ~spare & (attempt + 1 < attempts)
            let_go += spare
            missing += failed & ~again
            waiting[rows[again], attempt[again] + 1] += 1
        asked = waiting.any(1)
        oldest = attempts - 1 - (waiting[:, ::-1] > 0).argmax(1)
        made = np.where(asked, oldest, np.where(fresh > 0, 0, -1))
        waiting[rows[asked], oldest[asked]] -= 1
        fresh -= (~asked) & (fresh > 0)
        busy = made >= 0
        sent += busy
        slot += 1
        last[busy] = slot
        flying.append((made, busy & (rng.random(messages) < fails[np.maximum(made, 0)])))
        if not busy.any() and not any((made >= 0).any() for made, _ in flying):
            return Delivery(last, missing, sent)


def spared(
    left: NDArray[np.int64], rest: NDArray[np.int64], bler: float, *, at_end: bool, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whether a block that was lost is let go: `left` more of its message may stay missing, and `rest` come after it.

    Args:
        at_end: kept for the end: let go where no more of the rest than that will be lost, by a standard deviation.
            Else spread evenly over the message.
    """
    expected = 1 + bler * rest
    if at_end:
        return expected + np.sqrt(bler * (1 - bler) * rest) <= left
    return rng.random(len(expected)) * expected < left


def independent(bler: float) -> tuple[float, ...]:
    """Every attempt is as likely to fail: no combining."""
    return (bler,)


def residual(failure: Sequence[float], attempts: int) -> float:
    """Probability that a block fails `attempts` times."""
    return float(np.prod([failure[min(k, len(failure) - 1)] for k in range(attempts)]))


def attempts_for(failure: Sequence[float], tolerable: float) -> int:
    """Eq. (1) of the paper: the least number of transmissions after which a block's loss is at most `tolerable`;
    `MAX_ATTEMPTS` where none is enough."""
    return next((n for n in range(1, MAX_ATTEMPTS) if residual(failure, n) <= tolerable), MAX_ATTEMPTS)
