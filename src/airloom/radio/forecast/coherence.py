"""How long a link's rate stays what it is, from measurements of it."""

from __future__ import annotations

from airloom.core.forecast import When

_MEMORY = 0.9  # about the last ten changes


class Coherence:
    """The mean time for which the rate stays within `change`, relative, of what it was when it last changed.

    HiveMind's link coherence time: "the time during which the link capacity is stable" (VII-C2). It cannot be
    seen to be shorter than the time between two measurements.
    """

    def __init__(self, *, change: float = 0.1) -> None:
        if not change > 0:
            raise ValueError(f"a relative change is above 0, got {change}")
        self._change = change
        self._began_s: float | None = None
        self._rate_bps = 0.0
        self._sum, self._weight = 0.0, 0.0
        self._lasts_s = 0.0

    def observe(self, at_s: float, rate_bps: float) -> None:
        """The link carried `rate_bps` at `at_s`."""
        if self._began_s is None:
            self._began_s, self._rate_bps = at_s, rate_bps
            return
        self._lasts_s = max(0.0, at_s - self._began_s)
        if abs(rate_bps - self._rate_bps) > self._change * self._rate_bps:
            self._sum = _MEMORY * self._sum + self._lasts_s
            self._weight = _MEMORY * self._weight + 1.0
            self._began_s, self._rate_bps, self._lasts_s = at_s, rate_bps, 0.0

    @property
    def time_s(self) -> float | None:
        """Seconds; None before the rate has changed once. A stretch that already lasts longer counts."""
        return None if self._weight == 0.0 else max(self._sum / self._weight, self._lasts_s)


def is_worth(when: When, ahead_s: float, coherence_s: float | None) -> bool:
    """Whether a look-ahead of `ahead_s` is worth a forecast on a link of that coherence time.

    HiveMind IV-F switches prediction off where the look-ahead is smaller than the coherence time ("beyond"): the
    last value still holds. VII-C2 finds that it helps as long as the coherence time is no less than the
    look-ahead ("within"). Where the coherence time is not known yet, only "always" forecasts.
    """
    if when == "always":
        return True
    if coherence_s is None:
        return False
    return ahead_s >= coherence_s if when == "beyond" else ahead_s <= coherence_s
