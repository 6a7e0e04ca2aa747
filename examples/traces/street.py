"""Writes the synthetic rate trace street.txt: a walk along a street, seen by a small cell.

    python examples/traces/street.py > examples/traces/street.txt

One row a second for two minutes. In the open the rate wanders about 60 Mbit/s (its logarithm is a
first-order autoregression); now and then a building is in the way for some seconds and leaves a
tenth. Nothing here was measured; recorded traces have the same two columns.
"""

import math
import random

SECONDS, MEAN_MBPS, SPREAD, MEMORY = 120, 60.0, 0.35, 0.9
BLOCKED_SHARE, BLOCKED_S, LEFT = 0.2, 6.0, 0.1


def rows(seed: int) -> list[tuple[int, float]]:
    """(second, Mbit/s) pairs."""
    rng = random.Random(seed)
    swing, blocked, table = 0.0, False, []
    for second in range(SECONDS):
        swing = MEMORY * swing + math.sqrt(1 - MEMORY**2) * rng.gauss(0, SPREAD)
        leave = 1 / BLOCKED_S if blocked else BLOCKED_SHARE / (1 - BLOCKED_SHARE) / BLOCKED_S
        blocked ^= rng.random() < leave
        table.append((second, round(MEAN_MBPS * math.exp(swing) * (LEFT if blocked else 1), 1)))
    return table


if __name__ == "__main__":
    print("# second Mbit/s; synthetic, by examples/traces/street.py")
    for second, rate in rows(seed=1):
        print(second, rate)
