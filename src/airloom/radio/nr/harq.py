"""HARQ: what is still wrong after n attempts at a transport block, how often it is sent, and Eq. (1)'s F.

- "ir": redundancy versions 0, 2, 3, 1 in turn; the decoder sees all that was received (`combining`).
- "chase": version 0 again and again, soft values added.
- "none": every attempt is decoded alone, so errors multiply.

All code blocks of a transport block are sent again together. Over AWGN each attempt has new noise; over
CDL-C it also meets a realisation of its own, which is what frequency hopping or a moving UE gives; a UE
that stands still gains less from repeating.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from airloom.core.topology import Channel, Combining
from airloom.radio.nr.bler import bler, check, effective_snr_db, snr_for, tables, transport_block_errors
from airloom.radio.nr.combining import MOST_ATTEMPTS, equivalent_snr_db
from airloom.radio.nr.tables import Mcs
from airloom.radio.nr.tbs import REFERENCE, Allocation

Floats = NDArray[np.float64]

# Sequences of realisations over which residual errors are averaged.
_SEQUENCES = 512
_SCRAMBLE = 20240117


@lru_cache(maxsize=4)
def _sequences(quantiles: int) -> NDArray[np.int64]:
    """Which quantile each attempt meets [sequences, attempts]: a Latin hypercube, so each column is even."""
    rng = np.random.default_rng(_SCRAMBLE)
    column = np.arange(_SEQUENCES) % quantiles
    return np.stack([rng.permutation(column) for _ in range(MOST_ATTEMPTS)], axis=1)


@lru_cache(maxsize=2048)
def _residual(
    mcs: Mcs, snr_db: float, channel: Channel, combining: Combining, attempts: int, allocation: Allocation
) -> tuple[float, ...]:
    once = bler(mcs, snr_db, channel, allocation)
    if combining == "none":
        return tuple(once**n for n in range(1, attempts + 1))
    snrs = effective_snr_db(mcs, snr_db, channel)
    met = snrs[_sequences(len(snrs))] if len(snrs) > 1 else np.full((1, MOST_ATTEMPTS), snrs[0])
    penalty = tables().combining_db[combining, mcs.order]
    out = [once]
    for n in range(2, attempts + 1):
        lost_db = penalty[min(n, len(penalty)) - 1]
        together_db = equivalent_snr_db(mcs, allocation, combining, met[:, :n] - lost_db)
        errors = transport_block_errors(mcs, together_db, allocation)
        # More received is never worse: the first attempt could be decoded alone.
        out.append(min(out[-1], float(np.mean(errors))))
    return tuple(out)


def residual_bler(
    mcs: Mcs,
    snr_db: float,
    *,
    channel: Channel = "awgn",
    combining: Combining = "ir",
    attempts: int = MOST_ATTEMPTS,
    allocation: Allocation = REFERENCE,
) -> Floats:
    """Error rate of a transport block after 1, 2, ... `attempts` attempts at the same mean SNR: [attempts].

    Raises:
        ValueError: attempts not in 1 to 16, or no tables (see `bler`).
    """
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise ValueError(f"a transport block is sent 1 to {MOST_ATTEMPTS} times, got {attempts!r}")
    check(channel, allocation.layers)
    return np.array(_residual(mcs, float(snr_db), channel, combining, attempts, allocation))


def expected_attempts(residual: Floats) -> float:
    """Mean number of attempts of a sender that stops at the first success or after `len(residual)`."""
    return 1.0 + float(np.sum(residual[:-1]))


def further_attempts(
    rate: float,
    target: float,
    mcs: Mcs,
    *,
    channel: Channel = "awgn",
    combining: Combining = "ir",
    most: int = MOST_ATTEMPTS,
    allocation: Allocation = REFERENCE,
) -> int | None:
    """F(r, target): further attempts that bring error rate `rate` of a first attempt down to `target`.

    Eq. (1) of the paper, n = F(r, G^-1(a)): `target` is the error rate at which the accuracy is a (the
    paper writes the accuracy itself there). `rate` says which SNR the link is at, by the BLER table.

    Returns:
        0 where `rate` is already there; None where `most` attempts in all, the first included, do not reach it.

    Raises:
        ValueError: a rate or target outside [0, 1].
    """
    for name, value in (("an error rate", rate), ("a target", target)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} lies in [0, 1], got {value!r}")
    if rate <= target:
        return 0
    if target == 0.0 or (rate == 1.0 and combining == "none"):
        return None
    if combining == "none":
        further = independent_repetitions(rate, target)
        return further if further < most else None
    snr_db = snr_for(mcs, min(rate, 1.0 - 1e-9), channel, allocation)
    residual = residual_bler(mcs, snr_db, channel=channel, combining=combining, attempts=most, allocation=allocation)
    reached = np.flatnonzero(residual <= target)
    return int(reached[0]) if len(reached) else None


def independent_repetitions(rate: float, target: float) -> int:
    """F without combining: the least n with rate^(n + 1) <= target, both strictly between 0 and 1."""
    return max(0, math.ceil(math.log(target) / math.log(rate) - 1e-9) - 1)
