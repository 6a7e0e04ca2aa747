"""A UDP socket with what Linux offers for speed: segmentation both ways, big buffers, arrival times, drop counts.

Numbers are those of linux/udp.h and asm-generic/socket.h; Python 3.11 has no names for them. Where
the kernel refuses one, the socket works without it.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import NamedTuple

from airloom.wire.sender import Burst

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_RXQ_OVFL = 32, 33, 35, 40
_TIMESPEC = struct.Struct("@qq")
_DATAGRAM_BYTES = 1 << 16
_NO_GSO = {errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
_BUSY = {errno.EAGAIN, errno.ENOBUFS}


class Received(NamedTuple):
    """Datagrams of one flow, back to back: pieces of `segment` bytes; `age_s` since the kernel had them."""

    data: memoryview
    segment: int
    age_s: float


class UdpSocket:
    """Non-blocking. `receive` and `send` never wait; what they return is valid until the next call."""

    def __init__(self, address: tuple[str, int], *, buffer_bytes: int, segmentation: bool = True) -> None:
        family = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._force(_SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer_bytes)
            self._force(_SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer_bytes)
            self._try(socket.SOL_SOCKET, _SO_TIMESTAMPNS)
            self._try(socket.SOL_SOCKET, _SO_RXQ_OVFL)
            self.gro = segmentation and self._try(_SOL_UDP, _UDP_GRO)
            self.gso = segmentation
            self._socket.bind(address)
        except BaseException:
            self._socket.close()
            raise
        # The kernel doubles what was asked, for its own bookkeeping, and reports the double.
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self.kernel_drops = 0
        self._buffer = memoryview(bytearray(_DATAGRAM_BYTES))

    def _force(self, privileged: int, plain: int, nbytes: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, privileged, nbytes)
        except OSError:  # not root: as much as net.core.[rw]mem_max lets us
            self._socket.setsockopt(socket.SOL_SOCKET, plain, nbytes)

    def _try(self, level: int, option: int) -> bool:
        try:
            self._socket.setsockopt(level, option, 1)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()[:2]
        return host, port

    def receive(self) -> Received | None:
        """What has come, or None where nothing has. OSError as the socket gives it."""
        try:
            nbytes, ancillary, flags, _ = self._socket.recvmsg_into([self._buffer], 128)
        except BlockingIOError:
            return None
        segment, age_s = nbytes, 0.0
        for level, kind, data in ancillary:
            if level == _SOL_UDP and kind == _UDP_GRO:
                segment = int.from_bytes(data[:4], "little")
            elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                age_s = min(1.0, max(0.0, time.time() - seconds - nanoseconds * 1e-9))
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self.kernel_drops = int.from_bytes(data[:4], "little")
        if flags & socket.MSG_TRUNC:
            segment = nbytes  # larger than any of ours: one piece, so that it counts as oversized
        return Received(self._buffer[:nbytes], segment or 1, age_s)

    def send(self, burst: Burst, address: tuple[str, int]) -> Burst | None:
        """Send as much as the kernel takes; what is left over, or None.

        OSError where the kernel refuses for another reason than want of room.
        """
        while burst.packets > 1 and self.gso:
            try:
                control = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("@H", burst.segment))]
                self._socket.sendmsg([burst.data], control, 0, address)
                return None
            except OSError as error:
                if error.errno in _BUSY:
                    return burst
                if error.errno not in _NO_GSO:
                    raise
                self.gso = False
        data, segment = burst.data, burst.segment
        for start in range(0, len(data), segment):
            try:
                self._socket.sendto(data[start : start + segment], address)
            except OSError as error:
                if error.errno in _BUSY:
                    return burst._replace(data=data[start:], packets=-(-(len(data) - start) // segment))
                raise
        return None

    def close(self) -> None:
        self._socket.close()
