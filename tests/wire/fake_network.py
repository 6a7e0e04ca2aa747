"""A network without sockets: two `LinkProtocol`s, virtual time, and links that do what a test says."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np

from airloom.wire.blocks import PACKET_OVERHEAD
from airloom.wire.link import LinkProtocol
from airloom.wire.receiver import Allow, Complete, ReceiverLimits
from airloom.wire.seal import LinkKey
from airloom.wire.sender import SenderLimits

# (datagram, at_s) -> when it arrives; several times for duplicates, none for a loss.
Path = Callable[[bytes, float], list[float]]

THERE, BACK = LinkKey(b"\1" * 32, b"salt"), LinkKey(b"\2" * 32, b"tlas")


def perfect(delay_s: float = 0.0) -> Path:
    return lambda _, at_s: [at_s + delay_s]


class Network:
    """`a` and `b`, joined by one path each way; `run` moves time on until nothing is under way."""

    def __init__(
        self,
        there: Path,
        back: Path,
        *,
        rate_bps: float | None = math.inf,
        limits: ReceiverLimits | None = None,
        late_s: Callable[[], float] = lambda: 0.0,
        probe: bool = False,
        allow: Allow | None = None,
        known_loss: float = 0.0,
        sender_limits: SenderLimits | None = None,
    ) -> None:
        self.now_s = 100.0
        self.a = LinkProtocol(
            THERE, BACK, rate_bps=rate_bps, sender_limits=sender_limits, probe=probe, send_loss=known_loss
        )
        self.b = LinkProtocol(
            BACK,
            THERE,
            rate_bps=rate_bps,
            receiver_limits=limits,
            probe=probe,
            allow=allow,
            recv_loss=known_loss,
        )
        self._paths = {id(self.a): (there, self.b), id(self.b): (back, self.a)}
        self._heap: list[tuple[float, int, object, bytes | None]] = []
        self._wakes = {id(self.a): math.inf, id(self.b): math.inf}
        self._order = 0
        self._late_s = late_s
        self.sent = {"first": 0, "repair": 0, "control": 0}  # IP bytes that a sent
        self.arrived: list[tuple[float, Complete]] = []  # at b
        self.largest_held = 0

    def _push(self, at_s: float, who: LinkProtocol, data: bytes | None) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at_s, self._order, who, data))

    def service(self, who: LinkProtocol) -> None:
        """Let `who` send what may leave now."""
        path, other = self._paths[id(who)]
        for _ in range(100_000):
            burst = who.poll(self.now_s)
            if burst is None:
                break
            pieces = [bytes(burst.data[k : k + burst.segment]) for k in range(0, len(burst.data), burst.segment)]
            assert len(pieces) == burst.packets
            for piece in pieces:
                if who is self.a:
                    self.sent[burst.purpose] += len(piece) + PACKET_OVERHEAD
                for at_s in path(piece, self.now_s):
                    self._push(at_s, other, piece)
        else:
            raise AssertionError("poll never ends")
        at_s = who.next_time(self.now_s)
        if at_s < math.inf:
            at_s = max(at_s, self.now_s) + self._late_s()
            if at_s < self._wakes[id(who)] or self._wakes[id(who)] <= self.now_s:
                self._wakes[id(who)] = at_s
                self._push(at_s, who, None)

    def send(self, *parts: bytes) -> int | None:
        number = self.a.send(parts, self.now_s)
        self.service(self.a)
        return number

    def run(self, for_s: float = 60.0, *, until_idle: bool = True) -> None:
        stop_s = self.now_s + for_s
        while self._heap and self._heap[0][0] <= stop_s:
            if until_idle and self.a.idle and self.b.idle:
                return
            at_s, _, who, data = heapq.heappop(self._heap)
            assert isinstance(who, LinkProtocol)
            self.now_s = max(self.now_s, at_s)
            if data is not None:
                who.datagrams(memoryview(data), len(data), self.now_s, self.now_s)
                if who is self.b:
                    self.largest_held = max(self.largest_held, who.receiver.held_bytes)
                    self.arrived += [(self.now_s, event) for event in who.take_events()]
            self.service(who)
            if who is self.b:
                self.arrived += [(self.now_s, event) for event in who.take_events()]
        if not until_idle:
            self.now_s = stop_s


def lossy(rng: np.random.Generator, *, loss: float, duplicate: float = 0.0, jitter_s: float = 0.0) -> Path:
    """Independent losses, duplicates and delays that reorder."""

    def path(_: bytes, at_s: float) -> list[float]:
        if rng.random() < loss:
            return []
        copies = 2 if rng.random() < duplicate else 1
        return [at_s + 0.001 + jitter_s * float(rng.random()) for _ in range(copies)]

    return path
