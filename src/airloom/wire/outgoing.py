"""A message on its way out: its sealed blocks, and which of them left when.

A block waits, leaves for the first time, and from then on may be asked for again. It is queued again only
if it is not queued already and its last departure is one that the receiver had seen when it asked
(departures are ordered by `stamp`), so two reports that ask for it never send it twice. A report that
names a block several times has it sent as often.
"""

from __future__ import annotations

import numpy as np

from airloom.wire.blocks import BLOCK_BYTES, ROOM, STAMP_OFFSET, after

_QUEUED = -1  # in place of a stamp: a repair that has not left yet


class Outgoing:
    """`plain` in `count` blocks, the number of its first one `id_`.

    Attributes:
        sealed: room for its blocks back to back; whoever lets a block leave for the first time seals it there.
        sent: blocks that left for the first time.
        got: blocks the receiver confirmed.
        echoes: how often it was sent again unasked.
    """

    __slots__ = ("_again", "_resent", "count", "echoes", "got", "id", "nbytes", "plain", "sealed", "sent", "touched_s")

    def __init__(self, id_: int, plain: bytes, count: int, now_s: float) -> None:
        self.id = id_
        self.plain = memoryview(plain)
        self.nbytes = len(plain)
        self.count = count
        self.sealed = np.empty(self.nbytes + count * (BLOCK_BYTES - ROOM), dtype=np.uint8).data
        self.sent = 0
        self.got = 0
        self.echoes = 0
        self.touched_s = now_s
        self._again: dict[int, int] = {}  # stamp of the last repair of a block
        self._resent = 0

    def blocks(self, first: int, stop: int) -> memoryview:
        """Blocks `first..stop-1`, sealed, back to back."""
        return self.sealed[first * BLOCK_BYTES : stop * BLOCK_BYTES]

    def ask(self, first: int, count: int, seen: int, fresh: set[int], most: int) -> list[tuple[int, int]]:
        """Ranges (first block, how many) of those asked for that are to leave again; they count as queued.

        `seen` is the last departure that the report had seen, `fresh` the blocks that it queued before.
        At most `most` blocks of the message ever leave again, counted by reports.
        """
        stop = min(first + count, self.sent)
        ranges = []
        run = first
        for index in range(first, stop):
            last = self._again.get(index)
            if last is None:
                last = int.from_bytes(self.sealed[index * BLOCK_BYTES + STAMP_OFFSET :][:4], "little")
            waits = index not in fresh and (last == _QUEUED or after(last, seen))
            if waits or self._resent >= most:
                if run < index:
                    ranges.append((run, index - run))
                run = index + 1
            else:
                fresh.add(index)
                self._again[index] = _QUEUED
                self._resent += 1
        if run < stop:
            ranges.append((run, stop - run))
        return ranges

    def left_again(self, first: int, stop: int, stamp: int) -> None:
        """Blocks `first..stop-1` leave again, at `stamp`."""
        self._again.update(dict.fromkeys(range(first, stop), stamp))
