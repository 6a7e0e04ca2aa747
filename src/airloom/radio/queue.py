"""A link's rate and its bounded drop-tail buffer, without any queue: serialisation on a virtual clock.

A packet that is offered at `at_s` begins to leave when the one before it has left. Only the time at
which the link falls idle is kept; what waits is what the link can carry until then.
"""

from __future__ import annotations

import math
from typing import Protocol

# A buffer holds this much time at the link's rate, and never less than the bytes below it.
BUFFER_S = 0.2
LEAST_BUFFER_BYTES = 256 * 1024


class RateSchedule(Protocol):
    """How many bytes a link carries over time."""

    def rate_bps(self, at_s: float) -> float:
        """bit/s at `at_s`."""
        ...

    def finish_s(self, start_s: float, nbytes: float) -> float:
        """When `nbytes` that begin to leave at `start_s` have left."""
        ...

    def nbytes_between(self, start_s: float, stop_s: float) -> float:
        """Bytes that a busy link carries from `start_s` to `stop_s`."""
        ...

    def expected_s(self, nbytes: float) -> float:
        """Mean of `finish_s(t, nbytes) - t` over all times `t`."""
        ...

    def mean_rate_bps(self) -> float:
        """Long-run bit/s of a busy link."""
        ...


class ConstantRate:
    """The same bit/s always; infinity is an unlimited link."""

    def __init__(self, rate_bps: float) -> None:
        if not rate_bps > 0:
            raise ValueError(f"a rate must be above 0 bit/s, got {rate_bps!r}")
        self._rate_bps = rate_bps
        self._byte_s = 8.0 / rate_bps

    def rate_bps(self, at_s: float) -> float:
        return self._rate_bps

    def finish_s(self, start_s: float, nbytes: float) -> float:
        return start_s + nbytes * self._byte_s

    def nbytes_between(self, start_s: float, stop_s: float) -> float:
        if stop_s <= start_s:
            return 0.0
        return (stop_s - start_s) * self._rate_bps / 8.0

    def expected_s(self, nbytes: float) -> float:
        return nbytes * self._byte_s

    def mean_rate_bps(self) -> float:
        return self._rate_bps


def default_buffer_bytes(rate_bps: float) -> float:
    """0.2 s at the link's rate, at least 256 KiB: what a base station or router commonly holds."""
    return max(float(LEAST_BUFFER_BYTES), BUFFER_S * rate_bps / 8.0)


class FifoQueue:
    """First in, first out, at a rate that may change between packets.

    A change of rate acts on packets offered after it: those already accepted keep their times.
    """

    def __init__(self, schedule: RateSchedule, *, buffer_bytes: float | None = None) -> None:
        """`buffer_bytes` bounds what waits or is being sent; None is `default_buffer_bytes`."""
        self.schedule = schedule
        self.buffer_bytes = default_buffer_bytes(schedule.mean_rate_bps()) if buffer_bytes is None else buffer_bytes
        self.idle_at_s = -math.inf

    def backlog_bytes(self, at_s: float) -> float:
        """Bytes accepted that have not left at `at_s`."""
        return self.schedule.nbytes_between(at_s, self.idle_at_s) if self.idle_at_s > at_s else 0.0

    def offer(self, nbytes: int, at_s: float) -> float | None:
        """When the last bit of the packet leaves, or None where the buffer is full or it never would.

        An idle link takes a packet of any size.
        """
        start_s = at_s
        if self.idle_at_s > at_s:
            if self.schedule.nbytes_between(at_s, self.idle_at_s) + nbytes > self.buffer_bytes:
                return None
            start_s = self.idle_at_s
        sent_s = self.schedule.finish_s(start_s, nbytes)
        if sent_s == math.inf:
            return None
        self.idle_at_s = sent_s
        return sent_s
