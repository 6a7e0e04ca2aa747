"""Bounds on the memory and the work that a peer may cost."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ROUNDS = 255  # of repair of one block, whatever an owner would pay for


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
        head_room: where blocks may stay missing, ask for so many more than are too few that enough should
            come, and for each as often at once as that saves time (`core.repair`).
    """

    message_bytes: int = 64 << 20
    partial_bytes: int = 128 << 20
    partial_messages: int = 256
    rounds: int = 4
    patience_s: float = 1.0
    max_missing: float = 0.5
    head_room: bool = True


@dataclass(frozen=True)
class SenderLimits:
    """Bounds on what a sender holds.

    Attributes:
        queue_bytes: messages not confirmed yet, all together; `send` drops what exceeds it.
        window_bytes: what may be on its way without confirmation.
        head_copies: send the first block of a message again at its end where the link loses much, so
            that receivers who may do without some blocks know so at once.
        resends: how often each block may leave again, on average over a message.
        give_up_s: a message is forgotten after so long without a word from the receiver.
    """

    queue_bytes: int = 256 << 20
    window_bytes: int = 2 << 20
    resends: int = 6
    head_copies: bool = False
    give_up_s: float = 3.0


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
