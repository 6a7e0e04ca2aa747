"""Bounds on the memory and the work that a peer may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

_HEADLESS, _MOST_COPIES = 0.02, 12


@dataclass(frozen=True)
class ReceiverLimits:
    """Bounds on what a receiver holds and does.

    Attributes:
        message_bytes: the largest message taken.
        partial_bytes, partial_messages: what may be incomplete at once, per peer.
        rounds: repairs of a block before it is given up (three times as many for block 0, without
            which a message means nothing).
        patience_s: a partial message ends after so long without a word of it.
        max_missing: a message that lacks more than this share is dropped, unless its owner allows it.
        head_room: where blocks may stay missing, ask for 1 / (1 - loss) times as many as are too few.
    """

    message_bytes: int = 64 << 20
    partial_bytes: int = 128 << 20
    partial_messages: int = 256
    rounds: int = 4
    patience_s: float = 1.0
    max_missing: float = 0.5
    head_room: bool = True


def head_copies(loss: float) -> int:
    """How often a message's first block leaves again unasked, so that it hardly ever costs a round trip.

    Nothing can be decided about a message before its head is there. At a loss of blocks so low that
    one message in fifty or fewer lacks it, no copy is worth its bytes.
    """
    if loss <= _HEADLESS:
        return 0
    if loss >= 1.0:
        return _MOST_COPIES
    return min(_MOST_COPIES, math.ceil(math.log(_HEADLESS) / math.log(loss) - 1e-9) - 1)


class Budget:
    """Bytes that several receivers share."""

    def __init__(self, nbytes: int) -> None:
        self.left = nbytes

    def take(self, nbytes: int) -> bool:
        if nbytes > self.left:
            return False
        self.left -= nbytes
        return True

    def give(self, nbytes: int) -> None:
        self.left += nbytes
