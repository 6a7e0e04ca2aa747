"""Virtual time: a heap of things to do, in order of time and, within a moment, of asking."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Runs what it was asked to at the time it was asked for; `now_s` never goes back."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do `action` at `at_s`, or now where that has passed."""
        heapq.heappush(self._heap, (max(at_s, self.now_s), next(self._order), action))

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until `until()` holds, asked after every action, or nothing is left to do."""
        while self._heap and not until():
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
