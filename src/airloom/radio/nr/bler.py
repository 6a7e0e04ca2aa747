"""Block error rates of NR over AWGN and CDL-C, from a small file made with Sionna (experiments/radio).

SNR is Es/N0 of one MIMO layer in dB: symbols of unit energy on every layer, noise power N0 at every
receive antenna, SNR = 1/N0. Over CDL-C each layer has its own transmit antenna and the channel is not
normalised (mean |h|^2 is about 0.6), so 2 layers radiate twice the energy of one.

- AWGN: the error rate of a code block is a logistic curve of the SNR, fitted to counted errors; the
  code blocks of a transport block fail independently.
- CDL-C: a transport block meets one channel realisation, which acts as AWGN at an effective SNR (mean
  mutual information over subcarriers and layers after LMMSE detection); the file holds quantiles of it.
  The mean over realisations is the BLER. Offsets were fitted to link-level samples.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from airloom.core.topology import Channel
from airloom.radio.nr.tables import Mcs
from airloom.radio.nr.tbs import REFERENCE, Allocation, code_blocks, transport_block_bits

Floats = NDArray[np.float64]

#: SNRs between which an inverse is sought.
LOWEST_DB, HIGHEST_DB = -30.0, 60.0
CDL_LAYERS = 2


class Waterfall(NamedTuple):
    """Where code blocks of one modulation and code rate fail: half of them at `middle_db`.

    Attributes:
        slope: log-odds of an error lost with each dB.
        kind: "simulated", or "modelled" where no samples were taken.
    """

    middle_db: float
    slope: float
    kind: str

    def error_rate(self, snr_db: ArrayLike) -> Floats:
        """Of code blocks at this SNR."""
        odds = np.clip(self.slope * (np.asarray(snr_db, dtype=np.float64) - self.middle_db), -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(odds)), dtype=np.float64)


class Fading(NamedTuple):
    """Effective SNRs of CDL-C realisations: `effective_db[snr, quantile]`, quantiles of equal weight."""

    snr_db: Floats
    effective_db: Floats


class Tables(NamedTuple):
    """The file, read.

    Attributes:
        waterfalls: by (Qm, R x 1024).
        fading: by Qm.
        offset_db: by (Qm, R x 1024), what link-level samples take off the effective SNR.
        combining_db: by scheme and Qm, what n = 1, 2, ... attempts lose against accumulated information.
    """

    waterfalls: dict[tuple[int, float], Waterfall]
    fading: dict[int, Fading]
    offset_db: dict[tuple[int, float], float]
    combining_db: dict[tuple[str, int], Floats]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tables that come with Airloom (data/bler.json)."""
    raw = json.loads((resources.files("airloom.radio.nr") / "data" / "bler.json").read_text("utf-8"))

    def pair(key: str) -> tuple[int, float]:
        order, rate = key.split(":")
        return int(order), float(rate)

    return Tables(
        waterfalls={
            pair(key): Waterfall(row["middle_db"], row["slope"], row["kind"]) for key, row in raw["awgn"].items()
        },
        fading={
            int(order): Fading(np.array(raw["cdl-c"]["snr_db"], np.float64), np.array(rows, np.float64))
            for order, rows in raw["cdl-c"]["effective_db"].items()
        },
        offset_db={pair(key): float(row["offset_db"]) for key, row in raw["cdl-c"]["mcs"].items()},
        combining_db={
            (name, int(order)): np.array(row, np.float64)
            for name, by_order in raw["harq"]["penalty_db"].items()
            for order, row in by_order.items()
        },
    )


def check(channel: Channel, layers: int) -> None:
    """ValueError where there are no tables for so many layers."""
    if channel == "cdl-c" and layers != CDL_LAYERS:
        raise ValueError(f"the tables for cdl-c are of 2 layers (2x2 MIMO), got {layers}")


def effective_snr_db(mcs: Mcs, snr_db: float, channel: Channel) -> Floats:
    """Effective SNRs, equally likely, that a block meets: one over AWGN, the quantiles over CDL-C."""
    if channel == "awgn":
        return np.array([snr_db], dtype=np.float64)
    found = tables()
    fading = found.fading[mcs.order]
    first, last = float(fading.snr_db[0]), float(fading.snr_db[-1])
    inside = min(max(snr_db, first), last)
    row = min(int(np.searchsorted(fading.snr_db, inside, side="right")), len(fading.snr_db) - 1)
    step = (inside - fading.snr_db[row - 1]) / (fading.snr_db[row] - fading.snr_db[row - 1])
    quantiles = (1.0 - step) * fading.effective_db[row - 1] + step * fading.effective_db[row]
    # Beyond the file's SNRs the quantiles move with the SNR.
    shift = (snr_db - inside) - found.offset_db[mcs.order, mcs.rate_1024]
    return np.asarray(quantiles + shift, dtype=np.float64)


def transport_block_errors(mcs: Mcs, effective_db: ArrayLike, allocation: Allocation = REFERENCE) -> Floats:
    """Error rate of a transport block at an effective SNR: any of its code blocks fails."""
    waterfall = tables().waterfalls[mcs.order, mcs.rate_1024]
    blocks = code_blocks(transport_block_bits(mcs, allocation), mcs.rate)
    p = waterfall.error_rate(effective_db)
    return np.asarray(-np.expm1(blocks * np.log1p(-np.minimum(p, 1.0 - 1e-16))), dtype=np.float64)


def bler(mcs: Mcs, snr_db: float, channel: Channel = "awgn", allocation: Allocation = REFERENCE) -> float:
    """Error rate of a transport block sent once; never rises with the SNR.

    Raises:
        ValueError: no table for the allocation's layers over this channel, or the SNR is not a number.
    """
    check(channel, allocation.layers)
    if not np.isfinite(snr_db):
        raise ValueError(f"an SNR in dB is a finite number, got {snr_db!r}")
    return float(np.mean(transport_block_errors(mcs, effective_snr_db(mcs, snr_db, channel), allocation)))


def snr_for(mcs: Mcs, target: float, channel: Channel = "awgn", allocation: Allocation = REFERENCE) -> float:
    """The SNR in dB at which `bler` is `target`, by bisection between -30 and 60 dB.

    Raises:
        ValueError: the target is not strictly between 0 and 1.
    """
    if not 0.0 < target < 1.0:
        raise ValueError(f"a BLER to find an SNR for lies between 0 and 1, both left out, got {target!r}")
    low, high = LOWEST_DB, HIGHEST_DB
    for _ in range(50):
        middle = 0.5 * (low + high)
        if bler(mcs, middle, channel, allocation) > target:
            low = middle
        else:
            high = middle
    return high
