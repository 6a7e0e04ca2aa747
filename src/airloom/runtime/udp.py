"""Messages over sealed UDP: drives `wire.link.LinkProtocol` with a socket and the loop's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from airloom.core.messages import Allowance, Frame, Parcel
from airloom.errors import WireError
from airloom.runtime.motion import REAL, Motion
from airloom.runtime.transport import Address, OnLink, OnMessage
from airloom.runtime.udpsocket import UdpSocket
from airloom.wire.blocks import PACKET_OVERHEAD
from airloom.wire.link import LinkProtocol
from airloom.wire.message import pack_message, unpack_message
from airloom.wire.receiver import Budget, Complete, ReceiverLimits
from airloom.wire.seal import LinkKey
from airloom.wire.sender import Burst, SenderLimits

_READS = 8  # datagrams (of up to 64 KB) in one turn of the loop: reports must not wait for a whole window
_BURSTS = 16
_TELL_EVERY_S = 0.1
_NEWS = 0.05  # a change of a figure that is worth telling
#: As `wire.receiver.Allow`, the sender's name before it.
AllowFrom = Callable[[str, Frame, int, float], Allowance]
_TAG = slice(4, 8)  # of a block: which key it claims


@dataclass(eq=False)
class _Peer:
    name: str
    address: Address
    protocol: LinkProtocol
    waiting: Burst | None = None  # the kernel had no room for it
    timer: asyncio.TimerHandle | None = None
    timer_s: float = 0.0
    told_s: float = 0.0
    told: dict[bool, tuple[float | None, float | None, float | None]] = field(default_factory=dict)


class UdpTransport:
    """`Transport` over one UDP socket. `host` is this host's name in `on_link`."""

    def __init__(
        self,
        host: str,
        address: Address = ("127.0.0.1", 0),
        *,
        on_message: OnMessage,
        on_link: OnLink | None = None,
        receiver_limits: ReceiverLimits | None = None,
        sender_limits: SenderLimits | None = None,
        partial_bytes: int = 512 << 20,
        buffer_bytes: int = 8 << 20,
        segmentation: bool = True,
        probe: bool = True,
        allow: AllowFrom | None = None,
        motion: Motion = REAL,
    ) -> None:
        """`allow` says what may be missing of messages by sender, None nothing.

        `partial_bytes` bounds the memory of partial messages of all peers; `buffer_bytes` is the socket's.
        Rates, delays and times are those of `motion`.
        """
        self.host = host
        self._address = address
        self._on_message, self._on_link = on_message, on_link
        self._allow, self._motion = allow, motion
        self._receiver_limits = receiver_limits or ReceiverLimits()
        self._sender_limits = sender_limits
        self._budget = Budget(partial_bytes)
        self._buffer_bytes, self._segmentation, self._probe = buffer_bytes, segmentation, probe
        self._socket: UdpSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._peers: dict[str, _Peer] = {}
        self._by_tag: dict[bytes, _Peer] = {}
        self._blocked: list[_Peer] = []
        self._counts: dict[str, int] = {
            f"{way}_{what}": 0
            for way, what in (
                ("sent", "first_bytes"), ("sent", "repair_bytes"), ("sent", "control_bytes"),
                ("sent", "first_packets"), ("sent", "repair_packets"), ("sent", "control_packets"),
                ("sent", "messages"), ("received", "messages"), ("received", "bytes"),
            )
        }  # fmt: skip

    @property
    def local_address(self) -> Address:
        if self._socket is None:
            raise RuntimeError("start() the transport first")
        return self._socket.address

    @property
    def receive_buffer_bytes(self) -> int:
        """What the kernel granted; less than asked for where net.core.rmem_max is small and we are not root."""
        if self._socket is None:
            raise RuntimeError("start() the transport first")
        return self._socket.receive_buffer_bytes

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = UdpSocket(self._address, buffer_bytes=self._buffer_bytes, segmentation=self._segmentation)
        self._loop.add_reader(self._socket.fileno(), self._readable)
        for peer in list(self._peers.values()):
            peer.protocol.sender.start(self._motion.now_s())
            self._service(peer)

    async def close(self) -> None:
        for name in list(self._peers):
            self.remove_peer(name)
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._counts["drop_kernel"] = self._socket.kernel_drops
            self._socket.close()
            self._socket = None

    def add_peer(
        self, peer: str, address: Address, send_key: LinkKey, recv_key: LinkKey, *, rate_bps: float | None = None,
        recv_loss: float = 0.0, send_loss: float = 0.0,
    ) -> None:  # fmt: skip
        self.remove_peer(peer)
        protocol = LinkProtocol(
            send_key,
            recv_key,
            rate_bps=rate_bps,
            sender_limits=self._sender_limits,
            receiver_limits=self._receiver_limits,
            budget=self._budget,
            probe=self._probe,
            allow=None if self._allow is None else partial(self._allow, peer),
            recv_loss=recv_loss,
            send_loss=send_loss,
        )
        tag = protocol.tag.to_bytes(4, "little")
        if tag in self._by_tag:
            raise ValueError(f"the key of {peer} is that of {self._by_tag[tag].name}: each link needs its own")
        added = self._peers[peer] = self._by_tag[tag] = _Peer(peer, address, protocol)
        if self._socket is not None and self._loop is not None:
            protocol.sender.start(self._motion.now_s())
            self._service(added)

    def remove_peer(self, peer: str) -> None:
        gone = self._peers.pop(peer, None)
        if gone is None:
            return
        del self._by_tag[gone.protocol.tag.to_bytes(4, "little")]
        if gone.timer is not None:
            gone.timer.cancel()
        gone.protocol.close()
        for reason, count in gone.protocol.drops().items():
            self._count(f"drop_{reason}", count)

    def send(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        parts = pack_message(frame, parcel)
        nbytes = sum(len(part) for part in parts)
        if nbytes > self._receiver_limits.message_bytes:
            raise ValueError(f"a message of {nbytes} bytes to {peer}: at most {self._receiver_limits.message_bytes}")
        to = self._peers.get(peer)
        if to is None or self._socket is None or self._loop is None:
            self._count("drop_no_peer")
            return
        if to.protocol.send(parts, self._motion.now_s()) is not None:
            self._count("sent_messages")
            self._service(to)

    def set_rate(self, peer: str, rate_bps: float | None) -> None:
        to = self._peers.get(peer)
        if to is not None:
            to.protocol.sender.set_rate(rate_bps)

    def counters(self) -> dict[str, int]:
        totals = dict(self._counts)
        if self._socket is not None:
            totals["drop_kernel"] = self._socket.kernel_drops
        for peer in self._peers.values():
            for reason, count in peer.protocol.drops().items():
                key = f"drop_{reason}"
                totals[key] = totals.get(key, 0) + count
        return totals

    # --- the loop calls ------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._socket is not None
        assert self._loop is not None
        touched: dict[_Peer, None] = {}
        for _ in range(_READS):
            try:
                received = self._socket.receive()
            except OSError:  # an ICMP error of an earlier datagram; the peer's silence says the same
                self._count("drop_socket_error")
                break
            if received is None:
                break
            data, segment, age_s = received
            self._counts["received_bytes"] += len(data)
            peer = self._by_tag.get(bytes(data[_TAG]))
            if peer is None:
                self._count("drop_unknown_peer" if len(data) >= 8 else "drop_malformed")
                continue
            now_s = self._motion.now_s()
            peer.protocol.datagrams(data, segment, now_s, now_s - age_s / self._motion.slow)
            touched[peer] = None
        for peer in touched:
            self._service(peer)

    def _service(self, peer: _Peer) -> None:
        """Hand over what is complete, send what may leave, and set the timer for the rest."""
        loop = self._loop
        if loop is None or self._socket is None or self._peers.get(peer.name) is not peer:
            return
        now_s = self._motion.now_s()
        if peer.waiting is None:
            for _ in range(_BURSTS):
                burst = peer.protocol.poll(now_s)
                if burst is None:
                    break
                self._transmit(peer, burst)
                if peer.waiting is not None:
                    break
        for complete in peer.protocol.take_events():
            # From the loop, so that an error in the callback stops nothing here.
            loop.call_soon(self._deliver, peer.name, complete)
        if self._on_link is not None and now_s - peer.told_s >= _TELL_EVERY_S:
            peer.told_s = now_s
            self._tell(peer, now_s)
        if peer.waiting is None:
            self._wake(peer, max(now_s, peer.protocol.next_time(now_s)))

    def _wake(self, peer: _Peer, at_s: float) -> None:
        assert self._loop is not None
        if peer.timer is not None:
            if peer.timer_s == at_s:
                return
            peer.timer.cancel()
            peer.timer = None
        if at_s < float("inf"):
            peer.timer, peer.timer_s = self._motion.call_at(at_s, self._timer, peer), at_s

    def _timer(self, peer: _Peer) -> None:
        peer.timer = None
        self._service(peer)

    def _transmit(self, peer: _Peer, burst: Burst) -> None:
        assert self._socket is not None
        assert self._loop is not None
        try:
            left = self._socket.send(burst, peer.address)
        except OSError:  # no route, or the address is not allowed: as good as lost
            self._count("drop_send_error", burst.packets)
            return
        sent, nbytes = burst.packets, len(burst.data)
        if left is not None:
            sent, nbytes = sent - left.packets, nbytes - len(left.data)
            peer.waiting = left
            self._blocked.append(peer)
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._counts[f"sent_{burst.purpose}_packets"] += sent
        self._counts[f"sent_{burst.purpose}_bytes"] += nbytes + sent * PACKET_OVERHEAD

    def _writable(self) -> None:
        assert self._socket is not None
        assert self._loop is not None
        self._loop.remove_writer(self._socket.fileno())
        blocked, self._blocked = self._blocked, []
        for peer in blocked:
            burst, peer.waiting = peer.waiting, None
            if burst is not None:
                self._transmit(peer, burst)
            self._service(peer)

    def _deliver(self, peer: str, complete: Complete) -> None:
        if self._socket is None or peer not in self._peers:
            return
        try:
            frame, parcel = unpack_message(complete.buffer, complete.missing)
        except WireError:
            self._count("drop_malformed")
            return
        self._count("received_messages")
        self._on_message(peer, frame, parcel)

    def _tell(self, peer: _Peer, now_s: float) -> None:
        """Report both directions of the link where a figure moved."""
        assert self._loop is not None
        assert self._on_link is not None
        sender, receiver = peer.protocol.sender, peer.protocol.receiver
        least_s = sender.rtt.least_s
        delay_s = None if least_s is None else least_s / 2
        for out, figures in (
            (True, (sender.rate_bps, delay_s, sender.loss_meter.loss)),
            (False, (receiver.rate_bps(now_s), delay_s, receiver.loss_meter.loss)),
        ):
            if _news(peer.told.get(out), figures):
                peer.told[out] = figures
                ends = (self.host, peer.name) if out else (peer.name, self.host)
                self._loop.call_soon(self._on_link, *ends, *figures)

    def _count(self, key: str, by: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + by


def _news(
    old: tuple[float | None, float | None, float | None] | None, new: tuple[float | None, float | None, float | None]
) -> bool:
    """Whether rate or delay moved by more than a twentieth, or loss by half a percent."""
    if old is None:
        return any(figure is not None for figure in new)
    for was, now, least in zip(old, new, (0.0, 1e-4, 5e-3), strict=True):
        if now is not None and (was is None or abs(now - was) > max(least, _NEWS * was)):
            return True
    return False
