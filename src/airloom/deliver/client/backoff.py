"""How long to wait before a transfer that broke is begun anew."""

from __future__ import annotations

import numpy as np

FIRST_S = 0.1
LONGEST_S = 10.0


class Backoff:
    """Waits that double, each a random share of half to the whole of it, so that clients of one host spread.

    Args:
        rng: draws the shares.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._next_s = rng, FIRST_S

    def reset(self) -> None:
        """Bytes came: the next wait is a short one."""
        self._next_s = FIRST_S

    def wait_s(self, asked_s: float = 0.0) -> float:
        """The next wait in seconds; at least what the host asked."""
        drawn = self._next_s * float(self._rng.uniform(0.5, 1.0))
        self._next_s = min(2 * self._next_s, LONGEST_S)
        return max(drawn, asked_s)
