"""Answers that come too slowly, or never end: bounds that `http.client` does not have.

A host that sends a byte now and then never runs into a timeout between two bytes, and one that sends header fields,
trailers or "100 Continue" for ever never gets to a body that could be too long.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any

#: What a `TimeoutError` of `Paced` says.
TOO_SLOW = "its bytes come too slowly"
#: The same, where `until_s` has passed.
TOO_LATE = "the model is not open in time"
#: Bytes of an answer besides its body: its head, and what chunked coding adds.
_MOST_BESIDES = 1 << 20
#: Chunks of one byte take this many bytes on the line.
_MOST_EXPANDED = 16


class Paced(io.RawIOBase):
    """What comes over a connection: at least `least_bps` over any `window_s` spent waiting for it.

    Time that the reader spends elsewhere does not count.

    Args:
        wait: sets how long the next bytes may take, in seconds.
        until_s: on the monotonic clock, after which nothing is waited for; None for ever.

    Attributes:
        allowed: bytes that may still come.
    """

    def __init__(
        self, raw: io.RawIOBase, least_bps: float, window_s: float, *, wait: Callable[[float], None] = lambda _: None,
        until_s: float | None = None,
    ) -> None:  # fmt: skip
        self._wait, self._until_s = wait, until_s
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
        if self._until_s is not None:
            if began >= self._until_s:
                raise TimeoutError(TOO_LATE)
            self._wait(min(self._window_s, self._until_s - began))
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
        until_s: says until when anything is waited for, None for ever.
    """

    def __init__(
        self, sock: socket.socket, *args: Any, pace: tuple[float, float], until_s: Callable[[], float | None],
        **named: Any,
    ) -> None:  # fmt: skip
        super().__init__(sock, *args, **named)
        self.paced = Paced(self.fp.detach(), *pace, wait=sock.settimeout, until_s=until_s())
        self.fp = io.BufferedReader(self.paced)
