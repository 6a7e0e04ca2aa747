"""From SNR to CQI to MCS to bit rate (3GPP TS 38.214), as one look-up for arrays of SNRs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from airloom.radio.nr.adaptation import TARGET_BLER
from airloom.radio.nr.bler import snr_for
from airloom.radio.nr.numerology import carrier_prbs, slot_s
from airloom.radio.nr.tables import CQI_TABLES, MCS_TABLES, Mcs
from airloom.radio.nr.tbs import Allocation, transport_block_bits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from airloom.core.scenario import Antenna


@dataclass(frozen=True)
class Throughput:
    """Bit rates of a whole carrier by CQI.

    Attributes:
        least_db: [C] SNR from which a UE reports CQI 1, 2, ..., C: its block error rate is 10 % there
            (38.214 clause 5.2.2.1).
        mcs: [C + 1] index of the MCS that each CQI from 0 on stands for; -1 is none.
        bps: [C + 1] bit/s of transport blocks in every slot; 0 for CQI 0.
    """

    least_db: NDArray[np.float64]
    mcs: NDArray[np.int64]
    bps: NDArray[np.float64]

    def cqi(self, snr_db: ArrayLike) -> NDArray[np.int64]:
        """CQI at each SNR, 0 out of range. [...] like `snr_db`."""
        return np.asarray(np.searchsorted(self.least_db, np.asarray(snr_db), side="right"), dtype=np.int64)

    def rate_bps(self, snr_db: ArrayLike) -> NDArray[np.float64]:
        """Bit/s at each SNR. [...] like `snr_db`."""
        return np.asarray(self.bps[self.cqi(snr_db)], dtype=np.float64)


def throughput(antenna: Antenna) -> Throughput:
    """What the antenna's carrier brings at each CQI: an MCS that is no faster than the CQI allows.

    Raises:
        ValueError: no carrier has this bandwidth at this subcarrier spacing, or there is no such table.
    """
    return _throughput(antenna.mcs_table, antenna.scs_khz, antenna.bandwidth_hz, antenna.mimo_layers)


@lru_cache(maxsize=32)
def _throughput(table: int, scs_khz: int, bandwidth_hz: float, layers: int) -> Throughput:
    if table not in CQI_TABLES:
        raise ValueError(f"MCS tables are 1, 2 and 3, got {table!r}")
    allocation = Allocation(prb=carrier_prbs(scs_khz, bandwidth_hz / 1e6), layers=layers)
    rows = CQI_TABLES[table]
    least_db = [snr_for(Mcs(table, row.index, row.order, row.rate_1024), TARGET_BLER) for row in rows]
    mcs, bps = [-1], [0.0]
    for row in rows:
        # CQI efficiencies lie between those of MCS where tables differ; CQI 1 may lie below all of them.
        fitting = [m for m in MCS_TABLES[table] if m.efficiency <= row.efficiency + 1e-9]
        chosen = max(fitting, key=lambda m: (m.efficiency, m.index)) if fitting else None
        mcs.append(-1 if chosen is None else chosen.index)
        bps.append(0.0 if chosen is None else transport_block_bits(chosen, allocation) / slot_s(scs_khz))
    # Thresholds come from simulated tables; a higher CQI never needs less.
    return Throughput(np.maximum.accumulate(least_db), np.array(mcs), np.maximum.accumulate(bps))
