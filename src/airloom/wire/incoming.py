"""A message on its way in: its gaps, the rounds of repair they have had, and what stays missing.

A block known to be lost is asked for again, or spared while no more are lost than may stay missing.
How many that is stands in the message's head, so where it depends on that, lost blocks wait for
block 0; without such a dependence nothing may be missing and everything is asked for at once.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from airloom.core.messages import GAPS, Frame
from airloom.core.repair import copies, wanted
from airloom.errors import WireError
from airloom.wire.blocks import MAX_RANGE, ROOM, after, num_blocks
from airloom.wire.header import head_nbytes

_NOT_ASKED = -1


def _scattered(index: int) -> int:
    """A place in an order in which any first few are spread evenly (multiples of the golden ratio, modulo 1)."""
    return index * 0x9E3779B1 & 0xFFFFFFFF


class Incoming:
    """The blocks of a message that have come, those asked for, and those given up."""

    __slots__ = (
        "asked",
        "count",
        "gaps",
        "given_up",
        "got",
        "high",
        "id",
        "known",
        "left",
        "lost",
        "may",
        "most_rounds",
        "nbytes",
        "rounds",
        "spared",
        "touched_s",
        "view",
        "vital",
        "vital_rounds",
    )  # fmt: skip

    def __init__(
        self,
        id_: int,
        nbytes: int,
        now_s: float,
        *,
        rounds: int,
        head_rounds: int,
        known: bool,
        count: int | None = None,
    ) -> None:
        """`count` blocks, where it is not for the wire's framing to say.

        `known`: nothing may be missing, whatever the head says; else `allow` tells once the head is here."""
        self.id, self.nbytes = id_, nbytes
        self.count = num_blocks(nbytes) if count is None else count
        self.view = np.zeros(nbytes, dtype=np.uint8).data
        self.got = bytearray(self.count)
        self.left = self.count
        self.high = 0  # every block below is here, known to be missing, or in `gaps`
        self.gaps: list[tuple[int, int]] = []  # not yet believed to be lost
        self.asked: dict[int, int] = {}  # block known to be missing -> the report that first asked, this round
        self.rounds: dict[int, int] = {}
        self.given_up: set[int] = set()
        self.spared: set[int] = set()  # known to be missing, and (so far) not asked for
        self.known, self.may, self.most_rounds, self.vital_rounds = known, 0, rounds, head_rounds
        self.vital = range(1)  # blocks that must arrive beside block 0
        self.lost = 0  # blocks that did not come the first time
        self.touched_s = now_s

    def confirm(self, below: int) -> int:
        """Gaps that end at or before block `below` are losses from now on, to be asked for; how many blocks."""
        kept = []
        lost = 0
        for start, stop in self.gaps:
            if stop > below:
                kept.append((start, stop))
                continue
            missing = [k for k in range(start, stop) if not self.got[k]]
            lost += len(missing)
            if self.known and not self.may:
                self.asked.update(dict.fromkeys(missing, _NOT_ASKED))
            else:
                self.spared.update(missing)
        self.gaps = kept
        self.lost += lost
        return lost

    def allow(self, may: int, rounds: int, vital: range) -> None:
        """The head is here: so many blocks may stay missing, after so many rounds, but none of `vital`."""
        self.known, self.may, self.vital = True, max(0, may), vital
        self.most_rounds = max(self.most_rounds, rounds)

    def choose(self, loss: float = 0.0) -> bool:
        """Ask for as many of the spared blocks as the message lacks too many; whether there are any.

        With `loss` above 0 for more, so that as many as it lacks should come at the first try. Those that
        stay missing are spread evenly over the message: its last blocks may hold all of a small tensor.
        """
        if not self.spared:
            return False
        if not self.known:
            chosen = [0] if 0 in self.spared else []
        else:
            chosen = [index for index in self.spared if index == 0 or index in self.vital]
            more = wanted(self.excess, loss) - len(self.asked) - len(chosen)
            if more > 0:
                chosen += sorted(self.spared.difference(chosen), key=_scattered)[:more]
        self.spared.difference_update(chosen)
        self.asked.update(dict.fromkeys(chosen, _NOT_ASKED))
        return bool(chosen)

    @property
    def excess(self) -> int:
        """How many blocks too many are known to be missing."""
        return len(self.spared) + len(self.asked) + len(self.given_up) - self.may

    def copies(self, loss: float, turn_blocks: float) -> int:
        """How often to have each block sent that is asked for now (`core.repair`).

        As long as blocks still leave for the first time, a round trip among them costs no time of its own.
        """
        excess = self.excess if self.known else len(self.asked)  # before the head is there nothing else is asked for
        return copies(len(self.asked), excess, loss, turn_blocks - (self.count - self.high))

    def came(self, index: int) -> bool:
        """A block below `high` came; whether it was only late, and no repair."""
        if index in self.spared:
            self.spared.discard(index)
            return True
        late = self.asked.pop(index, None) is None and index not in self.given_up
        self.given_up.discard(index)
        return late

    @property
    def is_settled(self) -> bool:
        """Whether nothing more of it is to come, or enough is here."""
        if self.left == len(self.given_up) + len(self.spared):
            return True
        return self.high == self.count and self.is_enough

    @property
    def is_enough(self) -> bool:
        """Whether no more is missing than may be."""
        return self.known and self.left <= self.may and bool(self.got[0]) and all(self.got[k] for k in self.vital)

    def judge(self, heard: int) -> bool:
        """Repairs asked for up to report `heard` have come or are lost; whether a block needs another round.

        After `most_rounds` of them a block is given up, a vital one after `vital_rounds`.
        """
        again = False
        for index, seq in list(self.asked.items()):
            if seq == _NOT_ASKED or after(seq, heard):
                continue
            tried = self.rounds[index] = self.rounds.get(index, 0) + 1
            if tried >= self.most(index):
                del self.asked[index]
                self.given_up.add(index)
            else:
                self.asked[index] = _NOT_ASKED
                again = True
        return again

    @property
    def unasked(self) -> bool:
        """Whether a block is known to be missing that no report has asked for, this round."""
        return _NOT_ASKED in self.asked.values()

    def ask(self, seq: int, most: int, copies: int = 1) -> tuple[tuple[tuple[int, int], ...], bool]:
        """At most `most` ranges for report `seq` to ask for, and whether all new ones are among them.

        Each is named `copies` times, or as often as there is room for.

        Those asked for before and not answered are named again: the report that asked may be lost,
        and `heard` of this one must mean them too.
        """
        asked = self.asked
        new = sorted(index for index, by in asked.items() if by == _NOT_ASKED)
        ranges: list[tuple[int, int]] = []
        for index in (*new, *sorted(index for index, by in asked.items() if by != _NOT_ASKED)):
            if ranges and sum(ranges[-1]) == index and ranges[-1][1] < MAX_RANGE:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
            elif len(ranges) < most:
                ranges.append((index, 1))
            else:
                break
            if asked[index] == _NOT_ASKED:
                asked[index] = seq
        again = min(copies, most // max(1, len(ranges)))
        return tuple(ranges) * max(1, again), all(asked[index] != _NOT_ASKED for index in new)

    def failed(self, index: int) -> None:
        """A repair of block `index` was lost: it is chosen again, or given up after so many."""
        del self.asked[index]
        tried = self.rounds[index] = self.rounds.get(index, 0) + 1
        (self.given_up if tried >= self.most(index) else self.spared).add(index)

    def give_up(self) -> None:
        """Nothing more is asked for."""
        self.given_up.update(self.asked, self.spared)
        self.asked.clear()
        self.spared.clear()

    def new(self) -> list[int]:
        """Blocks that are to be asked for and were not yet, ascending; from now on they were."""
        new = sorted(index for index, by in self.asked.items() if by == _NOT_ASKED)
        self.asked.update(dict.fromkeys(new, 0))
        return new

    def most(self, index: int) -> int:
        """How often block `index` may be asked for."""
        return self.vital_rounds if index == 0 or index in self.vital else self.most_rounds

    @property
    def accounted(self) -> int:
        """Blocks that are here or need not come: those the sender need not keep room for."""
        return self.count - self.left + len(self.given_up) + len(self.spared)

    def has_head(self) -> bool:
        """Whether all blocks that hold the message's head are here."""
        if not self.got[0]:
            return False
        try:
            size = head_nbytes(self.view[: min(ROOM, self.nbytes)])
        except WireError:
            return True  # it is all the sender's; whoever decodes it says what is wrong
        return all(self.got[: min(self.count, -(-size // ROOM))])

    def missing(self) -> tuple[tuple[int, int], ...]:
        """Byte ranges of the blocks that are not here, ascending."""
        lost = [k for k in range(self.count) if not self.got[k]]
        edges = [-1, *(i for i, (a, b) in enumerate(pairwise(lost)) if b != a + 1), len(lost) - 1]
        return tuple((lost[low + 1] * ROOM, min((lost[high] + 1) * ROOM, self.nbytes)) for low, high in pairwise(edges))


def blocks_of_gaps(frame: Frame, offset: int, room: int) -> range:
    """Blocks of `room` bytes with the list of what earlier hops lost; without it the gaps would be taken for data.

    `offset` is where the tensors of the message begin; where there is no list, block 0.
    """
    for id_, nbytes in frame.tensors:
        if id_ == GAPS and nbytes:
            return range(offset // room, (offset + nbytes - 1) // room + 1)
        offset += nbytes
    return range(1)
