"""How fast a link brings bytes, from what came."""

from __future__ import annotations

#: What is asked for in less than this is mostly a round trip and says little about a rate.
_LEAST_NBYTES = 1 << 15


class Meter:
    """Bytes over the seconds in which they came: round trips are left out, and what the client does with them."""

    def __init__(self) -> None:
        self._nbytes, self._busy_s = 0, 0.0

    def add(self, nbytes: int, seconds: float) -> None:
        """`nbytes` came within `seconds`."""
        self._nbytes += nbytes
        self._busy_s += seconds

    @property
    def nbytes(self) -> int:
        return self._nbytes

    @property
    def rate_bps(self) -> float | None:
        """bit/s; None before enough has come to tell."""
        if self._nbytes < _LEAST_NBYTES or self._busy_s <= 0:
            return None
        return 8 * self._nbytes / self._busy_s
