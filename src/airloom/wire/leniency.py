"""What of a message may stay missing, by its owner's word, and how hard the rest is asked for.

The word is asked for once the message's head is here, and again when repairs were lost: the loss of
the link is part of the question, and may turn out worse than it was thought. Owners who allow gaps
pay for haste: of what is too few more is asked for than is lacking, each block several times at once
where that saves round trips (`core.repair`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airloom.core.messages import Allowance, Frame
from airloom.errors import WireError
from airloom.wire.blocks import BLOCK_BYTES, PACKET_OVERHEAD, ROOM
from airloom.wire.header import decode_frame, head_nbytes
from airloom.wire.incoming import Incoming, blocks_of_gaps
from airloom.wire.limits import MOST_ROUNDS
from airloom.wire.meters import LossMeter

_OWN_LOSS = 8  # blocks from which a message's own losses count beside the link's

#: What may be missing of a message of so many blocks, at this loss of first transmissions.
Allow = Callable[[Frame, int, float], Allowance]


class Leniency:
    """The owner's word `allow` (None: everything has to come), put to messages of a link with `loss_meter`.

    `head_room` as `ReceiverLimits` has it.
    """

    def __init__(self, allow: Allow | None, loss_meter: LossMeter, *, head_room: bool) -> None:
        self._allow, self._loss_meter, self._head_room = allow, loss_meter, head_room

    def learn(self, message: Incoming) -> bool:
        """The message's head may be here: learn what may be missing; whether lost blocks are to be asked for now."""
        may, rounds, vital = 0, 0, range(1)
        first = message.view[: min(ROOM, message.nbytes)]
        try:
            if head_nbytes(first) <= len(first):  # a longer head is of so many tensors that no coding makes it
                frame = decode_frame(first)
                may, rounds = self._allowed(frame, message)
                vital = blocks_of_gaps(frame, head_nbytes(first), ROOM)
        except WireError:
            pass  # whoever decodes the whole message says what is wrong
        message.allow(may, rounds, vital)
        return self.choose(message)

    def learn_again(self, message: Incoming) -> None:
        """Repairs may have been lost: the link may be worse than it was thought when the head came."""
        if self._allow is None or not message.has_head():
            return
        try:
            frame = decode_frame(message.view[: min(message.nbytes, head_nbytes(message.view[:ROOM]))])
        except WireError:
            return
        _, rounds = self._allowed(frame, message)
        message.most_rounds = max(message.most_rounds, rounds)

    def choose(self, message: Incoming) -> bool:
        """Have as many of the message's lost blocks asked for as are wanted; whether there are new ones."""
        if not message.spared:
            return False
        return message.choose(self._loss_of(message) if self._head_room else 0.0)

    @property
    def is_hasty(self) -> bool:
        """Whether a block that is asked for may be wanted more than once."""
        return self._allow is not None and self._head_room

    def copies(self, message: Incoming, turn_bits: float) -> int:
        """How often each block that is asked for should leave; `turn_bits` leave in a round trip."""
        if not self.is_hasty:
            return 1
        return message.copies(self._loss_of(message), turn_bits / (8 * (BLOCK_BYTES + PACKET_OVERHEAD)))

    def _allowed(self, frame: Frame, message: Incoming) -> tuple[int, int]:
        """Blocks that may be missing, and rounds of repair."""
        assert self._allow is not None
        missing, rounds = self._allow(frame, message.count, self._loss_of(message))
        # `not >=` catches NaN.
        may = 0 if not missing >= 0.0 else math.floor(min(missing, 1.0) * message.count + 1e-9)
        return may, min(rounds, MOST_ROUNDS)

    def _loss_of(self, message: Incoming) -> float:
        """Share of first transmissions that are lost: the link's, or the message's own where that is more."""
        own = message.lost / message.high if message.high >= _OWN_LOSS else 0.0
        return max(self._loss_meter.loss or 0.0, own)
