"""Transport block sizes (TS 38.214 clause 5.1.3.2, for PUSCH by 6.1.4.2) and code blocks (TS 38.212 clause 5.2.2)."""

from __future__ import annotations

import math
from typing import NamedTuple

from airloom.radio.nr.tables import Mcs

SUBCARRIERS = 12
SYMBOLS = 14
_MOST_RES = 156  # of a PRB, step 1 of 5.1.3.2
_CRC_LONG, _CRC_SHORT, _CRC_BLOCK = 24, 16, 24

# Table 5.1.3.2-1: block sizes for N_info <= 3824 bits.
SMALL_SIZES = (
    24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160, 168, 176, 184, 192, 208, 224, 240,
    256, 272, 288, 304, 320, 336, 352, 368, 384, 408, 432, 456, 480, 504, 528, 552, 576, 608, 640, 672, 704, 736, 768,
    808, 848, 888, 928, 984, 1032, 1064, 1128, 1160, 1192, 1224, 1256, 1288, 1320, 1352, 1416, 1480, 1544, 1608, 1672,
    1736, 1800, 1864, 1928, 2024, 2088, 2152, 2216, 2280, 2408, 2472, 2536, 2600, 2664, 2728, 2792, 2856, 2976, 3104,
    3240, 3368, 3496, 3624, 3752, 3824,
)  # fmt: skip


class Allocation(NamedTuple):
    """What a slot gives to one transport block.

    Attributes:
        prb: physical resource blocks.
        layers: MIMO layers.
        symbols: OFDM symbols of the allocation, those of the DMRS included.
        dmrs_symbols: symbols that carry DMRS; no data shares them (two CDM groups without data),
            so each takes 12 resource elements of a PRB.
        overhead: xOverhead, resource elements of a PRB lost to other signals: 0, 6, 12 or 18.
    """

    prb: int = 51
    layers: int = 2
    symbols: int = SYMBOLS
    dmrs_symbols: int = 1
    overhead: int = 0

    @property
    def elements(self) -> int:
        """Resource elements that carry data, on each layer."""
        return (SUBCARRIERS * (self.symbols - self.dmrs_symbols) - self.overhead) * self.prb


#: What tables were made for, and the default everywhere: 51 PRB, 2 layers, 14 symbols of which one has DMRS.
REFERENCE = Allocation()


def transport_block_bits(mcs: Mcs, allocation: Allocation = REFERENCE) -> int:
    """Bits of the transport block, without its CRC (38.214 clause 5.1.3.2, steps 1 to 4).

    Raises:
        ValueError: nothing can be sent in the allocation.
    """
    per_prb = SUBCARRIERS * (allocation.symbols - allocation.dmrs_symbols) - allocation.overhead
    if per_prb <= 0 or allocation.prb < 1 or allocation.layers < 1:
        raise ValueError(f"no resource element is left for data: {allocation}")
    elements = min(_MOST_RES, per_prb) * allocation.prb
    info = elements * mcs.rate * mcs.order * allocation.layers
    if info <= 3824:
        step = 1 << max(3, math.floor(math.log2(info)) - 6)
        quantised = max(24, step * math.floor(info / step))
        return next(size for size in SMALL_SIZES if size >= quantised)
    step = 1 << (math.floor(math.log2(info - 24)) - 5)
    # Python's round() goes to the even one of two equals; the standard goes up ("ties ... to the largest").
    quantised = max(3840, step * math.floor((info - 24) / step + 0.5))
    blocks = 1
    if mcs.rate <= 0.25:
        blocks = math.ceil((quantised + 24) / 3816)
    elif quantised > 8424:
        blocks = math.ceil((quantised + 24) / 8424)
    return 8 * blocks * math.ceil((quantised + 24) / (8 * blocks)) - 24


def base_graph(bits: int, rate: float) -> int:
    """LDPC base graph, 1 or 2, of a transport block of so many bits (TS 38.212 clause 6.2.2)."""
    return 2 if bits <= 292 or (bits <= 3824 and rate <= 0.67) or rate <= 0.25 else 1


def code_blocks(bits: int, rate: float) -> int:
    """Code blocks of a transport block, each decoded on its own (TS 38.212 clauses 6.2.1 and 5.2.2)."""
    whole = bits + (_CRC_LONG if bits > 3824 else _CRC_SHORT)
    largest = 8448 if base_graph(bits, rate) == 1 else 3840
    return 1 if whole <= largest else math.ceil(whole / (largest - _CRC_BLOCK))


def code_block_bits(bits: int, rate: float) -> int:
    """Information bits K' of a code block with its CRCs, filler apart (TS 38.212 clause 5.2.2)."""
    whole = bits + (_CRC_LONG if bits > 3824 else _CRC_SHORT)
    blocks = code_blocks(bits, rate)
    return whole if blocks == 1 else math.ceil((whole + blocks * _CRC_BLOCK) / blocks)
