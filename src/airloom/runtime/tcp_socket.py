"""What the kernel lets us choose of a TCP connection, and what it says of one."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import NamedTuple

from airloom.errors import MissingExtra

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


class Figures(NamedTuple):
    """A connection as the kernel knows it: bit/s delivered, smallest round trip, share of segments sent again.

    `rate_bps` and `rtt_s` are 0 and `loss` is None where the kernel does not say.
    """

    rate_bps: float
    rtt_s: float
    loss: float | None


def figures_of(sock: socket.socket) -> Figures | None:
    """The kernel's own figures of a connected socket, None where it gives none."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None

    def read(place: tuple[int, str]) -> int:
        offset, form = place
        return int(struct.unpack_from(form, info, offset)[0]) if len(info) >= offset + 8 else 0

    segments = read(_DATA_SEGS_OUT)
    return Figures(
        8.0 * read(_DELIVERY_RATE), read(_MIN_RTT_US) * 1e-6, read(_TOTAL_RETRANS) / segments if segments else None
    )
