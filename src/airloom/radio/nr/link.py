"""A 5G NR uplink as a link model: IP packets fill transport blocks slot by slot, and blocks are lost whole.

A packet that is offered goes into the next slots that have room, in pieces where it must (RLC
segmentation; headers of RLC, PDCP and MAC are not counted). A block that has begun to be sent takes
nothing more. Its fate is drawn once, from the residual error rates of its MCS at the link's SNR; repeats
take slots of their own, a round trip later, before new blocks. Packets are not put back in order.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

import msgspec
import numpy as np

from airloom.core.topology import NrRadio
from airloom.radio.nr.adaptation import adapted, allocation_of, choice, packet_loss, with_mcs
from airloom.radio.nr.harq import residual_bler
from airloom.radio.nr.numerology import slot_s
from airloom.radio.nr.tables import mcs
from airloom.radio.nr.timing import expected_slots, spacing_slots
from airloom.radio.queue import default_buffer_bytes

_NEVER = -(2**62)


class NrLink:
    """One direction of a 5G link; SNR, MCS, delay and being up may change at any time.

    A change of SNR or MCS acts on the blocks that are begun after it.

    Attributes:
        radio: as it is now; its `mcs` is None while link adaptation chooses.
        mcs: index in use.
        lost: packets with a byte in a lost block; `overflowed`: packets that found the buffer full;
            `cut_off`: packets offered while the link was down.
        blocks, attempts, blocks_lost: transport blocks begun, times they were sent, and those never decoded.
    """

    def __init__(
        self, radio: NrRadio, *, delay_s: float = 0.0, buffer_bytes: float | None = None, up: bool = True
    ) -> None:
        """`buffer_bytes` bounds what waits to be sent first; None is 0.2 s at the rate, at least 256 KiB."""
        self.delay_s, self.up = delay_s, up
        self.lost = self.overflowed = self.cut_off = 0
        self.blocks = self.attempts = self.blocks_lost = 0
        self._slot = _NEVER  # of the last block begun
        self._room = 0  # bytes that it still takes
        self._arrives_s: float | None = None
        self._repeats: set[int] = set()  # slots that are taken
        self._held: list[int] = []  # when the processes in use are free again, a heap of slots
        self._waiting: deque[tuple[float, int]] = deque()  # (start of a slot, bytes it will send)
        self._backlog = 0
        self.radio = radio
        self._settle()
        self.buffer_bytes = default_buffer_bytes(self.rate_bps) if buffer_bytes is None else buffer_bytes

    def _settle(self) -> None:
        """Work out what follows from `radio`."""
        radio = self.radio
        self._choice = adapted(radio)
        self.mcs = self._choice.mcs
        self._residual = residual_bler(
            mcs(radio.mcs_table, self.mcs), radio.snr_db, channel=radio.channel, combining=radio.combining,
            attempts=radio.attempts, allocation=allocation_of(radio),
        )  # fmt: skip
        self._slot_s, self._spacing = slot_s(radio.scs_khz), spacing_slots(radio)
        self._block_bytes = self._choice.block_bytes
        self._room = 0

    def use_mcs(self, index: int | None) -> None:
        """Send with MCS `index` of the radio's table from the next block on; None leaves it to link adaptation.

        Raises:
            ValueError: the table has no such index.
        """
        if index is not None:
            choice(self.radio, index)
        self.radio = with_mcs(self.radio, index)
        self._settle()

    def use_snr(self, snr_db: float) -> None:
        """The SNR from the next block on; ValueError where it is not finite."""
        if not math.isfinite(snr_db):
            raise ValueError(f"an SNR in dB is a finite number, got {snr_db!r}")
        self.radio = msgspec.structs.replace(self.radio, snr_db=snr_db)
        self._settle()

    @property
    def rate_bps(self) -> float:
        """bit/s of transport blocks of a busy link, repeats taken off, lost blocks included."""
        return self._choice.rate_bps

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    @property
    def block_loss(self) -> float:
        """Probability that a transport block is lost after all its attempts."""
        return self._choice.block_loss if self.up else 1.0

    @property
    def expected_loss(self) -> float:
        """Of packets of 1228 bytes, one wire block each, that follow one another; `packet_loss` of other sizes."""
        return self._choice.packet_loss if self.up else 1.0

    def packet_loss(self, nbytes: int) -> float:
        """Probability that a packet of `nbytes` bytes in a row of such packets is lost."""
        return packet_loss(self._block_bytes, self.block_loss, nbytes)

    def expected_transfer_s(self, nbytes: float) -> float:
        """Mean seconds until the last attempt at the last of `nbytes` has been decoded, or given up."""
        if not self.up:
            return math.inf
        slots = expected_slots(math.ceil(nbytes / self._block_bytes), self._residual, self.radio)
        wait = 0.5 if slots else 0.0  # a transfer comes at any moment of a slot
        return (wait + slots) * self._slot_s + self.radio.processing_s + self.delay_s

    def backlog_bytes(self, at_s: float) -> int:
        """Bytes accepted whose first slot has not begun at `at_s`."""
        while self._waiting and self._waiting[0][0] <= at_s:
            self._backlog -= self._waiting.popleft()[1]
        return self._backlog

    def offer(self, nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
        """When the packet arrives, whole: with the last block that has a byte of it; None where one is lost."""
        if not self.up:
            self.cut_off += 1
            return None
        waiting = self.backlog_bytes(at_s)
        if waiting and waiting + nbytes > self.buffer_bytes:
            self.overflowed += 1
            return None
        earliest = math.ceil(at_s / self._slot_s - 1e-9)
        if self._slot < earliest:
            self._room = 0
        arrives_s: float | None = -math.inf
        left = nbytes
        while left > 0:
            if self._room == 0:
                self._begin_block(max(earliest, self._slot + 1), rng)
            taken = min(left, self._room)
            left -= taken
            self._room -= taken
            start_s = self._slot * self._slot_s
            if start_s > at_s:
                self._waiting.append((start_s, taken))
                self._backlog += taken
            if arrives_s is not None:
                arrives_s = None if self._arrives_s is None else max(arrives_s, self._arrives_s)
        if arrives_s is None:
            self.lost += 1
            return None
        return arrives_s + self.delay_s

    def _begin_block(self, slot: int, rng: np.random.Generator) -> None:
        """Take the first free slot from `slot` on, draw the block's fate, and take slots for its repeats."""
        harq = self.radio.attempts > 1
        if harq:
            while self._held and self._held[0] <= slot:
                heapq.heappop(self._held)
            if len(self._held) >= self.radio.processes:
                slot = max(slot, heapq.heappop(self._held))
        slot = self._free(slot)
        self._slot, self._room = slot, self._block_bytes
        u = rng.random()
        failed = int(np.count_nonzero(u < self._residual))  # attempts that fail: rates never rise
        decoded = failed < self.radio.attempts
        attempts = failed + 1 if decoded else failed
        last = slot
        for _ in range(attempts - 1):
            last = self._free(last + self._spacing)
            self._repeats.add(last)
        if harq:
            heapq.heappush(self._held, last + self._spacing)
        if len(self._repeats) > 4096:
            self._repeats = {taken for taken in self._repeats if taken > slot}
        self._arrives_s = (last + 1) * self._slot_s + self.radio.processing_s if decoded else None
        self.blocks += 1
        self.attempts += attempts
        self.blocks_lost += not decoded

    def _free(self, slot: int) -> int:
        while slot in self._repeats:
            slot += 1
        return slot
