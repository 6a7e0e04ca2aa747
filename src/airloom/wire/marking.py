"""When a sender with nothing else to send tells its receiver what it should have by now.

Soon after the last departure, then again and again: for the first round trips as often, so that one mark
arrives after a burst of losses, then ever more slowly.
"""

from __future__ import annotations

import math

from airloom.wire.meters import RttMeter

_MIN_GAP_S, _MAX_FIRST_GAP_S, _MAX_GAP_S = 0.002, 0.02, 0.1
_GROW = 1.25


class Marking:
    """The marks of one sender, whose link has the round trip `rtt`."""

    def __init__(self, rtt: RttMeter) -> None:
        self._rtt = rtt
        self._due_s = math.inf
        self._gap_s = _MIN_GAP_S
        self._departed_s = -math.inf  # when data or a repair last left

    def departed(self, free_s: float, now_s: float) -> None:
        """Data or a repair leaves, and the link is free again at `free_s`."""
        self.restart()
        self._departed_s = now_s
        self._due_s = max(free_s, now_s) + self._gap_s

    def restart(self) -> None:
        """The receiver spoke: from the next mark on they are frequent again, a tenth of a round trip apart."""
        self._gap_s = min(_MAX_FIRST_GAP_S, max(_MIN_GAP_S, (self._rtt.smoothed_s or 0.0) / 10))

    def is_due(self, now_s: float) -> bool:
        return now_s >= self._due_s

    def took_turn(self, now_s: float, *, again: bool) -> None:
        """A mark that was due had its turn; `again` where something is not confirmed yet."""
        self._due_s = now_s + self._gap_s if again else math.inf
        if now_s - self._departed_s > 2 * (self._rtt.smoothed_s or 0.0) + 0.02:
            self._gap_s = min(self._gap_s * _GROW, _MAX_GAP_S)

    def next_time(self, now_s: float) -> float:
        """When to ask again where something is not confirmed."""
        return min(self._due_s, now_s + _MAX_GAP_S)
