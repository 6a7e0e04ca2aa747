"""Slots and carriers of NR (TS 38.211 clause 4.3.2, TS 38.101-1 clause 5.3.2)."""

from __future__ import annotations

#: Subcarrier spacings with which data is sent, kHz: numerologies 0 to 4.
SPACINGS_KHZ = (15, 30, 60, 120, 240)

#: HARQ processes that a UE has in uplink at most (TS 38.214 clause 6.1).
MOST_PROCESSES = 16

#: Table 5.3.2-1 of 38.101-1 (FR1): PRBs of a carrier, by spacing in kHz and bandwidth in MHz.
CARRIER_PRBS = {
    15: {5: 25, 10: 52, 15: 79, 20: 106, 25: 133, 30: 160, 40: 216, 50: 270},
    30: {5: 11, 10: 24, 15: 38, 20: 51, 25: 65, 30: 78, 40: 106, 50: 133, 60: 162, 80: 217, 90: 245, 100: 273},
    60: {10: 11, 15: 18, 20: 24, 25: 31, 30: 38, 40: 51, 50: 65, 60: 79, 80: 107, 90: 121, 100: 135},
}

#: Table 5.3.2-1 of 38.101-2 (FR2, millimetre waves): the same.
CARRIER_PRBS_FR2 = {
    60: {50: 66, 100: 132, 200: 264},
    120: {50: 32, 100: 66, 200: 132, 400: 264},
}

#: PRBs of a carrier at most (TS 38.101-1; 275 is the limit of TS 38.211).
MOST_PRBS = 275


def slot_s(scs_khz: int) -> float:
    """Seconds of a slot of 14 symbols: 1 ms at 15 kHz, half of it with every doubling."""
    if scs_khz not in SPACINGS_KHZ:
        raise ValueError(f"subcarrier spacings are {', '.join(map(str, SPACINGS_KHZ))} kHz, got {scs_khz!r}")
    return 0.015 / scs_khz


def carrier_prbs(scs_khz: int, bandwidth_mhz: float) -> int:
    """PRBs of a carrier: 38.101-1 Table 5.3.2-1, where that has none 38.101-2 Table 5.3.2-1.

    Raises:
        ValueError: there is no such carrier; says which bandwidths there are at this spacing.
    """
    prbs = {**CARRIER_PRBS_FR2.get(scs_khz, {}), **CARRIER_PRBS.get(scs_khz, {})}
    if not prbs:
        spacings = sorted({*CARRIER_PRBS, *CARRIER_PRBS_FR2})
        raise ValueError(f"carriers have subcarriers of {', '.join(map(str, spacings))} kHz, got {scs_khz!r}")
    for mhz, prb in prbs.items():
        if mhz == bandwidth_mhz:
            return prb
    there = ", ".join(map(str, sorted(prbs)))
    raise ValueError(f"carriers of {scs_khz} kHz subcarriers are {there} MHz wide, got {bandwidth_mhz:g} MHz")
