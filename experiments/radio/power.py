"""Power of a phone's radio against its throughput, from measurements in operational 5G networks.

    python experiments/radio/power.py [--data ../shared/data/5g_power] [--plot power.png]

Reads MN-Transfer_combined.csv (a phone that moves data at set rates, one row a second: throughput in
Mbit/s, avg_power in mW) of Narayanan et al., "A variegated look at 5G in the wild: performance, power,
and QoE implications", SIGCOMM 2021 (artifact, https://github.com/SIGCOMM21-5G/artifact). HiveMind (section
VII-A4) takes its energy from a measurement of the same kind. Prints the table that
`src/airloom/core/power_curves.py` holds: continuous lines between fixed knots, fitted by least squares.
The power is the file's, in which the radio is active throughout; the data itself is not copied.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NETWORKS = {"mmwave": "5g-mmwave", "NSALow": "5g-low-band", "LTE": "lte"}
# Mbit/s at which lines meet; the last is where each way's data end.
KNOTS = {
    ("mmwave", "downlink"): (1, 200, 800, 1600, 2000),
    ("mmwave", "uplink"): (1, 60, 120, 200),
    ("NSALow", "downlink"): (1, 30, 100),
    ("NSALow", "uplink"): (1, 40),
    ("LTE", "downlink"): (1, 60),
    ("LTE", "uplink"): (1, 10, 25),
}


def read(path: Path) -> dict[tuple[str, str], NDArray[np.float64]]:
    """[rows, 2] Mbit/s and W by network and direction; rows in which the phone fell short of its rate are kept."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["network type"], row["direction"]
            found.setdefault(key, []).append((float(row["throughput"]), float(row["avg_power"]) / 1e3))
    return {key: np.array(rows) for key, rows in found.items()}


def fit(rows: NDArray[np.float64], knots: tuple[int, ...]) -> tuple[NDArray[np.float64], float, float]:
    """W at each knot, the share of variance explained, and the standard deviation of the rest in W."""
    inside = rows[rows[:, 0] <= knots[-1] * 1.1]
    at = np.array(knots, dtype=np.float64)
    hats = np.stack([np.interp(inside[:, 0], at, np.eye(len(at))[k]) for k in range(len(at))], axis=1)
    watts = np.linalg.lstsq(hats, inside[:, 1], rcond=None)[0]
    rest = inside[:, 1] - hats @ watts
    return watts, float(1.0 - rest.var() / inside[:, 1].var()), float(rest.std())


def main() -> int:
    here = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parent / "shared" / "data" / "5g_power")
    parser.add_argument("--plot", type=Path, help="draw measurements and lines to this PNG")
    args = parser.parse_args()
    path = args.data / "MN-Transfer_combined.csv"
    if not path.is_file():
        print(f"no {path}: give --data", file=sys.stderr)
        return 1
    measured = read(path)
    lines = {key: fit(measured[key], knots) for key, knots in KNOTS.items()}
    for key, (watts, explained, spread) in lines.items():
        points = ", ".join(f"({knot}e6, {w:.2f})" for knot, w in zip(KNOTS[key], watts, strict=True))
        print(f"{NETWORKS[key[0]]:12} {key[1]:9} {points}  # R2 {explained:.2f}, +-{spread:.2f}")
    if args.plot is not None:
        draw(measured, lines, args.plot)
    return 0


def draw(
    measured: dict[tuple[str, str], NDArray[np.float64]],
    lines: dict[tuple[str, str], tuple[NDArray[np.float64], float, float]],
    path: Path,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 3, figsize=(12, 6), constrained_layout=True)
    for (network, way), axes in zip(KNOTS, grid.T.ravel(), strict=True):
        rows = measured[network, way]
        axes.plot(rows[:, 0], rows[:, 1], ".", markersize=2, alpha=0.3)
        axes.plot(KNOTS[network, way], lines[network, way][0], "o-", color="black")
        axes.set(title=f"{NETWORKS[network]} {way}", xlabel="Mbit/s", ylabel="W", ylim=(0, None))
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
