"""Just enough repair of a message: what a receiver asks for at a time, and what that should cost.

A receiver may do without some blocks of a message, any of them. It asks for those it lacks too much
and for some more, since repairs are lost too; and where a link is so lossy, or its round trip so
long, that another round would cost more than the bytes, it asks for every block several times at
once. Receivers, the simulator and planners ask the same functions, so what was priced is what happens.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

MOST_COPIES = 32
_HEADLESS, _MOST_HEADS = 0.02, 12
_MOST_LOSS = 0.99  # beyond, asking for more is of no use
_LUCK = 1.0  # standard deviations of what arrives
_LEFT = 0.1  # blocks: the mean number still lacking at which a round counts as the last
_LEAST_CHANCE = 1e-3  # of a further round of repair that is worth counting
_MOST_ROUNDS = 400


def head_copies(loss: float) -> int:
    """How often a message's first block leaves again unasked, so that it hardly ever costs a round trip.

    Nothing can be decided about a message before its head is there. At a loss of blocks so low that
    one message in fifty or fewer lacks it, no copy is worth its bytes.
    """
    if loss <= _HEADLESS:
        return 0
    if loss >= 1.0:
        return _MOST_HEADS
    return min(_MOST_HEADS, math.ceil(math.log(_HEADLESS) / math.log(loss) - 1e-9) - 1)


def wanted(excess: float, loss: float) -> int:
    """How many different blocks to ask for so that `excess` of them, and some for bad luck, should come."""
    if excess <= 0.0:
        return 0
    if loss <= 0.0:
        return math.ceil(excess)
    comes = 1.0 - min(loss, _MOST_LOSS)
    # The root of n comes - luck sqrt(n comes loss) = excess.
    spread = _LUCK * math.sqrt(loss * comes)
    root = (spread + math.sqrt(spread * spread + 4.0 * comes * excess)) / (2.0 * comes)
    return math.ceil(root * root - 1e-9)


def copies(asked: float, excess: float, loss: float, turn_blocks: float) -> int:
    """How often to have each of `asked` blocks sent at once, of which `excess` have to come.

    Args:
        loss: of blocks.
        turn_blocks: how many blocks the link carries in a round trip; 0 where that is not known.

    Returns:
        The number that makes the rest of the repair shortest: a round takes a round trip and its blocks.
    """
    if asked <= 0.0 or excess <= 0.0 or loss <= 0.0 or turn_blocks <= 0.0:
        return 1
    loss = min(loss, _MOST_LOSS)
    spare = asked - excess
    left = max(_LEFT, spare - _LUCK * math.sqrt(max(spare, 0.0)))
    if left >= asked * loss:
        return 1
    needed = math.log(left / asked) / math.log(loss)  # attempts of each block until so few are left
    best, least = 1, math.inf
    for number in range(1, MOST_COPIES + 1):
        rounds = max(1.0, needed / number)
        failing = loss**number
        sent = number * asked * (1.0 - failing**rounds) / (1.0 - failing)
        cost = turn_blocks * rounds + sent
        if cost < least:
            best, least = number, cost
        if number >= needed:
            break
    return best


class Repair(NamedTuple):
    """What the repair of a message should come to in the mean.

    Attributes:
        blocks: blocks that are sent again.
        rounds: round trips.
        waits: for how many blocks' time the link stands idle on its account; below 0 where what is
            sent again keeps nobody waiting.
    """

    blocks: float = 0.0
    rounds: float = 0.0
    waits: float = 0.0


@functools.lru_cache(maxsize=65536)
def expected_repair(blocks: int, may: int, loss: float, turn_blocks: float) -> Repair:
    """The repair of a message of `blocks` blocks of which `may` may stay missing.

    The number of blocks too few is followed round by round, as a normal variable cut off at 0 (by
    Poisson's formula where every block must come).

    Args:
        loss: probability that a block is lost, below 1.
        turn_blocks: how many blocks the link carries in a round trip.
    """
    if loss <= 0.0:
        return Repair()
    sent = rounds = waits = 0.0
    if blocks > 1:
        # Nothing is asked for before the head is there: block 0 and its copies, then itself again.
        heads = 1 + head_copies(loss)
        lacking = loss**heads
        rounds = lacking / (1.0 - lacking)
        sent = heads - 1 + rounds * heads
        waits = rounds * turn_blocks - (heads - 1)  # the copies keep nobody waiting
    missing = blocks * loss
    excess, variance = missing - may, missing * (1.0 - loss)
    reached = 1.0
    for _ in range(_MOST_ROUNDS):
        chance, excess, variance = _too_few(excess, variance, whole=may == 0)
        reached *= chance
        if reached < _LEAST_CHANCE:
            break
        available = excess + may
        asked = min(float(wanted(excess, loss)), available)
        number = copies(asked, excess, loss, turn_blocks)
        failing = loss**number
        sent += reached * asked * number
        rounds += reached
        waits += reached * max(turn_blocks - asked * number, 0.0)
        # More is asked for where more is too few, so only luck carries over, unless all is asked for anyway.
        carried = failing * failing * variance if asked >= available else 0.0
        excess -= asked * (1.0 - failing)
        variance = carried + asked * failing * (1.0 - failing)
    return Repair(sent, rounds, waits)


def _too_few(mean: float, variance: float, *, whole: bool) -> tuple[float, float, float]:
    """The probability that a block or more is too few, and mean and variance of how many if so."""
    if whole:
        chance = -math.expm1(-max(mean, 1e-12))
        return chance, mean / chance, variance if chance > 0.99 else 0.0
    deviation = math.sqrt(max(variance, 1e-6))
    z = (mean - 0.5) / deviation
    chance = 0.5 * math.erfc(-z / math.sqrt(2.0))
    if chance < 1e-9:
        return 0.0, 1.0, 0.0
    hazard = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / chance
    excess = mean + deviation * hazard
    return chance, max(excess, 1.0), max(variance * (1.0 - hazard * (hazard + z)), 0.0)
