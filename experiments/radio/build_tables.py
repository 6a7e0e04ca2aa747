"""From samples.json and channels.npy to the file that Airloom ships: python build_tables.py

Fits curves to counted errors, maps MCSs without link-level samples by mutual information, and writes what
was counted, with 95 % confidence intervals (Wilson), beside what was fitted. Needs numpy and airloom only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.core.topology import Combining
from airloom.radio.nr.combining import coded_bits, equivalent_snr_db
from airloom.radio.nr.information import bit_information, snr_of_information
from airloom.radio.nr.tables import MCS_TABLES, Mcs
from airloom.radio.nr.tbs import Allocation, code_block_bits, code_blocks, transport_block_bits

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "src/airloom/radio/nr/data/bler.json"
ALLOCATION = Allocation()
FADING_DB = np.arange(-14.0, 40.1, 2.0)
QUANTILES = 64
SLOPE_SPREAD = 0.35  # of the logarithm of a waterfall's slope around the usual one
Floats = NDArray[np.float64]
Counts = list[tuple[float, int, int]]


def wilson(errors: int, blocks: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927)."""
    p, n = errors / blocks, blocks
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def rows_of(counts: dict[str, list[int]]) -> Counts:
    return sorted((float(snr), errors, blocks) for snr, (errors, blocks) in counts.items() if blocks)


def shown(counts: Counts) -> list[list[float]]:
    """[snr_db, errors, blocks, low, high] of each point."""
    return [[snr, e, n, *(round(x, 4) for x in wilson(e, n))] for snr, e, n in counts]


def likelihood(p: Floats, errors: Floats, blocks: Floats) -> Floats:
    """Log-likelihood of binomial counts, over the last axis."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(np.sum(errors * np.log(p) + (blocks - errors) * np.log1p(-p), axis=-1))


def usual_slope(k: int) -> float:
    return 14.0 * math.sqrt(k / 7584)


def fit_waterfall(counts: Counts, k: int) -> tuple[float, float]:
    """Middle in dB and slope of the logistic curve that makes the counts likeliest, the slope being about usual."""
    snr, errors, blocks = (np.array(column, float) for column in zip(*counts, strict=True))
    logs = np.linspace(-1.2, 1.2, 97)
    middles = np.arange(snr.min() - 1.0, snr.max() + 1.0, 0.01)
    slope = usual_slope(k) * np.exp(logs)
    odds = slope[:, None, None] * (snr - middles[None, :, None])
    score = likelihood(1 / (1 + np.exp(np.clip(odds, -60, 60))), errors, blocks)
    score -= 0.5 * (logs[:, None] / SLOPE_SPREAD) ** 2
    i, j = np.unravel_index(np.argmax(score), score.shape)
    return float(middles[j]), float(slope[i])


def all_rows() -> dict[str, Mcs]:
    """One MCS for each pair of modulation and code rate, robust ones first."""
    found: dict[str, Mcs] = {}
    for row in sorted((row for table in MCS_TABLES.values() for row in table), key=lambda row: row.efficiency):
        found.setdefault(f"{row.order}:{row.rate_1024:g}", row)
    return found


def message(row: Mcs) -> tuple[int, int]:
    """Message bits and coded bits of a code block in the reference allocation."""
    size = transport_block_bits(row, ALLOCATION)
    return code_block_bits(size, row.rate), coded_bits(row, ALLOCATION)


def awgn(samples: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    gaps: list[tuple[float, float]] = []  # efficiency, dB above where the information would just do
    for key, row in all_rows().items():
        counts = rows_of(samples.get(key, {}))
        k, sent = message(row)
        if sum(n for _, _, n in counts) >= 140:
            middle, slope = fit_waterfall(counts, k)
            out[key] = {"middle_db": round(middle, 3), "slope": round(slope, 2), "kind": "simulated",
                        "code_block_bits": k, "samples": shown(counts)}  # fmt: skip
            gaps.append((row.efficiency, middle - float(snr_of_information(row.order, k / sent))))
    for key, row in all_rows().items():
        if key in out:
            continue
        k, sent = message(row)
        gap = float(np.interp(row.efficiency, *zip(*gaps, strict=True))) if gaps else 0.6
        middle = float(snr_of_information(row.order, k / sent)) + gap
        out[key] = {"middle_db": round(middle, 3), "slope": round(usual_slope(k), 2), "kind": "modelled",
                    "code_block_bits": k, "samples": []}  # fmt: skip
    return out


def stream_snr(h: NDArray[np.complex64], snr_db: float) -> Floats:
    """SINR of each stream after LMMSE detection with perfect channel knowledge: [realisations, PRB, streams]."""
    snr = 10 ** (snr_db / 10)
    gram = np.swapaxes(h.conj(), -1, -2) @ h * snr
    error = np.linalg.inv(gram + np.eye(h.shape[-1]))
    return np.maximum(1 / np.real(np.diagonal(error, axis1=-2, axis2=-1)) - 1, 1e-6)


def effective(h: NDArray[np.complex64]) -> dict[int, Floats]:
    """Effective SNR in dB of each realisation [SNRs, realisations], by bits a symbol."""
    out: dict[int, list[Floats]] = {2: [], 4: [], 6: [], 8: []}
    for snr_db in FADING_DB:
        streams = 10 * np.log10(stream_snr(h, float(snr_db)))
        for order, found in out.items():
            information = bit_information(order, streams).mean(axis=(1, 2))
            found.append(snr_of_information(order, information))
    return {order: np.stack(found) for order, found in out.items()}


def block_errors(row: Mcs, fit: dict[str, Any], effective_db: Floats) -> Floats:
    odds = np.clip(fit["slope"] * (effective_db - fit["middle_db"]), -60, 60)
    blocks = code_blocks(transport_block_bits(row, ALLOCATION), row.rate)
    return np.asarray(1 - (1 - 1 / (1 + np.exp(odds))) ** blocks)


def mapped(row: Mcs, fit: dict[str, Any], quantiles: Floats, snr_db: Floats, offset_db: float) -> Floats:
    """BLER at each of `snr_db` by the mapping."""
    at = np.stack([np.interp(snr_db, FADING_DB, column) for column in quantiles.T], axis=-1)
    return np.asarray(block_errors(row, fit, at - offset_db).mean(axis=-1))


def cdl_c(samples: dict[str, Any], curves: dict[str, Any]) -> dict[str, Any]:
    found = effective(np.load(HERE / "channels.npy"))
    share = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles = {order: np.quantile(values, share, axis=1).T for order, values in found.items()}
    offsets = np.arange(-2.0, 3.0, 0.02)
    rows, fitted = all_rows(), {}
    for key, row in rows.items():
        counts = rows_of(samples.get(key, {}))
        if sum(n for _, _, n in counts) < 120:
            continue
        snr, errors, blocks = (np.array(column, float) for column in zip(*counts, strict=True))
        scores = [likelihood(mapped(row, curves[key], quantiles[row.order], snr, o), errors, blocks) for o in offsets]
        offset = float(offsets[int(np.argmax(scores))])
        plain = mapped(row, curves[key], quantiles[row.order], snr, 0.0)
        with_offset = mapped(row, curves[key], quantiles[row.order], snr, offset)
        fitted[key] = {"offset_db": round(offset, 2), "kind": "simulated", "samples": shown(counts),
                       "mapped": [round(float(p), 4) for p in plain],
                       "fitted": [round(float(p), 4) for p in with_offset]}  # fmt: skip
    usual = float(np.mean([row["offset_db"] for row in fitted.values()])) if fitted else 0.0
    mcs = {key: fitted.get(key, {"offset_db": round(usual, 2), "kind": "mapped"}) for key in rows}
    return {
        "realisations": int(next(iter(found.values())).shape[1]),
        "snr_db": FADING_DB.tolist(),
        "effective_db": {str(o): [[round(float(x), 2) for x in line] for line in q] for o, q in quantiles.items()},
        "mcs": mcs,
    }


def crossing(error_rate: Callable[[float], float]) -> float:
    low, high = -30.0, 40.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error_rate(middle) > 0.5 else (low, middle)
    return 0.5 * (low + high)


def harq(samples: dict[str, Any], curves: dict[str, Any]) -> dict[str, Any]:
    rows, found = all_rows(), {}
    penalties: dict[str, dict[int, dict[int, float]]] = {"ir": {}, "chase": {}}
    schemes: tuple[Combining, ...] = ("ir", "chase")
    for key, row in rows.items():
        fit, (k, _) = curves[key], message(row)
        for combining in schemes:
            for attempts in range(1, 17):
                case = f"{key}:{combining}:{attempts}"
                counts = rows_of(samples.get(case, {}))
                if sum(n for _, _, n in counts) < 72:
                    continue

                def modelled(snr_db: float) -> float:
                    at = equivalent_snr_db(row, ALLOCATION, combining, np.full((1, attempts), snr_db))  # noqa: B023
                    odds = np.clip(fit["slope"] * (at - fit["middle_db"]), -60, 60)  # noqa: B023
                    return float(1 / (1 + np.exp(odds[0])))

                middle, slope = fit_waterfall(counts, k)
                model = crossing(modelled)
                found[case] = {"middle_db": round(middle, 3), "slope": round(slope, 2),
                               "model_db": round(model, 3), "samples": shown(counts)}  # fmt: skip
                if attempts > 1:
                    penalties[combining].setdefault(row.order, {})[attempts] = middle - model
    out: dict[str, dict[str, list[float]]] = {}
    for combining, by_order in penalties.items():
        out[combining] = {}
        for order in (2, 4, 6, 8):
            # 256QAM was not sampled: as 64QAM, or the closest order that was.
            closest = min(by_order, key=lambda sampled: (abs(sampled - order), -sampled))
            known = {1: 0.0} | dict(sorted(by_order[closest].items()))
            attempts = range(1, max(known) + 1)
            out[combining][str(order)] = [
                round(float(np.interp(n, *zip(*known.items(), strict=True))), 3) for n in attempts
            ]
    return {"penalty_db": out, "samples": found}


def main() -> None:
    samples = json.loads((HERE / "samples.json").read_text())
    curves = awgn(samples.get("awgn", {}))
    result = {
        "format": "airloom nr bler",
        "version": 1,
        "made_with": "sionna-no-rt 2.2.0 (torch 2.13.0), experiments/radio",
        "snr": "Es/N0 of one MIMO layer in dB: unit energy per layer and transmit antenna, SNR = 1/N0",
        "samples": "[snr_db, errors, blocks, low, high]: counts, and their 95 % confidence interval (Wilson)",
        "reference": "51 PRB, 30 kHz, 14 symbols with 1 of DMRS, 2 layers; LDPC belief propagation, 20 iterations",
        "awgn": curves,
        "cdl-c": {
            "channel": "38.901 CDL-C, 2x2 cross-polarised, 300 ns, 3.5 GHz, 0.8 m/s, LMMSE, perfect channel knowledge",
            **cdl_c(samples.get("cdl-c", {}), curves),
        },
        "harq": harq(samples.get("harq", {}), curves),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    kinds = [curve["kind"] for curve in curves.values()]
    print(f"{OUT.name}: {OUT.stat().st_size} bytes; AWGN {kinds.count('simulated')} of {len(kinds)} pairs simulated")
    for key, row in result["cdl-c"]["mcs"].items():
        if row["kind"] == "simulated":
            print(f"cdl-c {key} offset {row['offset_db']} dB")
            for (snr, e, n, low, high), plain, fit in zip(row["samples"], row["mapped"], row["fitted"], strict=True):
                print(f"  {snr:6.1f} dB {e:4.0f}/{n:<4.0f} [{low:.3f}, {high:.3f}] mapped {plain:.3f} fitted {fit:.3f}")
    for case, row in result["harq"]["samples"].items():
        print(f"harq {case} counted {row['middle_db']} dB, accumulated information {row['model_db']} dB")


if __name__ == "__main__":
    main()
