"""How busy this host's executor is: a stage is expected to take `1 + load` times its unloaded time."""

from __future__ import annotations

import math

QUIET = 0.01


class LoadMeter:
    """Jobs waiting, averaged over time, and how much slower stages run than the profile says.

    `level` is the time average, with time constant `tau_s`, of the jobs that wait while another
    runs: by then a new stage waits about as many times its own length. `slowdown` is the excess
    of measured stage time over the profile's, averaged over `busy_s` of computing; it fades
    while the host is idle, so that a host found slow once is tried again.
    """

    def __init__(self, *, tau_s: float = 1.0, busy_s: float = 0.3, fade_s: float = 5.0) -> None:
        self._tau_s, self._busy_s, self._fade_s = tau_s, busy_s, fade_s
        self._at_s = 0.0
        self.outstanding = 0
        self._level = 0.0
        self._slowdown = 0.0

    def _advance(self, now_s: float) -> None:
        dt, self._at_s = max(0.0, now_s - self._at_s), max(self._at_s, now_s)
        if self.outstanding == 0 and self._level == 0.0 and self._slowdown == 0.0:
            return
        waiting = max(0, self.outstanding - 1)
        self._level = waiting + (self._level - waiting) * math.exp(-dt / self._tau_s)
        if self.outstanding == 0:
            self._slowdown *= math.exp(-dt / self._fade_s)

    def begin(self, now_s: float) -> None:
        self._advance(now_s)
        self.outstanding += 1

    def end(self, now_s: float, compute_s: float = 0.0, expected_s: float = 0.0) -> None:
        """A job is over; `compute_s` 0 says that it never ran."""
        self._advance(now_s)
        self.outstanding = max(0, self.outstanding - 1)
        if compute_s > 0 and expected_s > 0:
            # One stage that took a hundred times as long (a first run, a sleeping machine) says little. Stages that
            # were faster count too: of noise alone the mean must come out at nothing.
            excess = min(compute_s / expected_s - 1.0, 4.0)
            weight = 1.0 - math.exp(-compute_s / self._busy_s)
            self._slowdown += weight * (excess - self._slowdown)

    def value(self, now_s: float) -> float:
        """The load now; 0 where it is too small to matter."""
        self._advance(now_s)
        load = self._level + max(0.0, self._slowdown)
        if load < QUIET:
            if self.outstanding <= 1:
                self._level = 0.0
            return 0.0
        return load

    @property
    def quiet(self) -> bool:
        return self.outstanding == 0 and self._level + self._slowdown < QUIET
