"""Answers that come too slowly, or never end: bounds that `http.client` does not have.

A host that sends a byte now and then never runs into a timeout between two bytes, and one that sends header fields,
trailers or "100 Continue" for ever never gets to a body that could be too long.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import Any

#: What a `TimeoutError` of `Paced` says.
TOO_SLOW = "its bytes come too slowly"
#: Bytes of an answer besides its body: its head, and what chunked coding adds.
_MOST_BESIDES = 1 << 20
#: Chunks of one byte take this many bytes on the line.
_MOST_EXPANDED = 16


class Paced(io.RawIOBase):
    """What comes over a connection: at least `least_bps` over any `window_s` spent waiting for it.

    Time that the reader spends elsewhere does not count.

    Attributes:
        allowed: bytes that may still come.
    """

    def __init__(self, raw: io.RawIOBase, least_bps: float, window_s: float) -> None:
        self._raw, self._least_bps, self._window_s = raw, least_bps, window_s
        self._nbytes, self._waited_s = 0, 0.0
        self.allowed = _MOST_BESIDES

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        """Some bytes.

        Raises:
            TimeoutError: none came in time, or too few.
            HTTPException: there is no end to them.
        """
        began = time.monotonic()
        count = self._raw.readinto(into) or 0
        self._waited_s += time.monotonic() - began
        self._nbytes += count
        self.allowed -= count
        if self.allowed < 0:
            raise http.client.HTTPException("an answer without an end")
        if self._waited_s >= self._window_s:
            if count and 8 * self._nbytes < self._least_bps * self._waited_s:
                raise TimeoutError(TOO_SLOW)
            self._nbytes, self._waited_s = 0, 0.0
        return count

    def took(self, nbytes: int) -> None:
        """`nbytes` of a body were read: as many more may come."""
        self.allowed += _MOST_EXPANDED * nbytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An HTTP answer that is read through `Paced`.

    Args:
        pace: `least_bps` and `window_s`.
    """

    def __init__(self, *args: Any, pace: tuple[float, float], **named: Any) -> None:
        super().__init__(*args, **named)
        self.paced = Paced(self.fp.detach(), *pace)
        self.fp = io.BufferedReader(self.paced)
