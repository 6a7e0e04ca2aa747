"""What several attempts at a code block are worth together: which coded bits each one sends, and their information.

Rate matching (TS 38.212 clause 5.4.2.1) reads a circular buffer from where the redundancy version says.
An attempt that repeats a bit adds to its SNR; one that sends others lowers the code rate.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.topology import Combining
from airloom.radio.nr.information import bit_information
from airloom.radio.nr.tables import Mcs
from airloom.radio.nr.tbs import Allocation, base_graph, code_block_bits, code_blocks, transport_block_bits

#: Redundancy versions in the order in which NR sends them (TS 38.214 Table 6.1.2.1-2 begins so).
REDUNDANCY_VERSIONS = (0, 2, 3, 1)
MOST_ATTEMPTS = 16

# Table 5.4.2.1-2: where a version begins, in lifting sizes; and the columns of the buffer and of the message.
_STARTS = {1: {0: 0, 1: 17, 2: 33, 3: 56}, 2: {0: 0, 1: 13, 2: 25, 3: 43}}
_COLUMNS = {1: 66, 2: 50}
_LIFTING = sorted({a * 2**j for a in (2, 3, 5, 7, 9, 11, 13, 15) for j in range(8) if a * 2**j <= 384})


def _columns_of_message(graph: int, bits: int) -> tuple[int, int]:
    """K_b and the message columns of the base graph (TS 38.212 clause 5.2.2)."""
    if graph == 1:
        return 22, 22
    return (10 if bits > 640 else 9 if bits > 560 else 8 if bits > 192 else 6), 10


class Coverage(NamedTuple):
    """Bits of the circular buffer that the same attempts send.

    Attributes:
        share: how many there are, over the coded bits of one attempt.
        times: how often each attempt sends them; summed over all, share * times is 1 for every attempt.
    """

    share: float
    times: tuple[int, ...]


def coded_bits(mcs: Mcs, allocation: Allocation) -> int:
    """E, bits that one attempt sends of a code block: whole symbols on all layers (TS 38.212 clause 5.4.2.1).

    The last code blocks of a transport block send one symbol a layer more where it does not come out even.
    """
    blocks = code_blocks(transport_block_bits(mcs, allocation), mcs.rate)
    return allocation.elements // blocks * allocation.layers * mcs.order


def buffer(mcs: Mcs, allocation: Allocation) -> tuple[int, int, dict[int, int]]:
    """Length of a code block's circular buffer, bits of one attempt, and where each version starts.

    Filler bits are skipped, so they are left out of the buffer; it is not limited (no LBRM).
    """
    size = transport_block_bits(mcs, allocation)
    k, sent = code_block_bits(size, mcs.rate), coded_bits(mcs, allocation)
    graph = base_graph(size, mcs.rate)
    columns, message = _columns_of_message(graph, k)
    z = next(z for z in _LIFTING if columns * z >= k)
    filler = message * z - k
    # The first 2 z bits of the message are never sent; the filler is at the message's end.
    filler_at = (message - 2) * z - filler
    starts = {
        version: start * z if start * z < filler_at else max(filler_at, start * z - filler)
        for version, start in _STARTS[graph].items()
    }
    return _COLUMNS[graph] * z - filler, sent, starts


@lru_cache(maxsize=1024)
def coverage(mcs: Mcs, allocation: Allocation, combining: Combining, attempts: int) -> tuple[Coverage, ...]:
    """Which parts of the circular buffer the first `attempts` attempts send, and how often."""
    length, sent, starts = buffer(mcs, allocation)
    whole, rest = divmod(sent, length)
    spans = []
    for attempt in range(attempts):
        start = starts[REDUNDANCY_VERSIONS[attempt % 4] if combining == "ir" else 0]
        spans.append((start, (start + rest) % length if rest else start))
    edges = sorted({0, length, *(edge for span in spans for edge in span)})
    parts: dict[tuple[int, ...], int] = {}
    for low, high in itertools.pairwise(edges):
        times = tuple(
            whole + bool(rest and (start <= low < stop if start < stop else low >= start or low < stop))
            for start, stop in spans
        )
        parts[times] = parts.get(times, 0) + high - low
    return tuple(Coverage(bits / sent, times) for times, bits in parts.items())


def accumulated(
    mcs: Mcs, allocation: Allocation, combining: Combining, snr_db: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Information that attempts at these SNRs have brought together, in units of an attempt's coded bits.

    Args:
        snr_db: [..., attempts] effective SNR of each attempt.

    Returns:
        [...]; one attempt that repeats no bit gives its own `bit_information`.
    """
    snr = 10.0 ** (np.asarray(snr_db, dtype=np.float64) / 10.0)
    total = np.zeros(snr.shape[:-1])
    for share, times in coverage(mcs, allocation, combining, snr.shape[-1]):
        if any(times):
            together = snr @ np.asarray(times, dtype=np.float64)
            total = total + share * bit_information(mcs.order, 10.0 * np.log10(np.maximum(together, 1e-9)))
    return total


@lru_cache(maxsize=256)
def _of_one(mcs: Mcs, allocation: Allocation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SNR grid and what a first attempt brings on it, strictly increasing."""
    snr_db = np.arange(-40.0, 45.5, 0.5)
    brought = accumulated(mcs, allocation, "chase", snr_db[:, None])
    return snr_db, np.maximum.accumulate(brought) + 1e-12 * np.arange(len(snr_db))


def equivalent_snr_db(
    mcs: Mcs, allocation: Allocation, combining: Combining, snr_db: NDArray[np.float64]
) -> NDArray[np.float64]:
    """SNR in dB [...] at which a single attempt brings as much as those at `snr_db` [..., attempts] together."""
    grid, brought = _of_one(mcs, allocation)
    return np.interp(accumulated(mcs, allocation, combining, snr_db), brought, grid)
