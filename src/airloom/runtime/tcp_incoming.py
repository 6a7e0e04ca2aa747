"""Incoming TCP connections: each has to prove a key before it costs more than a little, and soon.

Counters of a key only go up, also over reconnections, so what came over a connection that broke is not
taken again over the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from airloom.errors import WireError
from airloom.wire.records import RecordReader
from airloom.wire.seal import Opener

_PROOF_S = 5.0  # a connection that has proved no key by then is closed
_MAX_CONNECTIONS = 256


class Incoming:
    """The incoming connections of one host.

    Args:
        on_message: gets the tag of the key and the bytes of every whole message.
        count: adds to a counter of the transport.
        message_bytes: the largest message taken.
    """

    def __init__(
        self, on_message: Callable[[int | None, memoryview], None], count: Callable[[str, int], None],
        *, message_bytes: int,
    ) -> None:  # fmt: skip
        self.on_message, self.count = on_message, count
        self._message_bytes = message_bytes
        self._openers: dict[int, Opener] = {}
        self._newest: dict[int, int] = {}
        self._open: set[_Connection] = set()

    def expect(self, opener: Opener) -> None:
        """Take messages under this key from now on."""
        self._openers[opener.tag] = opener

    def refuse(self, tag: int) -> None:
        """Take none under the key of `tag` any more, and close its connections."""
        self._openers.pop(tag, None)
        self._newest.pop(tag, None)
        for connection in [c for c in self._open if c.tag == tag]:
            connection.abort()

    def protocol(self) -> asyncio.Protocol:
        """For one more connection."""
        return _Connection(self, RecordReader(self._openers, self._newest, message_bytes=self._message_bytes))

    def admit(self, connection: _Connection) -> bool:
        """Whether there is room for one more; `leave` is to follow."""
        if len(self._open) >= _MAX_CONNECTIONS:
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        """The connection is gone; one that was not admitted is ignored."""
        self._open.discard(connection)

    def abort(self) -> None:
        """Close all connections; they are gone after `wait_closed`."""
        for connection in list(self._open):
            connection.abort()

    async def wait_closed(self) -> None:
        """Let the loop call connection_lost, so that no socket outlives us."""
        while self._open:
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One incoming connection, of a peer that has yet to prove itself."""

    def __init__(self, owner: Incoming, reader: RecordReader) -> None:
        self._owner, self._reader = owner, reader
        self._transport: asyncio.Transport | None = None
        self._proof: asyncio.TimerHandle | None = None

    @property
    def tag(self) -> int | None:
        """Of the key that it proved, None before."""
        return self._reader.tag

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._owner.admit(self):
            self._owner.count("drop_connections", 1)
            transport.abort()
            return
        self._proof = asyncio.get_running_loop().call_later(_PROOF_S, self._unproved)

    def _unproved(self) -> None:
        if self._reader.tag is None:
            self._owner.count("drop_unproved", 1)
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._owner.count("received_bytes", len(data))
        try:
            messages = self._reader.feed(data)
        except WireError as error:
            self._owner.count(f"drop_{error}", 1)
            self.abort()
            return
        for message in messages:
            self._owner.on_message(self._reader.tag, message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._proof is not None:
            self._proof.cancel()
        self._owner.leave(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
