"""Mutual information between the bits of Gray-mapped square QAM and what an AWGN channel makes of them.

The currency in which symbols of unequal quality are added up: the mean over a code block's bits tells
at which SNR of a plain AWGN channel it would fail as often (mutual-information effective SNR mapping,
MIESM), and what several HARQ attempts are worth together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOWEST_DB, _HIGHEST_DB, _STEP_DB = -30.0, 45.0, 0.5
_NODES = 24


def _pam(order: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Levels of one dimension of unit-energy QAM [2^(Qm/2)] and their Gray labels [levels, Qm/2]."""
    count = 1 << (order // 2)
    levels = np.arange(1 - count, count, 2, dtype=np.float64)
    levels /= np.sqrt(2.0 * np.mean(levels**2))
    gray = np.arange(count) ^ (np.arange(count) >> 1)
    labels = (gray[:, None] >> np.arange(order // 2 - 1, -1, -1)) & 1
    return levels, labels


def _bit_information(order: int, snr_db: float) -> float:
    """Mean over the bits of a symbol, by Gauss-Hermite quadrature over the noise."""
    levels, labels = _pam(order)
    sigma = np.sqrt(10.0 ** (-snr_db / 10.0) / 2.0)
    nodes, weights = np.polynomial.hermite.hermgauss(_NODES)
    received = levels[:, None] + np.sqrt(2.0) * sigma * nodes  # [levels, nodes]
    metric = -((received[:, :, None] - levels) ** 2) / (2.0 * sigma**2)  # [levels, nodes, levels]
    metric -= metric.max(axis=2, keepdims=True)
    likelihood = np.exp(metric)
    whole = np.log2(likelihood.sum(axis=2))
    total = 0.0
    for bit in range(labels.shape[1]):
        same = labels[:, bit][:, None] == labels[:, bit][None, :]  # [sent, candidate]
        agreeing = np.maximum((likelihood * same[:, None, :]).sum(axis=2), 1e-300)
        loss = np.mean((whole - np.log2(agreeing)) @ weights) / np.sqrt(np.pi)
        total += 1.0 - loss
    return float(np.clip(total / labels.shape[1], 0.0, 1.0))


@lru_cache(maxsize=8)
def _curve(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SNR grid and information on it, made strictly increasing so that it can be read both ways."""
    snr_db = np.arange(_LOWEST_DB, _HIGHEST_DB + _STEP_DB, _STEP_DB)
    information = np.array([_bit_information(order, float(x)) for x in snr_db])
    return snr_db, np.maximum.accumulate(information) + 1e-12 * np.arange(len(snr_db))


def bit_information(order: int, snr_db: ArrayLike) -> NDArray[np.float64]:
    """Mean mutual information of a bit, 0 to 1, of QAM with `order` (2, 4, 6, 8) bits a symbol at SNR Es/N0."""
    grid, information = _curve(order)
    return np.clip(np.interp(np.asarray(snr_db, np.float64), grid, information), 0.0, 1.0)


def snr_of_information(order: int, information: ArrayLike) -> NDArray[np.float64]:
    """The SNR in dB at which `bit_information` has these values; ends of the grid (-30, 45 dB) beyond it."""
    grid, values = _curve(order)
    return np.interp(np.asarray(information, np.float64), values, grid)
