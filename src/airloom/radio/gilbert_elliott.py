"""Losses in bursts: a two-state Markov process in continuous time (Gilbert 1960, Elliott 1963).

The link is good or bad and stays in a state for an exponentially distributed time. A packet that
leaves while the link is bad is lost. Time moves the state, not packets: an idle link recovers.
(A process driven by packets would still be in its burst when the next message begins.)
"""

from __future__ import annotations

import numpy as np

# After this many mean cycles without a packet the state is drawn afresh from its long-run
# distribution; by then it has forgotten where it was, and a long pause costs one draw.
_FORGET_CYCLES = 1000.0


class GilbertElliott:
    """Long-run loss `loss`, mean burst `burst_s` seconds, mean gap `burst_s * (1 - loss) / loss`.

    One `rng` that serves nothing else makes the bursts a function of its seed and the first
    packet's time alone: transports compared on one seed meet the same bursts.
    """

    def __init__(self, *, loss: float, burst_s: float) -> None:
        """Raises ValueError unless 0 < loss < 1 and burst_s > 0."""
        if not 0.0 < loss < 1.0:
            raise ValueError(f"bursts need a loss between 0 and 1, got {loss!r}")
        if not burst_s > 0.0:
            raise ValueError(f"a mean burst must last more than 0 s, got {burst_s!r}")
        self._loss, self.burst_s = loss, burst_s
        self.gap_s = burst_s * (1.0 - loss) / loss
        self._bad = False
        self._until_s: float | None = None

    @property
    def expected_loss(self) -> float:
        return self._loss

    def bad(self, at_s: float, rng: np.random.Generator) -> bool:
        """Whether the link is in its lossy state at `at_s`; times must not run backwards."""
        until_s = self._until_s
        if until_s is None or at_s - until_s > _FORGET_CYCLES * (self.burst_s + self.gap_s):
            self._bad = bool(rng.random() < self._loss)
            # Exponential times have no memory: what is left of a stay is distributed as a whole one.
            until_s = at_s + self._stay_s(rng)
        while until_s <= at_s:
            self._bad = not self._bad
            until_s += self._stay_s(rng)
        self._until_s = until_s
        return self._bad

    def lost(self, at_s: float, rng: np.random.Generator) -> bool:
        return self.bad(at_s, rng)

    def _stay_s(self, rng: np.random.Generator) -> float:
        return float(rng.exponential(self.burst_s if self._bad else self.gap_s))


def bad_given_bad(*, loss: float, burst_s: float, after_s: float) -> float:
    """Probability that the link is bad `after_s` after it was: `loss + (1 - loss) exp(-t / tau)`.

    `1 / tau = 1 / burst_s + 1 / gap_s`. A block and its repair sent within tau share their fate.
    """
    tau_s = burst_s * (1.0 - loss)
    return float(loss + (1.0 - loss) * np.exp(-after_s / tau_s))
