"""TCP through the relay: a proxy that gives a byte stream a link's rate and delay, both ways.

The port of `a->b` listens; for each connection `a` makes, the relay makes one to `b`. What `a`
writes passes the model of `a->b`, what `b` answers the model of `b->a`; connections over one link
share its queue. Two TCP connections end in the relay, so TCP never feels the link's loss, nor its
round trip in handshake and window: comparisons of congestion control need `runtime/tun.py`.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Callable

from airloom.core.delivery_plan import PATIENT_S
from airloom.runtime.relay_link import EmulatedLink
from airloom.runtime.relay_loop import RelayLoop

Address = tuple[str, int]

_PENDING_BYTES = 1 << 20
_IN_FLIGHT_BYTES = 64 << 20
# How soon to look again whether a full or severed link takes bytes.
_LOOK_AGAIN_S = 0.005
# How much lateness of its timers is made up for.
_LATE_S = 0.05
_END = b""


class TcpPort:
    """Accepts `src`'s connections to `dst`."""

    def __init__(
        self,
        loop: RelayLoop,
        link: EmulatedLink,
        back: EmulatedLink,
        *,
        listen: str,
        find: Callable[[], Address | None],
        patient: bool = False,
    ) -> None:
        """`patient` streams leave a link to whoever else has something for it.

        They offer a piece only where no more than `PATIENT_S` waits already: whoever comes meanwhile waits that long
        for it, and the link still has something to send while timers are late.
        """
        self._loop, self._link, self._back, self._find = loop, link, back, find
        self._patient = patient
        self._splices: set[_Splice] = set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.bind((listen, 0))
        self.socket.listen(64)
        loop.watch(self.socket.fileno(), on_read=self._accept)

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()
        return host, port

    def _accept(self) -> None:
        try:
            near, _ = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        address = self._find()
        if address is None:
            self._link.homeless += 1
            near.close()
            return
        self._splices.add(
            _Splice(self._loop, near, address, self._link, self._back, self._splices.discard, patient=self._patient)
        )

    def close(self) -> None:
        for splice in list(self._splices):
            splice.close()
        self._loop.watch(self.socket.fileno())
        self.socket.close()


class _Splice:
    """Two connections joined: `near` to the one who called, `far` to the one who was meant."""

    def __init__(
        self,
        loop: RelayLoop,
        near: socket.socket,
        address: Address,
        link: EmulatedLink,
        back: EmulatedLink,
        forget: Callable[[_Splice], None],
        *,
        patient: bool = False,
    ) -> None:
        self._loop, self._forget, self.closed = loop, forget, False
        self._near = near
        self._far = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        for sock in (self._near, self._far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out = _Direction(loop, self, near, self._far, link, patient=patient)
        self._in = _Direction(loop, self, self._far, near, back, patient=patient)
        self._far.connect_ex(address)
        loop.watch(self._far.fileno(), on_write=self._connected)

    def _connected(self) -> None:
        if self._far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.close()
            return
        self.rewatch()

    def rewatch(self) -> None:
        """Watch each socket for what its two directions want of it."""
        if self.closed:
            return
        for sock, reader, writer in ((self._near, self._out, self._in), (self._far, self._in, self._out)):
            self._loop.watch(
                sock.fileno(),
                on_read=reader.read if reader.wants_to_read else None,
                on_write=writer.write if writer.pending else None,
            )
        if self._out.finished and self._in.finished:
            self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for sock in (self._near, self._far):
                self._loop.watch(sock.fileno())
                sock.close()
            self._forget(self)


class _Direction:
    """Bytes of one direction of one connection: read as the link takes them, written when due."""

    def __init__(
        self,
        loop: RelayLoop,
        splice: _Splice,
        source: socket.socket,
        target: socket.socket,
        link: EmulatedLink,
        *,
        patient: bool = False,
    ) -> None:
        self._loop, self._splice, self._source, self._target, self._link = loop, splice, source, target, link
        self._patient, self._could_go_s = patient, math.inf
        self.pending: deque[memoryview] = deque()
        self._pending_bytes = self._in_flight = 0
        self._paused = self._ended = False
        self._last_due_s = 0.0
        self.finished = False

    @property
    def wants_to_read(self) -> bool:
        return not (self._paused or self._ended) and self._pending_bytes < _PENDING_BYTES

    def read(self) -> None:
        now_s = self._loop.now_s()
        at_s = now_s
        if self._patient:
            # A timer that was late must not leave the link idle: bytes that waited count from when they could go.
            at_s = min(now_s, max(self._could_go_s, now_s - _LATE_S))
            wait_s = self._link.busy_s(at_s) - PATIENT_S
            if wait_s > 0.0:
                at_s = self._could_go_s = at_s + wait_s
            if at_s > now_s:
                self._paused = True
                self._loop.call_at(at_s, self._resume)
                self._splice.rewatch()
                return
            if at_s == now_s:
                self._could_go_s = math.inf
        room = self._link.stream_room(at_s) if self._in_flight < _IN_FLIGHT_BYTES else 0
        if room == 0:
            self._paused = True
            self._loop.call_at(now_s + _LOOK_AGAIN_S, self._resume)
            self._splice.rewatch()
            return
        try:
            data = self._source.recv(room)
        except BlockingIOError:
            self._could_go_s = math.inf
            return
        except OSError:
            self._splice.close()
            return
        if data:
            due_s = self._link.offer_stream(len(data), at_s)
            self._in_flight += len(data)
        else:
            self._ended = True
            due_s = now_s + self._link.model.delay_s
            self._splice.rewatch()
        # A shorter delay set meanwhile must not let bytes overtake: a stream keeps its order.
        self._last_due_s = max(due_s, self._last_due_s)
        self._loop.schedule(self._last_due_s, self, data or _END)

    def _resume(self) -> None:
        self._paused = False
        self._splice.rewatch()

    def deliver(self, packets: list[bytes]) -> None:
        if self._splice.closed:
            return
        for packet in packets:
            self._in_flight -= len(packet)
            self._pending_bytes += len(packet)
            self.pending.append(memoryview(packet))
            self._link.delivered += packet != _END
        self.write()

    def write(self) -> None:
        try:
            while self.pending:
                head = self.pending[0]
                if not head:
                    self.pending.popleft()
                    self.finished = True
                    self._target.shutdown(socket.SHUT_WR)
                    break
                sent = self._target.send(head)
                self._pending_bytes -= sent
                if sent == len(head):
                    self.pending.popleft()
                else:
                    self.pending[0] = head[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._splice.close()
            return
        self._splice.rewatch()
