"""Rates that step with a network's ticks, seen by link models: what leaves across a step goes on at the new rate.

A network says its rates tick by tick and only forward (`Rates.rates`). All its links read one
window of them, which reaches from the present to the end of the longest transfer under way: a
simulated hour holds no more of it than a simulated second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: A transfer that does not end within this time never does: the link has gone.
LOOK_AHEAD_S = 60.0


class Rates(Protocol):
    """What varies of a network, tick by tick.

    Attributes:
        links: the (src, dst) whose rates vary, in the order of `rates`.
        period_s: how long a tick lasts.
    """

    @property
    def links(self) -> tuple[tuple[str, str], ...]: ...

    @property
    def period_s(self) -> float: ...

    def rates(self, tick: int) -> NDArray[np.float64]:
        """`[len(links)]` bit/s during `tick`, which lasts from `tick * period_s` on; asked in ascending order."""
        ...


class Window:
    """The ticks that somebody may still ask for. Times before 0 are those of tick 0."""

    def __init__(self, source: Rates, now: Callable[[], float]) -> None:
        self._source, self.now = source, now
        self.period_s = source.period_s
        self.columns = {link: column for column, link in enumerate(source.links)}
        self._rows: deque[list[float]] = deque()
        self._first = 0

    def tick(self, at_s: float) -> int:
        """The tick that holds at `at_s`; a hair before the next one begins that one holds."""
        return max(0, math.floor(at_s / self.period_s + 1e-9))

    def row(self, tick: int) -> list[float]:
        """bit/s of every link during `tick`; of a tick that was left behind, those of the oldest kept."""
        first, rows = self._first, self._rows
        last = first + len(rows)
        while last <= tick:
            rows.append(self._source.rates(last).tolist())
            last += 1
        return rows[max(0, tick - first)]

    def forget(self, at_s: float) -> None:
        """Nobody asks for ticks before `at_s` any more."""
        keep = self.tick(at_s)
        rows = self._rows
        while self._first < keep and len(rows) > 1:
            rows.popleft()
            self._first += 1

    def __len__(self) -> int:
        return len(self._rows)


class SteppedRate:
    """One link's rate as a `RateSchedule`; 0 is an outage, in which nothing leaves."""

    def __init__(self, window: Window, link: tuple[str, str]) -> None:
        self._window, self._column = window, window.columns[link]

    def rate_bps(self, at_s: float) -> float:
        window = self._window
        return window.row(window.tick(at_s))[self._column]

    def finish_s(self, start_s: float, nbytes: float) -> float:
        """Infinity where that takes longer than `LOOK_AHEAD_S`."""
        window, column = self._window, self._column
        period_s, tick = window.period_s, window.tick(start_s)
        bits, at_s, last = 8.0 * nbytes, start_s, tick + math.ceil(LOOK_AHEAD_S / period_s)
        while True:
            rate_bps = window.row(tick)[column]
            tick += 1
            end_s = tick * period_s
            carried = rate_bps * (end_s - at_s)
            if bits <= carried:
                return at_s + bits / rate_bps if bits > 0.0 else at_s
            if tick > last:
                return math.inf
            bits -= carried
            at_s = max(at_s, end_s)

    def nbytes_between(self, start_s: float, stop_s: float) -> float:
        if stop_s <= start_s:
            return 0.0
        window, column = self._window, self._column
        bits, at_s, tick = 0.0, start_s, window.tick(start_s)
        while at_s < stop_s:
            end_s = min(stop_s, (tick + 1) * window.period_s)
            bits += max(0.0, end_s - at_s) * window.row(tick)[column]
            at_s, tick = max(at_s, end_s), tick + 1
        return bits / 8.0

    def expected_s(self, nbytes: float) -> float:
        """Seconds of `nbytes` at the rate of the moment."""
        rate_bps = self.mean_rate_bps()
        return 8.0 * nbytes / rate_bps if rate_bps > 0.0 else math.inf

    def mean_rate_bps(self) -> float:
        """bit/s at the moment: what a network may do later is not known to those who ask."""
        return self.rate_bps(self._window.now())
