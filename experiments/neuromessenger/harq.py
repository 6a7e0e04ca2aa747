"""Failure of HARQ attempts on the paper's uplink (MCS 13 of table 1, 2x2 CDL-C), by the BLER of the first."""

from __future__ import annotations

import functools

from cutwork import Failures
from link import MAX_ATTEMPTS

from airloom.radio.nr.bler import snr_for
from airloom.radio.nr.harq import residual_bler
from airloom.radio.nr.tables import mcs
from airloom.radio.nr.tbs import Allocation


def attempt_failures(prbs: int) -> Failures:
    """Incremental redundancy in the order 0, 2, 3, 1; every attempt meets a channel of its own."""

    @functools.cache
    def failures(bler: float) -> tuple[float, ...]:
        if bler <= 0.0:
            return (0.0,)
        used, allocation = mcs(1, 13), Allocation(prb=prbs)
        snr_db = snr_for(used, bler, "cdl-c", allocation)
        left = residual_bler(used, snr_db, channel="cdl-c", attempts=MAX_ATTEMPTS, allocation=allocation)
        later = (float(left[n] / left[n - 1]) if left[n - 1] > 1e-9 else 0.0 for n in range(1, len(left)))
        return (bler, *later)

    return failures


def snr_db(prbs: int, bler: float) -> float:
    """SNR of one MIMO layer with unit energy, 1/N0, at which a first attempt fails so often."""
    return snr_for(mcs(1, 13), bler, "cdl-c", Allocation(prb=prbs))
