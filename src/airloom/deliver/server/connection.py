"""What one connection may cost: how long its head may be and take, and how long it may take nothing.

uvicorn's protocol with bounds that it does not have: a head that is too long or too slow, more connections than
allowed, and a client that stops reading end in an answer where one is still possible, and in a closed connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from airloom.deliver.server.rates import Progress, Rates, progress
from airloom.deliver.server.refusals import Refusal

#: Bytes of a request's line and header fields.
MAX_HEAD = 32 * 1024
#: Requests sent ahead of their answers that are kept: a client that sends thousands at once is left alone.
MAX_AHEAD = 32
_RETRY_AFTER_S = 1
# Bytes that wait for a client before the next piece does.
_WAITING = 64 * 1024


class ConnectionLimits(NamedTuple):
    """See `settings.ServerSettings`."""

    max_connections: int
    head_timeout_s: float
    stall_timeout_s: float


class Connection(HttpToolsProtocol):
    """One client's connection; also what the answers to its requests may ask (`scope["extensions"]`)."""

    def __init__(self, *args: Any, limits: ConnectionLimits, rates: Rates, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._refused = self._in_head = self._long = False
        self._head_nbytes = 0
        # Since when a head has been awaited, None while there is none to come.
        self._head_at: float | None = None
        self._left: tuple[int, int] | None = None
        self._moved_at = 0.0
        self._answering: RequestResponseCycle | None = None
        #: Whose connection it is, once it has asked for something.
        self.asker: str | None = None
        self._rates, self._told = rates, Progress(0, 0.0, 0.0)

    # For answers.

    @property
    def gone(self) -> bool:
        """Whether nobody is there to answer."""
        return self.transport is None or self.transport.is_closing()

    def progress(self) -> Progress | None:
        """What the kernel has counted of this connection."""
        return None if self.gone else progress(self.transport.get_extra_info("socket"))

    def settle(self) -> Progress | None:
        """`progress`; what it says of the client's rate since the last time is noted."""
        now = self.progress()
        if now is not None and self.asker is not None:
            nbytes, busy_s = now.acknowledged - self._told.acknowledged, now.busy_s - self._told.busy_s
            if self._rates.add(self.asker, nbytes, busy_s):
                self._told = now
        return now

    # For uvicorn.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self._limits.max_connections:
            self.transport, self._refused = transport, True
            self._refuse(503, "too many connections", retry=True)
            return
        super().connection_made(transport)
        # Encrypted, half a megabyte would be let wait by default, of each client.
        transport.set_write_buffer_limits(high=_WAITING)
        self._head_at = time.monotonic()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn tells the newest of requests that came at once; what is being answered is the oldest.
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def eof_received(self) -> None:
        # The client has all that it wanted, and acknowledged it: the last moment to know how fast that was.
        self.settle()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._head_nbytes += len(data)
            if self._head_nbytes > MAX_HEAD:
                self._long = True
                self.send_400_response("")
        elif self._head_at is None and (self.cycle is None or self.cycle.response_complete):
            # Bytes that begin no request: they keep nothing open.
            self._head_at = time.monotonic()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"airloom.connection": self}  # type: ignore[dict-item]
        self._in_head, self._head_nbytes, self._head_at = True, 0, time.monotonic()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._bound(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._bound(len(self.url) + sum(len(key) + len(text) + 4 for key, text in self.headers[-1:]))

    def on_headers_complete(self) -> None:
        self._bound(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        self._in_head, self._head_at = False, None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if self._long:
            self._refuse(431, f"the request's head is too long: at most {MAX_HEAD} bytes")
        else:
            self._refuse(400, msg)

    def _bound(self, nbytes: int) -> None:
        self._long = nbytes > MAX_HEAD
        if self._long or len(self.pipeline) > MAX_AHEAD:
            raise ValueError("too long")  # uvicorn answers it by send_400_response

    def _refuse(self, status: int, reason: str, *, retry: bool = False) -> None:
        """Answer once more, and close; nothing else may be under way on this connection."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        headers = {"retry-after": str(_RETRY_AFTER_S)} if retry else {}
        body = Refusal(status, reason).response().body
        lines = {**headers, "content-type": "application/json", "airloom-api": "1", "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(STATUS_LINE[status] + f"{head}content-length: {len(body)}\r\n\r\n".encode() + bytes(body))
        self.transport.close()

    # For `watch`.

    def check(self, now: float) -> None:
        """Close what takes too long."""
        if self._head_at is not None and now - self._head_at > self._limits.head_timeout_s:
            self._head_at = None
            self._refuse(408, f"no whole request within {self._limits.head_timeout_s:g} s")
        self.settle()
        waiting = self.transport.get_write_buffer_size()
        counted = progress(self.transport.get_extra_info("socket")) if waiting else None
        left = (waiting, counted.acknowledged if counted is not None else 0)
        if not waiting or left != self._left:
            self._left, self._moved_at = left, now
        elif now - self._moved_at > self._limits.stall_timeout_s:
            self.transport.abort()


async def watch(connections: set[Any], every_s: float) -> None:
    """Look after all `connections` until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        now = time.monotonic()
        for connection in list(connections):
            # uvloop refuses to speak of a transport that was closed a moment ago.
            with contextlib.suppress(RuntimeError, OSError):
                connection.check(now)
