"""The connection to one peer: dialled again when it breaks, and what waits while there is none.

What was in a connection that breaks is lost; what had not been given to one yet leaves with the next.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from airloom.runtime.tcp_socket import Figures, choose_congestion, figures_of
from airloom.runtime.transport import Address
from airloom.wire.records import seal_message
from airloom.wire.seal import Sealer

_REDIAL_S, _MAX_REDIAL_S = 0.05, 1.0

Parts = tuple[bytes | memoryview, ...]


class Outgoing:
    """Messages to the peer at `address`, sealed for it.

    Args:
        queue_bytes: what the kernel has not taken yet; the owner sees to it with `held_bytes`.
        count: adds to a counter of the transport.
        on_write: told after each message that was given to a connection.

    Attributes:
        connection: the one that holds now, None while there is none.
    """

    def __init__(
        self, address: Address, sealer: Sealer, *, congestion: str, queue_bytes: int,
        count: Callable[[str, int], None], on_write: Callable[[], None],
    ) -> None:  # fmt: skip
        self._address, self._sealer = address, sealer
        self._congestion, self._queue_bytes = congestion, queue_bytes
        self._count, self._on_write = count, on_write
        self._queue: deque[Parts] = deque()  # while there is no connection
        self._queued = 0
        self.connection: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep a connection to the peer from now on."""
        self._task = loop.create_task(self._dial(loop))

    def close(self) -> asyncio.Task[None] | None:
        """Have none any more; the task that ends with it, where it was started."""
        if self._task is not None:
            self._task.cancel()
        if self.connection is not None:
            self.connection.abort()
        return self._task

    @property
    def held_bytes(self) -> int:
        """What waits here, for the connection or for the kernel."""
        return self._queued if self.connection is None else self.connection.get_write_buffer_size()

    def send(self, parts: Parts, nbytes: int) -> None:
        """Write one message of `nbytes`, or have it wait for a connection."""
        if self.connection is None:
            self._queue.append(parts)
            self._queued += nbytes
        else:
            self._write(self.connection, parts)

    def figures(self) -> Figures | None:
        """The connection as the kernel knows it, None where there is none."""
        sock = None if self.connection is None else self.connection.get_extra_info("socket")
        return None if sock is None else figures_of(sock)

    def _write(self, connection: asyncio.Transport, parts: Parts) -> None:
        sealed = seal_message(self._sealer, parts)
        self._count("sent_first_bytes", len(sealed))
        connection.write(sealed)
        self._on_write()

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep a connection for as long as nobody cancels this."""
        pause_s = _REDIAL_S
        while True:
            try:
                connection = self.connection = await self._connect(loop)
            except OSError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_REDIAL_S)
                continue
            pause_s = _REDIAL_S
            while self._queue:
                self._write(connection, self._queue.popleft())
            self._queued = 0
            await self._lost.wait()
            self.connection = None
            self._count("drop_connection_lost", 1)
            await asyncio.sleep(pause_s)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> asyncio.Transport:
        family = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            choose_congestion(sock, self._congestion)
            await loop.sock_connect(sock, self._address)
            self._lost.clear()
            transport, _ = await loop.create_connection(lambda: _Protocol(self._lost), sock=sock)
        except BaseException:
            sock.close()
            raise
        transport.set_write_buffer_limits(high=self._queue_bytes)
        return transport


class _Protocol(asyncio.Protocol):
    """We only send here; whatever comes is not looked at."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
