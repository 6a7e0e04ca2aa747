"""UDP through the relay: one socket for each ordered pair of neighbours.

The port of `a->b` is where `a` sends what is meant for `b`; the relay reads it there, lets the
model of the link `a->b` decide, and sends it on to `b` *from the port of `b->a`*. So `b` sees the
very address to which it sends what is meant for `a`, and each host knows each neighbour by one
stable address: a data plane needs no idea that there is a relay.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Callable

from airloom.runtime.relay_link import EmulatedLink
from airloom.runtime.relay_loop import RelayLoop

_UDP_SEGMENT, _UDP_GRO, _SO_RXQ_OVFL, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 103, 104, 40, 35, 33
_RECEIVE_BUFFER = 8 << 20
_READS_A_TURN = 32
_GSO_SEGMENTS, _GSO_BYTES = 64, 65_000
# A packet is taken to have come when the kernel had it, at most this long before it was read: the
# time the relay waits for a processor is then part of the link's delay and does not add to it.
_LOOK_BACK_S = 0.1

Address = tuple[str, int]


class UdpPort:
    """Receives what `src` sends to `dst`, sends it on through `exit`, the port of `dst->src`."""

    def __init__(
        self,
        loop: RelayLoop,
        link: EmulatedLink | None,
        *,
        listen: str,
        find: Callable[[], Address | None],
    ) -> None:
        """`find` tells where `dst` listens now; `link` is None where only the way back is a link."""
        self._loop, self._link, self._find = loop, link, find
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        raise_receive_buffer(self.socket)
        for level, option in (
            (socket.SOL_SOCKET, _SO_RXQ_OVFL),
            (socket.SOL_SOCKET, _SO_TIMESTAMPNS),
            (socket.IPPROTO_UDP, _UDP_GRO),
        ):
            self.socket.setsockopt(level, option, 1)
        self.socket.bind((listen, 0))
        self.exit = self
        self._buffer = bytearray(65_536)
        loop.watch(self.socket.fileno(), on_read=self._read)

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()
        return host, port

    def _read(self) -> None:
        view = memoryview(self._buffer)
        for _ in range(_READS_A_TURN):
            try:
                nbytes, notes, _, _ = self.socket.recvmsg_into([view], 256)
            except BlockingIOError:
                return
            now_s, wall_s, slow = self._loop.now_s(), time.time(), self._loop.motion.slow
            at_s, segment = now_s, nbytes
            for level, kind, data in notes:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    seconds, nanos = struct.unpack("qq", data)
                    waited_s = wall_s - (seconds + nanos * 1e-9)
                    at_s = now_s - min(max(waited_s, 0.0), _LOOK_BACK_S) / slow
                elif level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                    segment = struct.unpack("i", data)[0]
                elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and self._link is not None:
                    self._link.kernel_dropped = struct.unpack("I", data)[0]
            if self._link is None:
                continue
            for start in range(0, max(nbytes, 1), max(segment, 1)):
                packet = bytes(view[start : min(start + segment, nbytes)])
                due_s = self._link.offer_datagram(len(packet), at_s)
                if due_s is not None:
                    self._loop.schedule(due_s, self, packet)

    def deliver(self, packets: list[bytes]) -> None:
        """Send to `dst`, runs of equal size in one call."""
        assert self._link is not None
        address = self._find()
        if address is None:
            self._link.homeless += len(packets)
            return
        self._link.delivered += len(packets)
        out = self.exit.socket
        for run in runs_for_gso(packets):
            try:
                if len(run) == 1:
                    out.sendto(run[0], address)
                else:
                    size = struct.pack("H", len(run[0]))
                    out.sendmsg(run, [(socket.IPPROTO_UDP, _UDP_SEGMENT, size)], 0, address)
            except OSError:
                # A full send buffer, or a receiver that has just gone: to UDP both are loss.
                self._link.delivered -= len(run)
                self._link.homeless += len(run)

    def close(self) -> None:
        self._loop.watch(self.socket.fileno())
        self.socket.close()


def runs_for_gso(packets: list[bytes]) -> list[list[bytes]]:
    """Neighbouring packets of one size, the last may be shorter, as one GSO send takes them."""
    runs: list[list[bytes]] = []
    for _, group in itertools.groupby(packets, key=len):
        equal = list(group)
        size = len(equal[0])
        last = runs[-1] if runs else []
        if last and len(equal) >= 1 and 0 < size < len(last[0]) == len(last[-1]) and _fits(last, size):
            last.append(equal.pop(0))
        step = max(1, min(_GSO_SEGMENTS, _GSO_BYTES // max(size, 1))) if size else 1
        runs += [equal[i : i + step] for i in range(0, len(equal), step)]
    return runs


def _fits(run: list[bytes], size: int) -> bool:
    return len(run) < _GSO_SEGMENTS and len(run) * len(run[0]) + size <= _GSO_BYTES


def raise_receive_buffer(sock: socket.socket, nbytes: int = _RECEIVE_BUFFER) -> None:
    """As large as root may set it, else as `net.core.rmem_max` allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, nbytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, nbytes)
