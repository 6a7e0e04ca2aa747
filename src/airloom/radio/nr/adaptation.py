"""Choosing an MCS: what each one offers at an SNR, the usual rule of 10 % BLER, and CQI."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from airloom.core.problem import RadioChoice
from airloom.core.topology import Channel, NrRadio
from airloom.radio.nr.bler import bler
from airloom.radio.nr.harq import expected_attempts, residual_bler
from airloom.radio.nr.numerology import slot_s
from airloom.radio.nr.tables import CQI_TABLES, MCS_TABLES, Mcs, mcs
from airloom.radio.nr.tbs import REFERENCE, Allocation, transport_block_bits
from airloom.radio.nr.timing import expected_slots, usable_share

#: BLER at which link adaptation aims, and for which CQI are defined (TS 38.214 clause 5.2.2.1).
TARGET_BLER = 0.1
#: An IP packet with one block of Airloom's wire: 1200 bytes, UDP and IP headers.
PACKET_BYTES = 1228
# Transfer whose mean wait for slots and repeats stands for all in a choice's `delay_s`.
_NOMINAL_BYTES = 64 * 1024
# A choice that loses less gains nothing from being more robust; one that loses more carries nothing.
_SAFE, _HOPELESS = 1e-6, 0.999


class NrChoice(NamedTuple):
    """What a link over `NrRadio` offers with one MCS.

    Attributes:
        mcs: index in the radio's MCS table.
        block_bytes: bytes of a transport block.
        bler: error rate of a transport block sent once.
        block_loss: error rate of a transport block after the radio's attempts (HARQ).
        attempts: mean times a transport block is sent; 1.0 without HARQ.
        rate_bps: bit/s of transport blocks, repeats taken off: what a busy link carries, lost blocks
            included. `rate_bps * (1 - block_loss)` is what arrives.
        packet_loss: probability that an IP packet of one wire block (1228 bytes) loses a byte: a packet
            may lie in two transport blocks, or in more where those are small.
        delay_s: mean seconds that a transfer takes beside `bytes / rate_bps`: the wait for a slot, the
            rest of its last one, decoding, and the last repeats.
    """

    mcs: int
    block_bytes: int
    bler: float
    block_loss: float
    attempts: float
    rate_bps: float
    packet_loss: float
    delay_s: float


def allocation_of(radio: NrRadio) -> Allocation:
    """A whole slot with one DMRS symbol."""
    return Allocation(prb=radio.prb, layers=radio.mimo_layers)


def packet_loss(block_bytes: int, block_loss: float, nbytes: int = PACKET_BYTES) -> float:
    """Probability that a packet has a byte in a lost transport block, in a long row of such packets.

    Packets follow one another without padding, so they begin at offsets that are multiples of the
    greatest common divisor of both sizes, each as often.
    """
    step = math.gcd(nbytes, block_bytes)
    few = 1 + (nbytes - 1) // block_bytes  # blocks that a packet at the start of one lies in
    # It lies in one more from the offset on at which its last byte is pushed over.
    within = few * block_bytes - nbytes  # the largest offset with `few` blocks
    share = (min(within, block_bytes - step) // step + 1) / (block_bytes // step)
    arrives = 1.0 - block_loss
    return 1.0 - (share * arrives**few + (1.0 - share) * arrives ** (few + 1))


def choice(radio: NrRadio, index: int, *, snr_db: float | None = None) -> NrChoice:
    """What one MCS offers; ValueError where the radio's table has no such index or there is no BLER table."""
    row, allocation = mcs(radio.mcs_table, index), allocation_of(radio)
    at_db = radio.snr_db if snr_db is None else snr_db
    residual = residual_bler(
        row, at_db, channel=radio.channel, combining=radio.combining, attempts=radio.attempts, allocation=allocation
    )
    nbytes, slot = transport_block_bits(row, allocation) // 8, slot_s(radio.scs_khz)
    attempts = expected_attempts(residual)
    rate = 8 * nbytes / slot / attempts * usable_share(radio)
    lost = float(residual[-1])
    slots = 0.5 + expected_slots(math.ceil(_NOMINAL_BYTES / nbytes), residual, radio)
    return NrChoice(
        mcs=index,
        block_bytes=nbytes,
        bler=float(residual[0]),
        block_loss=lost,
        attempts=attempts,
        rate_bps=rate,
        packet_loss=packet_loss(nbytes, lost),
        delay_s=max(0.0, slots * slot + radio.processing_s - 8 * _NOMINAL_BYTES / rate),
    )


def nr_choices(radio: NrRadio, *, snr_db: float | None = None) -> tuple[NrChoice, ...]:
    """Every MCS of the radio's table at its SNR, in order of index; only `radio.mcs` where that is set.

    Args:
        snr_db: in place of the radio's own, as conditions report it.

    Raises:
        ValueError: the radio has no such table, MCS or number of layers.
    """
    if radio.mcs is not None:
        return (choice(radio, radio.mcs, snr_db=snr_db),)
    if radio.mcs_table not in MCS_TABLES:
        mcs(radio.mcs_table, 0)
    return tuple(choice(radio, row.index, snr_db=snr_db) for row in MCS_TABLES[radio.mcs_table])


def adapted(radio: NrRadio, *, snr_db: float | None = None, target: float = TARGET_BLER) -> NrChoice:
    """The fastest choice whose first-attempt BLER is at most `target`; the most robust where none is; `mcs` if set."""
    choices = nr_choices(radio, snr_db=snr_db)
    good = [c for c in choices if c.bler <= target]
    return max(good, key=lambda c: c.block_bytes) if good else min(choices, key=lambda c: c.bler)


def radio_choices(radio: NrRadio, *, snr_db: float | None = None) -> tuple[RadioChoice, ...]:
    """What a planner may choose from: `nr_choices` without those that another beats in rate and loss alike.

    Of those that lose next to nothing only the fastest stays; those that lose nearly everything go,
    unless nothing would be left.
    """
    kept: list[NrChoice] = []
    least = 1.0
    for found in sorted(nr_choices(radio, snr_db=snr_db), key=lambda c: (-c.rate_bps, c.packet_loss)):
        if not kept or found.packet_loss < least:
            kept.append(found)
            least = found.packet_loss
        if least < _SAFE:
            break
    useful = [c for c in kept if c.packet_loss <= _HOPELESS] or kept[-1:]
    return tuple(
        RadioChoice(mcs=c.mcs, rate_bps=c.rate_bps, loss=c.packet_loss, block_bytes=c.block_bytes, delay_s=c.delay_s)
        for c in sorted(useful, key=lambda c: c.mcs)
    )


def cqi(snr_db: float, *, table: int = 1, channel: Channel = "awgn", allocation: Allocation = REFERENCE) -> int:
    """The CQI that a UE would report: the highest index whose block error rate is at most 10 %; 0 if none.

    TS 38.214 clause 5.2.2.1; `table` 1, 2 or 3 is Table 5.2.2.1-2, -3 or -4.
    """
    if table not in CQI_TABLES:
        raise ValueError(f"CQI tables are 1, 2 and 3 (38.214 Tables 5.2.2.1-2 to -4), got {table!r}")
    reported = 0
    for row in CQI_TABLES[table]:
        as_mcs = Mcs(table, row.index, row.order, row.rate_1024)
        if bler(as_mcs, snr_db, channel, allocation) <= TARGET_BLER:
            reported = row.index
    return reported


def with_mcs(radio: NrRadio, index: int | None) -> NrRadio:
    """The same radio with its MCS set, or left open."""
    return msgspec.structs.replace(radio, mcs=index)
