"""The clock of an emulated network: in slow motion one of its seconds takes several of this machine's.

Hosts, their data planes and the relay read this clock in place of the machine's. So all times that they go by
(timers, deadlines, retries, waves, probes, repairs, forecasts, meters, rates, delays, traces) are those of
what is emulated, and none of them needs to know of slow motion. What this machine itself adds, such as waking
a process, counts for as much less.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from airloom.errors import ConfigError

#: More than that turns minutes into days.
SLOWEST = 1000.0


class Motion:
    """CLOCK_MONOTONIC, `slow` times slower; the same in all processes of a machine.

    Attributes:
        slow: seconds of this machine that a second of what is emulated takes; 1 is real time.

    Raises:
        ConfigError: faster than real time, or too slow to be meant.
    """

    def __init__(self, slow: float = 1.0) -> None:
        if not 1.0 <= slow <= SLOWEST:
            raise ConfigError(f"slow motion is from 1 (real time) to {SLOWEST:g} times slower, got {slow:g}")
        self.slow = slow

    def now_s(self) -> float:
        """Seconds of the emulated clock."""
        return time.monotonic() / self.slow

    def call_at(self, at_s: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Call at `at_s` of the emulated clock, from the running event loop, whose time is CLOCK_MONOTONIC."""
        return asyncio.get_running_loop().call_at(at_s * self.slow, call, *args)

    def real_s(self, seconds: float | None) -> float | None:
        """Seconds of this machine for `seconds` of what is emulated; None, for ever, stays."""
        return None if seconds is None else seconds * self.slow

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of what is emulated."""
        time.sleep(seconds * self.slow)


#: Real time.
REAL = Motion()


def slow_enough(least_factor: float, busy_cores: float = 0.0, cores: int = 1) -> float:
    """The slow motion that a network takes on this machine: a whole number of times, 1 for none.

    Args:
        least_factor: of the fastest device that computes: its time over this machine's for the same work.
        busy_cores: cores of this machine that would compute in the mean, in real time.
        cores: that there are; half of them are left to whatever else goes on.
    """
    return float(max(1, math.ceil(1.0 / least_factor - 1e-9), math.ceil(2.0 * busy_cores / cores - 1e-9)))
