"""Background users that leave a UE what HiveMind's Table I says: mean and deviation of each link, at mid load.

    python experiments/radio/background.py [--seconds 1800]

The paper gives capacities and what is left to a UE, not the traffic behind them ([48], whose figures are
not public). Bit rates are log-normal as [48] finds; how many users and how fast they are is what this
looks for, by trying, for each link on its own. Few users who want much are looked for, as many who want little
would leave next to nothing when twice as many want twice as much (load high), which the paper's latencies
under that load rule out. The examples in examples/scenarios hold what it prints.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from airloom.core.scenario import Background
from airloom.radio.cell.crowd import Crowd
from airloom.radio.cell.shared import BLOCK, SharedRows

# Table I: capacity, mean and deviation in Mbit/s.
TABLE = {
    "A": (200, 66.49, 19.47), "B": (200, 71.89, 19.72), "C": (200, 47.06, 8.95), "D": (200, 54.03, 11.61),
    "E": (200, 48.59, 9.41), "F": (400, 54.05, 12.94), "G": (200, 36.03, 8.63), "H": (50, 18.12, 4.43),
    "sub-6 A&B": (50, 33.94, 8.45), "sub-6 C": (50, 18.78, 3.66),
}  # fmt: skip
TICK_S, STAY_S, SWING_S = 0.05, 30.0, 0.3
#: Capacity (Mbit/s), users, presence, rate (Mbit/s), spread, swing.
Row = tuple[float, float, float, float, float, float]


def left(rows: list[Row], seconds: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, Mbit/s, of what a UE is left beside others."""
    crowds = [
        Crowd(
            Background(
                users=users, presence=presence, stay_s=STAY_S, rate_bps=rate * 1e6, rate_spread=spread,
                swing=swing, swing_s=SWING_S,
            ),
            seed=seed, name=f"row {k}", scale=1.0, alone=lambda draws: 1.0,
        )
        for k, (_, users, presence, rate, spread, swing) in enumerate(rows)
    ]  # fmt: skip
    shared = SharedRows(crowds, targets=1, seed=seed, tick_s=TICK_S, fairness_s=1.0)
    link = np.repeat(np.array([[row[0] * 1e6 for row in rows]]), BLOCK, axis=0)
    got = np.concatenate(
        [shared.play(tick, link[:, :, None], link)[:, :, 0] for tick in range(0, round(seconds / TICK_S), BLOCK)]
    )
    return got.mean(axis=0) / 1e6, got.std(axis=0) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--best", type=int, default=1, help="how many to print of each")
    parser.add_argument("--tries", type=int, default=300, help="how many to try for each link")
    parser.add_argument("--only", help="one label of Table I")
    args = parser.parse_args()
    for label, (capacity, mean, deviation) in TABLE.items():
        if args.only and label != args.only:
            continue
        draws = np.random.default_rng(1)
        rows: list[Row] = []
        for _ in range(args.tries):
            places = max(1, round(capacity / mean - 1.0)) + int(draws.integers(0, 2))
            over = float(draws.choice((0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0)))
            there = float(draws.choice((0.7, 0.8, 0.85, 0.9, 0.95, 0.98)))
            spread = float(draws.choice((0.1, 0.2, 0.4)))
            users = round(places * there, 2)
            rate = float(f"{over * (capacity - mean) / users:.2g}")
            rows.append((capacity, users, there, rate, spread, float(draws.choice((0.6, 0.8, 1.0)))))
        for seconds, keep in ((args.seconds / 4, 10), (args.seconds, args.best)):
            means, deviations = left(rows, seconds, seed=1)
            misses = np.hypot((means - mean) / mean, 0.5 * (deviations - deviation) / deviation)
            order = misses.argsort()[:keep]
            rows, means, deviations = [rows[k] for k in order], means[order], deviations[order]
        for (_, users, there, rate, spread, swing), m, d in zip(rows, means, deviations, strict=True):
            print(
                f"{label:10} {{users: {users}, presence: {there}, rate: {rate:g} Mbit/s, spread: {spread}, "
                f"swing: {swing}}}  # {m:.2f} +- {d:.2f} of {mean} +- {deviation}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
