"""Messages over TCP, sealed with the same keys: the second transport, and the one to compare with.

Each host listens, and dials every peer for what it sends to it: one connection each way, opened
again when it breaks. What was in a connection that breaks is lost, as on any link: the source of a
request tries again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from airloom.core.messages import Frame, Parcel
from airloom.errors import MissingExtra, WireError
from airloom.runtime.motion import REAL, Motion
from airloom.runtime.transport import Address, OnLink, OnMessage
from airloom.wire.message import pack_message, unpack_message
from airloom.wire.receiver import ReceiverLimits
from airloom.wire.records import RecordReader, seal_message
from airloom.wire.seal import LinkKey, Opener, Sealer
from airloom.wire.sender import SenderLimits

_PROOF_S = 5.0  # a connection that has proved no key by then is closed
_MAX_CONNECTIONS = 256
_REDIAL_S, _MAX_REDIAL_S = 0.05, 1.0
_TELL_AFTER_S = 0.25
_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")

# struct tcp_info of linux/tcp.h: byte offset and form of what we read.
_TOTAL_RETRANS, _MIN_RTT_US, _DATA_SEGS_OUT, _DELIVERY_RATE = (100, "=I"), (148, "=I"), (156, "=I"), (160, "=Q")
_TCP_INFO_BYTES = 256


def choose_congestion(sock: socket.socket, name: str) -> None:
    """Set the congestion control of `sock`; MissingExtra where this kernel does not let us have it."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError:
        try:
            available = _AVAILABLE.read_text().strip()
        except OSError:
            available = "unknown"
        raise MissingExtra(
            f"TCP congestion control {name!r} is not available (have: {available}): try `modprobe tcp_{name}`"
        ) from None


@dataclass(eq=False)
class _Peer:
    name: str
    address: Address
    sealer: Sealer
    opener: Opener
    queue: deque[tuple[bytes | memoryview, ...]] = field(default_factory=deque)  # while there is no connection
    queued: int = 0
    connection: asyncio.Transport | None = None
    task: asyncio.Task[None] | None = None
    lost: asyncio.Event = field(default_factory=asyncio.Event)
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
        self._openers: dict[int, Opener] = {}
        self._newest: dict[int, int] = {}
        self._inbound: set[_Inbound] = set()
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
        self._server = await self._loop.create_server(lambda: _Inbound(self), sock=listener)
        host, port = listener.getsockname()[:2]
        self._local = (host, port)
        for peer in self._peers.values():
            peer.task = self._loop.create_task(self._dial(peer))

    async def close(self) -> None:
        tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
        for name in list(self._peers):
            self.remove_peer(name)
        for inbound in list(self._inbound):
            inbound.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        await asyncio.gather(*tasks, return_exceptions=True)
        # Let the loop call connection_lost, so that no socket outlives us.
        while self._inbound:
            await asyncio.sleep(0)
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
        added = self._peers[peer] = _Peer(peer, address, Sealer(send_key), opener)
        self._by_tag[opener.tag], self._openers[opener.tag] = peer, opener
        if self._loop is not None and self._server is not None:
            added.task = self._loop.create_task(self._dial(added))

    def remove_peer(self, peer: str) -> None:
        gone = self._peers.pop(peer, None)
        if gone is None:
            return
        tag = gone.opener.tag
        for known in (self._by_tag, self._openers, self._newest):
            known.pop(tag, None)
        for inbound in [i for i in self._inbound if i.tag == tag]:
            inbound.abort()
        if gone.task is not None:
            gone.task.cancel()
        if gone.tell is not None:
            gone.tell.cancel()
        if gone.connection is not None:
            gone.connection.abort()

    def send(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        parts = pack_message(frame, parcel)
        nbytes = sum(len(part) for part in parts)
        if nbytes > self._message_bytes:
            raise ValueError(f"a message of {nbytes} bytes to {peer}: at most {self._message_bytes}")
        to = self._peers.get(peer)
        if to is None or self._loop is None:
            self._count("drop_no_peer")
            return
        held = to.queued if to.connection is None else to.connection.get_write_buffer_size()
        if held + nbytes > self._queue_bytes:
            self._count("drop_queue_full")
            return
        self._count("sent_messages")
        if to.connection is None:
            to.queue.append(parts)
            to.queued += nbytes
        else:
            self._write(to, parts)

    def set_rate(self, peer: str, rate_bps: float | None) -> None:
        """TCP finds the rate by itself."""

    def counters(self) -> dict[str, int]:
        """As `Transport` has it, but the bytes are those of the stream: the kernel adds headers and repeats."""
        return dict(self._counts)

    # --- sending -------------------------------------------------------------------------------

    def _write(self, to: _Peer, parts: tuple[bytes | memoryview, ...]) -> None:
        assert to.connection is not None
        assert self._loop is not None
        sealed = seal_message(to.sealer, parts)
        self._count("sent_first_bytes", len(sealed))
        to.connection.write(sealed)
        if self._on_link is not None and to.tell is None:
            to.tell = self._loop.call_later(_TELL_AFTER_S * self._motion.slow, self._tell, to)

    async def _dial(self, to: _Peer) -> None:
        """Keep a connection to the peer for as long as it is one."""
        assert self._loop is not None
        pause_s = _REDIAL_S
        while True:
            try:
                to.connection = await self._connect(to)
            except OSError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_REDIAL_S)
                continue
            pause_s = _REDIAL_S
            while to.queue:
                self._write(to, to.queue.popleft())
            to.queued = 0
            await to.lost.wait()
            to.connection = None
            self._count("drop_connection_lost")
            await asyncio.sleep(pause_s)

    async def _connect(self, to: _Peer) -> asyncio.Transport:
        assert self._loop is not None
        family = socket.getaddrinfo(*to.address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            choose_congestion(sock, self.congestion)
            await self._loop.sock_connect(sock, to.address)
            to.lost.clear()
            transport, _ = await self._loop.create_connection(lambda: _Outbound(to.lost), sock=sock)
        except BaseException:
            sock.close()
            raise
        transport.set_write_buffer_limits(high=self._queue_bytes)
        return transport

    def _tell(self, to: _Peer) -> None:
        """The kernel's own figures of the connection."""
        to.tell = None
        sock = None if to.connection is None else to.connection.get_extra_info("socket")
        if sock is None or self._on_link is None:
            return
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except OSError:
            return

        def read(place: tuple[int, str]) -> int:
            offset, form = place
            return int(struct.unpack_from(form, info, offset)[0]) if len(info) >= offset + 8 else 0

        segments = read(_DATA_SEGS_OUT)
        figures = (
            8.0 * read(_DELIVERY_RATE) * self._motion.slow or None,
            read(_MIN_RTT_US) * 0.5e-6 / self._motion.slow or None,
            read(_TOTAL_RETRANS) / segments if segments else None,
        )
        if figures != to.told:
            to.told = figures
            self._on_link(self.host, to.name, *figures)

    # --- receiving -----------------------------------------------------------------------------

    def reader(self) -> RecordReader:
        """A reader for one more incoming stream."""
        return RecordReader(self._openers, self._newest, message_bytes=self._message_bytes)

    def arrived(self, tag: int | None, message: memoryview) -> None:
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


class _Outbound(asyncio.Protocol):
    """We only send here; whatever comes is not looked at."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()


class _Inbound(asyncio.Protocol):
    """One incoming connection, of a peer that has yet to prove itself."""

    def __init__(self, owner: TcpTransport) -> None:
        self._owner = owner
        self._reader = owner.reader()
        self._transport: asyncio.Transport | None = None
        self._proof: asyncio.TimerHandle | None = None

    @property
    def tag(self) -> int | None:
        return self._reader.tag

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._owner._inbound) >= _MAX_CONNECTIONS:
            self._owner._count("drop_connections")
            transport.abort()
            return
        self._owner._inbound.add(self)
        self._proof = asyncio.get_running_loop().call_later(_PROOF_S, self._unproved)

    def _unproved(self) -> None:
        if self._reader.tag is None:
            self._owner._count("drop_unproved")
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._owner._count("received_bytes", len(data))
        try:
            messages = self._reader.feed(data)
        except WireError as error:
            self._owner._count(f"drop_{error}")
            self.abort()
            return
        for message in messages:
            self._owner.arrived(self._reader.tag, message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._proof is not None:
            self._proof.cancel()
        self._owner._inbound.discard(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
