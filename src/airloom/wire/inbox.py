"""The messages a receiver knows: those under way, within the peer's bounds, and those that are over.

A number is opened once: what is over stays over. Its latest end is remembered message by message for a
while, then only that everything below some number is over, so a peer cannot make this grow.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from airloom.errors import WireError
from airloom.wire.blocks import REFUSED
from airloom.wire.incoming import Incoming
from airloom.wire.limits import MOST_ROUNDS, Budget, ReceiverLimits

_REMEMBERED = 1024  # how many messages that are over are remembered one by one


class Inbox:
    """Messages of one peer, by number.

    Attributes:
        active: those under way. Look up here; `open` and `end` change it.
        held_bytes: their bytes, each taken from the budget that receivers share.
    """

    def __init__(self, limits: ReceiverLimits, budget: Budget, *, gaps: bool) -> None:
        """`gaps`: blocks of a message may stay missing, and its head is needed to say which."""
        self._limits, self._budget, self._gaps = limits, budget, gaps
        self.active: dict[int, Incoming] = {}
        self.held_bytes = 0
        self._over: OrderedDict[int, int] = OrderedDict()  # DONE or REFUSED
        self._floor = 0  # every message below is over, or under way

    def end_of(self, id_: int) -> int | None:
        """How a message that is not under way ended, DONE or REFUSED; None where it is new."""
        if id_ in self._over or id_ < self._floor:
            return self._over.get(id_, REFUSED)
        return None

    def check_new(self, id_: int) -> None:
        """WireError, its text the reason, unless a message that is not under way is new."""
        if id_ in self._over:
            raise WireError("duplicate")
        if id_ < self._floor:
            raise WireError("replayed")

    def open(self, id_: int, nbytes: int, now_s: float) -> Incoming:
        """Begin a new message; WireError where there is no memory for it, now."""
        limits = self._limits
        if len(self.active) >= limits.partial_messages or self.held_bytes + nbytes > limits.partial_bytes:
            raise WireError("memory")
        if not self._budget.take(nbytes):
            raise WireError("memory")
        self.held_bytes += nbytes
        # As long as nobody can say how often its blocks are worth asking for, the head is.
        rounds = limits.rounds
        message = self.active[id_] = Incoming(
            id_, nbytes, now_s, rounds=rounds, head_rounds=MOST_ROUNDS if self._gaps else 3 * rounds,
            known=not self._gaps,
        )  # fmt: skip
        return message

    def end(self, message: Incoming, status: int) -> None:
        """A message that was under way is over, DONE or REFUSED: let go of its memory."""
        del self.active[message.id]
        self.held_bytes -= message.nbytes
        self._budget.give(message.nbytes)
        self.over(message.id, status)

    def over(self, id_: int, status: int) -> None:
        """Remember that a message is over, DONE or REFUSED."""
        self._over[id_] = status
        if len(self._over) > _REMEMBERED:
            old, _ = self._over.popitem(last=False)
            self._floor = max(self._floor, old + 1)

    def silent(self, now_s: float) -> list[Incoming]:
        """Messages of which nothing was heard for the limits' patience."""
        return [m for m in self.active.values() if now_s - m.touched_s >= self._limits.patience_s]

    @property
    def silent_s(self) -> float:
        """When the first may count as silent; infinity where none is under way."""
        if not self.active:
            return math.inf
        return min(m.touched_s for m in self.active.values()) + self._limits.patience_s

    def clear(self) -> None:
        """Give back the memory of all that is under way."""
        for message in self.active.values():
            self._budget.give(message.nbytes)
        self.active.clear()
        self.held_bytes = 0
