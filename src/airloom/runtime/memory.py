"""Messages between hosts of one process and one loop: the `Transport` of tests and examples."""

from __future__ import annotations

import asyncio

from airloom.core.messages import Frame, Parcel
from airloom.runtime.transport import Address, OnLink, OnMessage
from airloom.wire.message import pack_message, unpack_message
from airloom.wire.seal import LinkKey


class MemoryNetwork:
    """What joins `MemoryTransport`s; each has an address of its own in it."""

    def __init__(self) -> None:
        self._hosts: dict[Address, MemoryTransport] = {}

    def join(self, transport: MemoryTransport) -> Address:
        address = ("memory", len(self._hosts) + 1)
        self._hosts[address] = transport
        return address

    def at(self, address: Address) -> MemoryTransport | None:
        return self._hosts.get(address)


class MemoryTransport:
    """`Transport` over function calls. Messages are encoded and decoded as on a wire, but not sealed.

    A message arrives when the receiver knows its sender under the key it was sent with, as it
    would be opened then and only then.
    """

    def __init__(
        self, host: str, network: MemoryNetwork, *, on_message: OnMessage, on_link: OnLink | None = None
    ) -> None:
        self.host = host
        self._network = network
        self._on_message, self._on_link = on_message, on_link
        self._address = network.join(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._peers: dict[str, tuple[Address, LinkKey]] = {}
        self._by_key: dict[LinkKey, str] = {}
        self._counts = dict.fromkeys(
            ("sent_first_bytes", "sent_repair_bytes", "sent_control_bytes", "sent_messages", "received_messages"), 0
        )

    @property
    def local_address(self) -> Address:
        return self._address

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        self._loop = None

    def add_peer(
        self, peer: str, address: Address, send_key: LinkKey, recv_key: LinkKey, *, rate_bps: float | None = None
    ) -> None:
        self.remove_peer(peer)
        self._peers[peer] = (address, send_key)
        self._by_key[recv_key] = peer

    def remove_peer(self, peer: str) -> None:
        if self._peers.pop(peer, None) is not None:
            self._by_key = {key: name for key, name in self._by_key.items() if name != peer}

    def send(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        message = b"".join(pack_message(frame, parcel))
        known = self._peers.get(peer)
        if known is None or self._loop is None:
            self._count("drop_no_peer")
            return
        address, key = known
        self._count("sent_messages")
        self._count("sent_first_bytes", len(message))
        self._loop.call_soon(self._pass_on, address, key, message)

    def _pass_on(self, address: Address, key: LinkKey, message: bytes) -> None:
        to = self._network.at(address)
        if to is None or to._loop is None:
            self._count("drop_unanswered")
            return
        to._arrive(key, message)

    def _arrive(self, key: LinkKey, message: bytes) -> None:
        peer = self._by_key.get(key)
        if peer is None:
            self._count("drop_unknown_peer")
            return
        frame, parcel = unpack_message(bytearray(message))
        self._count("received_messages")
        self._on_message(peer, frame, parcel)

    def set_rate(self, peer: str, rate_bps: float | None) -> None:
        """Memory has no rate."""

    def counters(self) -> dict[str, int]:
        return dict(self._counts)

    def _count(self, key: str, by: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + by
