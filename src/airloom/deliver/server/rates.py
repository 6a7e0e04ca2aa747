"""How fast each client is, from what it has fetched so far.

A rate is what the client acknowledged over the time that its connection was busy, both as the kernel counts them
(`tcp_info`: bytes_acked, busy_time): pauses of the client do not count, nor does what only the send buffer took. It is
taken after every request, and every second of a long one. A client's rate is the harmonic mean of its last five (Jiang,
Sekar, Zhang, "Improving fairness, efficiency, and stability in HTTP-based adaptive video streaming with FESTIVE",
CoNEXT 2012, section 4.3): slow ones weigh more, so that a deadline is rather kept than not. Who was not seen for a
while, or is among too many, is forgotten.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

#: Less than that says more of slow start than of the link.
MIN_NBYTES = 16 * 1024
#: The kernel counts busy time in ticks, up to 4 ms long: less than a few of them say too little, except of a lot.
TICK_S, MIN_BUSY_S, LOT_NBYTES = 0.004, 0.012, 1 << 20
_SAMPLES = 5
# Offsets in Linux' struct tcp_info (include/uapi/linux/tcp.h).
_RTT_US, _BYTES_ACKED, _BUSY_US, _LENGTH = 68, 120, 168, 176
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)


class Progress(NamedTuple):
    """What a connection's kernel has counted so far."""

    acknowledged: int
    busy_s: float
    rtt_s: float


def progress(sock: Any) -> Progress | None:
    """Of a TCP socket; None where this system does not count it."""
    if _TCP_INFO is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
    except (OSError, AttributeError, ValueError):
        return None
    if len(info) < _LENGTH:
        return None
    (rtt_us,) = struct.unpack_from("=I", info, _RTT_US)
    (acknowledged,) = struct.unpack_from("=Q", info, _BYTES_ACKED)
    (busy_us,) = struct.unpack_from("=Q", info, _BUSY_US)
    return Progress(acknowledged, busy_us * 1e-6, rtt_us * 1e-6)


class Rates:
    """Rates of the clients seen last.

    Args:
        max_clients: the one that was seen the longest ago goes first.
        max_age_s: what is older than this says nothing of now.
    """

    def __init__(
        self, *, max_clients: int = 10_000, max_age_s: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_clients, self._max_age_s, self._clock = max_clients, max_age_s, clock
        self._seen: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, client: str, nbytes: int, seconds: float) -> bool:
        """What `client` took in some seconds; False where that says too little, and is to be counted on."""
        if nbytes < MIN_NBYTES or (seconds < MIN_BUSY_S and nbytes < LOT_NBYTES):
            return False
        seconds = max(seconds, TICK_S)
        samples = self._seen.setdefault(client, deque(maxlen=_SAMPLES))
        samples.append((self._clock(), seconds / (8.0 * nbytes)))
        self._seen.move_to_end(client)
        while len(self._seen) > self._max_clients:
            self._seen.popitem(last=False)
        return True

    def estimate_bps(self, client: str) -> float | None:
        """Harmonic mean of the last rates; None for a client nobody knows."""
        samples = self._seen.get(client)
        if not samples:
            return None
        since = self._clock() - self._max_age_s
        recent = [per_bit for at, per_bit in samples if at >= since]
        if not recent:
            del self._seen[client]
            return None
        return len(recent) / sum(recent)
