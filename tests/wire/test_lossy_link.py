"""400 KB messages over a link with burst losses, in virtual time: the protocol itself, whatever the machine does.

The link is that of benchmarks/lossy_link.py: 50 Mbit/s, 10 ms each way, 5 % of the packets lost in
bursts of 5 ms, in both directions. A message is due every 100 to 150 ms.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

import numpy as np
import pytest

from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.core.topology import Link
from airloom.radio.link import QueuedLink, link_model
from airloom.wire.link import LinkProtocol
from airloom.wire.message import pack_message
from airloom.wire.seal import LinkKey

NBYTES, RATE_BPS, DELAY_S = 400_000, 50e6, 0.010
FLOOR_S = NBYTES * 8 / RATE_BPS + DELAY_S
TIMER_LATE_S = 0.0003


class VirtualLink:
    """Two ends of a link and a heap of events: `run` returns seconds and missing bytes of each message."""

    def __init__(self, *, loss: float, seed: int) -> None:
        keys = LinkKey(bytes(range(32)), b"fwd."), LinkKey(bytes(range(1, 33)), b"back")
        self.ends = [
            LinkProtocol(keys[0], keys[1], rate_bps=RATE_BPS),
            LinkProtocol(keys[1], keys[0], rate_bps=RATE_BPS),
        ]
        self.ways: list[QueuedLink] = [
            link_model(Link(src=s, dst=d, rate_bps=RATE_BPS, delay_s=DELAY_S, loss=loss, burst_s=0.005))
            for s, d in (("a", "b"), ("b", "a"))
        ]
        self.rngs = [np.random.default_rng([seed, i]) for i in range(3)]
        self.wakes = [math.inf, math.inf]
        self.heap: list[tuple[float, int, str, int, Any]] = []
        self.order = itertools.count()

    def push(self, at_s: float, what: str, end: int, more: Any = None) -> None:
        heapq.heappush(self.heap, (at_s, next(self.order), what, end, more))

    def service(self, end: int, now_s: float) -> None:
        protocol = self.ends[end]
        while (burst := protocol.poll(now_s)) is not None:
            data = bytes(burst.data)
            for start in range(0, len(data), burst.segment):
                datagram = data[start : start + burst.segment]
                arrival_s = self.ways[end].offer(len(datagram) + 28, now_s, self.rngs[end])
                if arrival_s is not None:
                    self.push(arrival_s, "datagram", 1 - end, datagram)
        wake_s = max(now_s, protocol.next_time(now_s))
        if wake_s not in (math.inf, self.wakes[end]):
            self.wakes[end] = wake_s
            self.push(wake_s + self.rngs[2].exponential(TIMER_LATE_S), "wake", end, wake_s)

    def run(self, messages: int) -> tuple[np.ndarray, int]:
        frame = Frame(kind=FrameKind.TASK, source=0, request=0)
        parts = pack_message(frame, Parcel((0,), (memoryview(bytes(NBYTES)),)))
        due_s = np.cumsum(self.rngs[2].uniform(0.10, 0.15, size=messages))
        for at_s in due_s:
            self.push(float(at_s), "send", 0)
        sent: dict[int | None, float] = {}
        seconds, missing = [], 0
        while self.heap and len(seconds) < messages:
            now_s, _, what, end, more = heapq.heappop(self.heap)
            if now_s > due_s[-1] + 10:
                break
            if what == "send":
                sent[self.ends[0].send(parts, now_s)] = now_s
            elif what == "datagram":
                self.ends[end].datagrams(memoryview(more), len(more), now_s, now_s)
            elif self.wakes[end] != more:
                continue
            else:
                self.wakes[end] = math.inf
            self.service(end, now_s)
            for complete in self.ends[1].take_events():
                seconds.append(now_s - sent[complete.id])
                missing += sum(stop - start for start, stop in complete.missing)
        return np.array(seconds), missing + (messages - len(seconds)) * NBYTES


def test_a_clean_link_takes_its_framing_and_nothing_more() -> None:
    seconds, missing = VirtualLink(loss=0.0, seed=0).run(20)
    assert missing == 0
    # 348 blocks with 76 bytes of headers each: 6.6 % over the bare bytes.
    assert np.median(seconds) <= DELAY_S + 1.09 * (FLOOR_S - DELAY_S)


@pytest.mark.parametrize("seed", [1, 2])
def test_bursts_of_losses_cost_a_round_trip_and_no_more(seed: int) -> None:
    seconds, missing = VirtualLink(loss=0.05, seed=seed).run(150)
    assert missing <= 0.001 * 150 * NBYTES
    assert np.percentile(seconds, 50) <= 1.35 * FLOOR_S
    assert np.percentile(seconds, 95) <= 0.125
