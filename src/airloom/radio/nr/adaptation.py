"""Choosing an MCS: what each one offers at an SNR, and the usual rule of 10 % BLER."""

from __future__ import annotations

from typing import NamedTuple

from airloom.core.topology import NrRadio


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
    """

    mcs: int
    block_bytes: int
    bler: float
    block_loss: float
    attempts: float
    rate_bps: float
    packet_loss: float


def nr_choices(radio: NrRadio, *, snr_db: float | None = None) -> tuple[NrChoice, ...]:
    """Every MCS of the radio's table at its SNR, in order of index; only `radio.mcs` where that is set.

    Args:
        snr_db: in place of the radio's own, as conditions report it.
    """
    raise NotImplementedError


def adapted(radio: NrRadio, *, snr_db: float | None = None, target: float = 0.1) -> NrChoice:
    """The fastest choice whose BLER is at most `target`, or the most robust where none is; `radio.mcs` if set."""
    raise NotImplementedError
