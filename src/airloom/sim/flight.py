"""A message on its way in virtual time: when its blocks come, and what its receiver makes of that."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from airloom.core.framing import Framing
from airloom.engine.events import SendFrame
from airloom.engine.messages import Gap, Parcel
from airloom.wire.incoming import Incoming, blocks_of_gaps

#: As `wire.ReceiverLimits` has it: a message of which nothing comes for so long has ended.
PATIENCE_S = 1.0
_MOST_ROUNDS = 255
_OWN_LOSS = 8


class Flight:
    """One message.

    Attributes:
        record: the receiver's, of the blocks that have come by the time that was last looked at.
        first: when which block came first hand.
        seen_s: from then on the receiver knows of every block whether it came first hand.
        cuts: how often the link had gone down when it left.
    """

    def __init__(
        self, message: SendFrame, packets: tuple[int, ...], framing: Framing, now_s: float, *, rounds: int, known: bool
    ) -> None:
        self.message, self.packets, self._framing = message, packets, framing
        count = len(packets)
        head_rounds = 3 * rounds if known else _MOST_ROUNDS
        self.record = Incoming(0, 0, now_s, rounds=rounds, head_rounds=head_rounds, known=known, count=count)
        self.first: dict[int, float] = {}
        self.seen_s = math.inf
        self.cuts = 0
        self.over = False
        self._coming: list[tuple[float, int]] = []

    def expect(self, block: int, at_s: float, *, first: bool) -> None:
        """A block will come at `at_s`."""
        heapq.heappush(self._coming, (at_s, block))
        if first:
            self.first[block] = at_s

    def look(self, now_s: float) -> None:
        """Take the blocks that have come by now."""
        record = self.record
        while self._coming and self._coming[0][0] <= now_s:
            at_s, block = heapq.heappop(self._coming)
            if not record.got[block]:
                record.got[block] = 1
                record.left -= 1
                record.came(block)
                record.touched_s = at_s
        if now_s >= self.seen_s:
            record.high = record.count
        if now_s - record.touched_s > PATIENCE_S:
            record.give_up()

    def lost(self, blocks: Sequence[int], *, first: bool) -> None:
        """The receiver sees that these have not come."""
        for block in blocks:
            if first:
                hopeless = self.record.known and not self.record.most(block)
                self.record.lost += 1
                self.record.high = max(self.record.high, block + 1)
                (self.record.given_up if hopeless else self.record.spared).add(block)
            elif block in self.record.asked:
                self.record.failed(block)

    @property
    def loss(self) -> float:
        """Share of its blocks that did not come first hand, of those the receiver has seen; 0 before it saw some."""
        seen = self.record.lost + self.record.count - self.record.left
        return self.record.lost / seen if seen >= _OWN_LOSS else 0.0

    @property
    def vital(self) -> range:
        """Blocks beside block 0 that must come."""
        framing, tensors = self._framing, self.message.frame.tensors
        begin = framing.message_overhead + framing.tensor_overhead * len(tensors)
        return blocks_of_gaps(self.message.frame, begin, framing.block_bytes - framing.block_overhead)

    @property
    def is_readable(self) -> bool:
        """Whether the head, and the list of earlier gaps, are here."""
        return bool(self.record.got[0]) and all(self.record.got[block] for block in self.vital)

    def parcel(self) -> Parcel:
        """What is here: which bytes of which tensors the missing blocks held."""
        parcel, framing = self.message.parcel, self._framing
        if not self.record.left:
            return parcel
        room = framing.block_bytes - framing.block_overhead
        begin = framing.message_overhead + framing.tensor_overhead * len(parcel.tensors)
        missing = [block for block in range(self.record.count) if not self.record.got[block]]
        gaps = []
        for id, data in zip(parcel.tensors, parcel.data, strict=True):
            for block in missing:
                start, stop = max(block * room - begin, 0), min((block + 1) * room - begin, data.nbytes)
                if stop > start:
                    gaps.append(Gap(id, start, stop))
            begin += data.nbytes
        return parcel._replace(missing=tuple(gaps))
