"""What bytes cost over a link: the ways in which it can be used, and the price of a message on one of them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Option, RadioChoice
from airloom.core.repair import Repair, expected_repair
from airloom.core.topology import Link, LinkState, Power

NO_POWER = Power()


class Way(NamedTuple):
    """One way of using a link, as it is now.

    Attributes:
        loss: probability that a block of the wire is lost: one IP packet.
        fixed_s: seconds of a transfer beside its bytes: overhead, propagation, the radio's repetitions.
        round_s: of a repair round: there and back.
        mcs: of a radio link.
    """

    rate_bps: float
    loss: float
    fixed_s: float
    round_s: float
    mcs: int | None = None

    @property
    def is_open(self) -> bool:
        return self.loss < 1.0 and self.rate_bps > 0.0


def ways(
    link: Link, *, state: LinkState | None = None, choices: Sequence[RadioChoice] = (), back_delay_s: float = 0.0
) -> tuple[Way, ...]:
    """The ways of using `link` under `state`: one, or on a radio link one for each of `choices`.

    A measured rate stretches those of all choices alike: what moves is the share of the radio that
    this link has. A measured loss stands in place of the one choice's, where there is one; that of
    several is of whichever was in use, and says nothing of the others.
    """
    state = state or LinkState(src=link.src, dst=link.dst)
    rate = link.rate_bps if state.rate_bps is None else state.rate_bps
    delay = link.delay_s if state.delay_s is None else state.delay_s
    fixed, turn = link.overhead_s + delay, delay + back_delay_s
    if not state.up:
        return (Way(0.0, 1.0, fixed, turn),)
    if not choices:
        return (Way(rate, link.loss if state.loss is None else state.loss, fixed, turn),)
    share = rate / link.rate_bps if math.isfinite(link.rate_bps) and state.rate_bps is not None else 1.0
    return tuple(
        Way(
            rate_bps=choice.rate_bps * share,
            loss=choice.loss if state.loss is None or len(choices) > 1 else state.loss,
            fixed_s=fixed + choice.delay_s,
            round_s=turn + choice.delay_s,
            mcs=choice.mcs,
        )
        for choice in choices
    )


def carry(
    way: Way,
    nbytes: int,
    *,
    blocks: int,
    power: Power,
    receiver: Power = NO_POWER,
    tolerable: float = 0.0,
    waits: bool = False,
    coding: str = "raw",
    code_s: float = 0.0,
    decode_s: float = 0.0,
) -> Option:
    """A message of `nbytes` bytes on the wire: fixed costs + bits / rate, sent until enough of it is there.

    `nbytes` is the first transmission alone (law 4); energy counts what is sent again.

    Args:
        blocks: how many blocks the message has.
        power, receiver: of the hosts at both ends; for a curve the radio is on while bits travel, at the rate in force.
        tolerable: share of them that may stay missing: a whole number of blocks.
        waits: count round trips of repair, as `core.repair` expects them. Plans that may choose how
            much to repair must; a plan that repairs everything has them on every assignment, counts
            each block 1 / (1 - loss) times and leaves them out.
    """
    if not way.is_open:
        return Option(
            coding=coding, nbytes=nbytes, transfer_s=math.inf, energy_j=math.inf, receive_j=math.inf, mcs=way.mcs,
            tolerable=tolerable,
        )  # fmt: skip
    if waits:
        repair = _repair(way, nbytes, blocks, round(tolerable * blocks))
    else:
        repair = Repair(blocks * way.loss / (1.0 - way.loss))
    bits = 8 * nbytes * (1.0 + repair.blocks / blocks)
    idle_bits = 8 * nbytes * repair.waits / blocks
    return Option(
        coding=coding,
        nbytes=nbytes,
        transfer_s=way.fixed_s + (bits + idle_bits) / way.rate_bps,
        code_s=code_s,
        decode_s=decode_s,
        energy_j=bits * send_j_per_bit(power, way.rate_bps),
        receive_j=bits * receive_j_per_bit(receiver, way.rate_bps),
        mcs=way.mcs,
        tolerable=tolerable,
        rounds=repair.rounds,
        missing=min(way.loss, tolerable),
    )


def carry_all_s(way: Way, nbytes: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    """`carry(...).total_s` of many raw messages at once, where rounds of repair are not counted."""
    if not way.is_open:
        return np.full(len(nbytes), math.inf)
    seconds: NDArray[np.float64] = way.fixed_s + _bits(way, nbytes, blocks) / way.rate_bps
    return seconds


def radio_all_j(
    way: Way, nbytes: NDArray[np.int64], blocks: NDArray[np.int64], power: Power, receiver: Power
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`carry(...).energy_j` and `receive_j` of many raw messages at once."""
    if not way.is_open:
        return np.full(len(nbytes), math.inf), np.full(len(nbytes), math.inf)
    bits = _bits(way, nbytes, blocks)
    return bits * send_j_per_bit(power, way.rate_bps), bits * receive_j_per_bit(receiver, way.rate_bps)


def _bits(way: Way, nbytes: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    again = 0.0 if way.loss == 0.0 else blocks * way.loss / (1.0 - way.loss) / blocks
    return (8 * nbytes * (1.0 + again)).astype(np.float64, copy=False)


def radio_w(curve: tuple[tuple[float, float], ...], rate_bps: float) -> float:
    """W at a rate: linear between the points of a curve, the ends' own beyond them; 0 without points.

    Args:
        curve: (bit/s, W), rates ascending.
    """
    if not curve:
        return 0.0
    after = bisect.bisect_left(curve, (rate_bps, -math.inf))
    if after == 0:
        return curve[0][1]
    if after == len(curve):
        return curve[-1][1]
    (low, low_w), (high, high_w) = curve[after - 1], curve[after]
    return low_w + (high_w - low_w) * (rate_bps - low) / (high - low)


def send_j_per_bit(power: Power, rate_bps: float) -> float:
    """J of the sender's radio for a bit at that rate: its curve over the rate, or else `radio_j_per_bit`."""
    if not power.send_w:
        return power.radio_j_per_bit
    return radio_w(power.send_w, rate_bps) / rate_bps if math.isfinite(rate_bps) else 0.0


def receive_j_per_bit(power: Power, rate_bps: float) -> float:
    """J of the receiver's radio for a bit at that rate."""
    return radio_w(power.receive_w, rate_bps) / rate_bps if power.receive_w and math.isfinite(rate_bps) else 0.0


def _repair(way: Way, nbytes: int, blocks: int, may: int) -> Repair:
    turn_blocks = way.round_s * way.rate_bps * blocks / (8 * nbytes) if math.isfinite(way.rate_bps) else 0.0
    return expected_repair(blocks, may, way.loss, turn_blocks)
