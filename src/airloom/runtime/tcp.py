"""Messages over TCP, sealed with the same keys: the second transport, and the one to compare with.

Each host listens, and dials every peer for what it sends to it: one connection each way, opened
again when it breaks. What was in a connection that breaks is lost, as on any link: the source of a
request tries again.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial

from airloom.core.messages import Frame, Parcel
from airloom.errors import WireError
from airloom.runtime.motion import REAL, Motion
from airloom.runtime.tcp_incoming import Incoming
from airloom.runtime.tcp_outgoing import Outgoing
from airloom.runtime.tcp_socket import choose_congestion
from airloom.runtime.transport import Address, OnLink, OnMessage
from airloom.wire.message import pack_message, unpack_message
from airloom.wire.receiver import ReceiverLimits
from airloom.wire.seal import LinkKey, Opener, Sealer
from airloom.wire.sender import SenderLimits

_TELL_AFTER_S = 0.25


@dataclass(eq=False)
class _Peer:
    name: str
    tag: int  # of the key that it seals with
    outgoing: Outgoing
    tell: asyncio.TimerHandle | None = None
    told: tuple[float | None, float | None, float | None] | None = None


class TcpTransport:
    """`Transport` over TCP; `congestion` names the congestion control, "bbr" or "cubic".

    TCP repairs everything itself: of a message that arrives nothing is ever missing, whatever an
    accuracy contract would allow, and its repairs cost what they cost.
    """

    def __init__(
        self,
        host: str,
        address: Address = ("127.0.0.1", 0),
        *,
        on_message: OnMessage,
        on_link: OnLink | None = None,
        congestion: str = "cubic",
        receiver_limits: ReceiverLimits | None = None,
        sender_limits: SenderLimits | None = None,
        motion: Motion = REAL,
    ) -> None:
        """What the kernel says of rates and delays is told in the time of `motion`."""
        self.host, self.congestion = host, congestion
        self._motion = motion
        self._address = address
        self._on_message, self._on_link = on_message, on_link
        self._message_bytes = (receiver_limits or ReceiverLimits()).message_bytes
        self._queue_bytes = (sender_limits or SenderLimits()).queue_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._local: Address | None = None
        self._peers: dict[str, _Peer] = {}
        self._by_tag: dict[int, str] = {}
        self._incoming = Incoming(self._arrived, self._count, message_bytes=self._message_bytes)
        self._counts = dict.fromkeys(
            (
                "sent_first_bytes", "sent_repair_bytes", "sent_control_bytes",
                "sent_messages", "received_messages", "received_bytes",
            ), 0,
        )  # fmt: skip

    @property
    def local_address(self) -> Address:
        if self._local is None:
            raise RuntimeError("start() the transport first")
        return self._local

    async def start(self) -> None:
        """Listen; MissingExtra where the congestion control is not to be had."""
        self._loop = asyncio.get_running_loop()
        family = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            choose_congestion(listener, self.congestion)
            listener.bind(self._address)
        except BaseException:
            listener.close()
            raise
        self._server = await self._loop.create_server(self._incoming.protocol, sock=listener)
        host, port = listener.getsockname()[:2]
        self._local = (host, port)
        for peer in self._peers.values():
            peer.outgoing.start(self._loop)

    async def close(self) -> None:
        tasks = [self._remove(name) for name in list(self._peers)]
        self._incoming.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await self._incoming.wait_closed()
        self._loop = None

    def add_peer(
        self, peer: str, address: Address, send_key: LinkKey, recv_key: LinkKey, *, rate_bps: float | None = None,
        recv_loss: float = 0.0, send_loss: float = 0.0,
    ) -> None:  # fmt: skip
        if send_key == recv_key:
            raise ValueError("each direction of a link needs a key of its own")
        self.remove_peer(peer)
        opener = Opener(recv_key)
        if opener.tag in self._by_tag:
            raise ValueError(f"the key of {peer} is that of {self._by_tag[opener.tag]}: each link needs its own")
        outgoing = Outgoing(
            address, Sealer(send_key), congestion=self.congestion, queue_bytes=self._queue_bytes,
            count=self._count, on_write=partial(self._wrote, peer),
        )  # fmt: skip
        self._peers[peer] = _Peer(peer, opener.tag, outgoing)
        self._by_tag[opener.tag] = peer
        self._incoming.expect(opener)
        if self._loop is not None and self._server is not None:
            outgoing.start(self._loop)

    def remove_peer(self, peer: str) -> None:
        self._remove(peer)

    def _remove(self, peer: str) -> asyncio.Task[None] | None:
        """Forget `peer`; the task that ends with its connection, if there is one."""
        gone = self._peers.pop(peer, None)
        if gone is None:
            return None
        del self._by_tag[gone.tag]
        self._incoming.refuse(gone.tag)
        if gone.tell is not None:
            gone.tell.cancel()
        return gone.outgoing.close()

    def send(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        parts = pack_message(frame, parcel)
        nbytes = sum(len(part) for part in parts)
        if nbytes > self._message_bytes:
            raise ValueError(f"a message of {nbytes} bytes to {peer}: at most {self._message_bytes}")
        to = self._peers.get(peer)
        if to is None or self._loop is None:
            self._count("drop_no_peer")
            return
        if to.outgoing.held_bytes + nbytes > self._queue_bytes:
            self._count("drop_queue_full")
            return
        self._count("sent_messages")
        to.outgoing.send(parts, nbytes)

    def set_rate(self, peer: str, rate_bps: float | None) -> None:
        """TCP finds the rate by itself."""

    def counters(self) -> dict[str, int]:
        """As `Transport` has it, but the bytes are those of the stream: the kernel adds headers and repeats."""
        return dict(self._counts)

    def _wrote(self, peer: str) -> None:
        """A message was given to the connection to `peer`: its figures will have moved."""
        to = self._peers.get(peer)
        if to is not None and self._loop is not None and self._on_link is not None and to.tell is None:
            to.tell = self._loop.call_later(_TELL_AFTER_S * self._motion.slow, self._tell, to)

    def _tell(self, to: _Peer) -> None:
        """The kernel's own figures of the connection."""
        to.tell = None
        seen = to.outgoing.figures()
        if seen is None or self._on_link is None:
            return
        slow = self._motion.slow
        figures = (seen.rate_bps * slow or None, seen.rtt_s / 2 / slow or None, seen.loss)
        if figures != to.told:
            to.told = figures
            self._on_link(self.host, to.name, *figures)

    def _arrived(self, tag: int | None, message: memoryview) -> None:
        """A whole message came under the key of `tag`."""
        peer = None if tag is None else self._by_tag.get(tag)
        if peer is None or self._loop is None:
            return
        try:
            frame, parcel = unpack_message(message)
        except WireError:
            self._count("drop_malformed")
            return
        self._count("received_messages")
        self._loop.call_soon(self._deliver, peer, frame, parcel)

    def _deliver(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        if self._server is not None and peer in self._peers:
            self._on_message(peer, frame, parcel)

    def _count(self, key: str, by: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + by
