"""A message on its way in: its gaps, the rounds of repair they have had, and what stays missing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from airloom.errors import WireError
from airloom.wire.blocks import MAX_RANGE, ROOM, after, num_blocks
from airloom.wire.header import head_nbytes

_NOT_ASKED = -1


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
        "left",
        "nbytes",
        "rounds",
        "touched_s",
        "view",
    )  # fmt: skip

    def __init__(self, id_: int, nbytes: int, now_s: float) -> None:
        self.id, self.nbytes = id_, nbytes
        self.count = num_blocks(nbytes)
        self.view = np.zeros(nbytes, dtype=np.uint8).data
        self.got = bytearray(self.count)
        self.left = self.count
        self.high = 0  # every block below is here, known to be missing, or in `gaps`
        self.gaps: list[tuple[int, int]] = []  # not yet believed to be lost
        self.asked: dict[int, int] = {}  # block known to be missing -> the report that first asked, this round
        self.rounds: dict[int, int] = {}
        self.given_up: set[int] = set()
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
            self.asked.update(dict.fromkeys(missing, _NOT_ASKED))
        self.gaps = kept
        return lost

    def judge(self, heard: int, rounds: int) -> bool:
        """Repairs asked for up to report `heard` have come or are lost; whether a block needs another round.

        After `rounds` of them a block is given up, block 0 after three times as many.
        """
        again = False
        for index, seq in list(self.asked.items()):
            if seq == _NOT_ASKED or after(seq, heard):
                continue
            tried = self.rounds[index] = self.rounds.get(index, 0) + 1
            if tried >= (3 * rounds if index == 0 else rounds):
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

    def ask(self, seq: int, most: int) -> tuple[tuple[tuple[int, int], ...], bool]:
        """At most `most` ranges for report `seq` to ask for, and whether all new ones are among them.

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
        return tuple(ranges), all(asked[index] != _NOT_ASKED for index in new)

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
