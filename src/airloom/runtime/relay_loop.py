"""The relay's clock: file descriptors to read, and packets that leave when their time has come.

One thread, one heap of departures, no spinning. `epoll` counts in milliseconds; `select` on the
epoll descriptor wakes within a tenth of that and leaves the rest to epoll.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import select
from collections.abc import Callable
from typing import Any, Protocol

from airloom.runtime.motion import REAL, Motion

# Packets due within one nap leave together: at most this late, at a quarter of the wake-ups.
NAP_S = 0.0002
_PR_SET_TIMERSLACK = 29
_PRIORITY = -10


class Outlet(Protocol):
    """Where packets leave."""

    def deliver(self, packets: list[bytes]) -> None: ...


class Lateness:
    """How long after their time packets left: what the emulation is off by."""

    def __init__(self) -> None:
        self.packets, self.sum_s, self.max_s = 0, 0.0, 0.0

    def add(self, late_s: float) -> None:
        self.packets += 1
        self.sum_s += late_s
        if late_s > self.max_s:
            self.max_s = late_s

    @property
    def mean_s(self) -> float:
        return self.sum_s / self.packets if self.packets else 0.0


class RelayLoop:
    """Runs until `stop()`; single-threaded, so nothing in it needs a lock."""

    def __init__(self, motion: Motion = REAL) -> None:
        self.motion = motion
        self._epoll = select.epoll()
        self._on_read: dict[int, Callable[[], None]] = {}
        self._on_write: dict[int, Callable[[], None]] = {}
        self._heap: list[tuple[float, int, Outlet, bytes]] = []
        self._pushed = 0
        self._running = True
        self.lateness = Lateness()

    def watch(
        self, fd: int, *, on_read: Callable[[], None] | None = None, on_write: Callable[[], None] | None = None
    ) -> None:
        """Call `on_read` or `on_write` while `fd` is ready; what is None is no longer watched."""
        known = fd in self._on_read or fd in self._on_write
        for table, handler in ((self._on_read, on_read), (self._on_write, on_write)):
            table.pop(fd, None)
            if handler is not None:
                table[fd] = handler
        mask = (select.EPOLLIN if on_read else 0) | (select.EPOLLOUT if on_write else 0)
        if known and mask:
            self._epoll.modify(fd, mask)
        elif known:
            self._epoll.unregister(fd)
        elif mask:
            self._epoll.register(fd, mask)

    def schedule(self, due_s: float, outlet: Outlet, packet: bytes) -> None:
        """Hand `packet` to `outlet` at `due_s` of the emulation's clock; equal times keep their order."""
        heapq.heappush(self._heap, (due_s, self._pushed, outlet, packet))
        self._pushed += 1

    def call_at(self, due_s: float, function: Callable[[], None]) -> None:
        self.schedule(due_s, _Call(function), b"")

    def now_s(self) -> float:
        """Of the emulation's clock."""
        return self.motion.now_s()

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        while self._running:
            timeout_s: float | None = None
            if self._heap:
                timeout_s = max((self._heap[0][0] - self.now_s()) * self.motion.slow, NAP_S)
            select.select([self._epoll], [], [], timeout_s)
            for fd, mask in self._epoll.poll(0):
                # A handler before this one may have closed the descriptor.
                if mask & ~select.EPOLLOUT and fd in self._on_read:
                    self._on_read[fd]()
                if mask & ~select.EPOLLIN and fd in self._on_write:
                    self._on_write[fd]()
            self._release()

    def close(self) -> None:
        self._heap.clear()
        self._epoll.close()

    def _release(self) -> None:
        now_s = self.now_s()
        heap, late = self._heap, self.lateness
        batches: dict[int, tuple[Outlet, list[bytes]]] = {}
        while heap and heap[0][0] <= now_s:
            due_s, _, outlet, packet = heapq.heappop(heap)
            late.add(now_s - due_s)
            batches.setdefault(id(outlet), (outlet, []))[1].append(packet)
        for outlet, packets in batches.values():
            outlet.deliver(packets)


class _Call:
    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def deliver(self, packets: list[bytes]) -> None:
        self._function()


def sharpen_timers() -> None:
    """Ask Linux to wake this process when it wants to be woken: a late relay is a slower link.

    Within 1 us in place of 50, and, where we are root, ahead of the hosts it serves, which may take
    all processors there are.
    """
    prctl: Any = ctypes.CDLL(None).prctl
    prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
