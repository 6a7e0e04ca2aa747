"""What a link does to an IP packet: hold it back, or lose it. One interface for relay and simulator.

A packet waits for those before it (`queue`), is sent at the link's rate, may be lost on the way
(`erasure`, `gilbert_elliott`) and arrives a delay later. A lost packet has taken its share of the
rate. Expected figures are what planners price with; the mean of many offers converges to them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np

from airloom.core.topology import Link
from airloom.radio.erasure import Erasure, LossProcess
from airloom.radio.gilbert_elliott import GilbertElliott
from airloom.radio.nr.link import NrLink
from airloom.radio.queue import ConstantRate, FifoQueue, RateSchedule
from airloom.radio.replay import read_rate_trace

MTU_BYTES = 1500
_IP_HEADER, _UDP_HEADER = 20, 8


class LinkModel(Protocol):
    """One direction of a link. Offers must come in order of time."""

    def offer(self, nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
        """When the IP packet of `nbytes` bytes arrives, or None where it is lost."""
        ...

    @property
    def expected_loss(self) -> float:
        """Long-run probability that the link loses a packet, a full buffer apart."""
        ...

    def expected_transfer_s(self, nbytes: float) -> float:
        """Mean seconds from offering `nbytes` to an idle link until the last of them arrives."""
        ...


class IdealLink:
    """Unlimited rate, no loss, a fixed delay."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s

    def offer(self, nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
        return at_s + self.delay_s

    @property
    def expected_loss(self) -> float:
        return 0.0

    def expected_transfer_s(self, nbytes: float) -> float:
        return self.delay_s


class QueuedLink:
    """A queue, a loss process and a delay; rate, delay, loss and being up may change at any time.

    Attributes:
        lost: packets lost on the way; `overflowed`: packets that found the buffer full;
            `cut_off`: packets offered while the link was down.
    """

    def __init__(
        self,
        schedule: RateSchedule,
        loss: LossProcess,
        *,
        delay_s: float = 0.0,
        buffer_bytes: float | None = None,
        up: bool = True,
    ) -> None:
        self.queue = FifoQueue(schedule, buffer_bytes=buffer_bytes)
        self.loss, self.delay_s, self.up = loss, delay_s, up
        self.lost = self.overflowed = self.cut_off = 0

    def offer(self, nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
        if not self.up:
            self.cut_off += 1
            return None
        sent_s = self.queue.offer(nbytes, at_s)
        if sent_s is None:
            self.overflowed += 1
            return None
        if self.loss.lost(sent_s, rng):
            self.lost += 1
            return None
        return sent_s + self.delay_s

    @property
    def expected_loss(self) -> float:
        return self.loss.expected_loss if self.up else 1.0

    def expected_transfer_s(self, nbytes: float) -> float:
        return self.queue.schedule.expected_s(nbytes) + self.delay_s if self.up else math.inf


def loss_process(loss: float, burst_s: float) -> LossProcess:
    """Bursts where `burst_s` is above 0, else independent losses; 0 and 1 need no state."""
    if burst_s > 0.0 and 0.0 < loss < 1.0:
        return GilbertElliott(loss=loss, burst_s=burst_s)
    return Erasure(loss)


def link_model(link: Link, *, origin_s: float = 0.0, buffer_bytes: float | None = None) -> QueuedLink | NrLink:
    """The model of a topology's link: a 5G link where it has a radio.

    Its fixed overhead is paid by every packet, as delay: so each transfer arrives that much later,
    however many transfers there are and whoever sends them.

    Args:
        origin_s: when the first row of the link's rate trace, if any, begins to hold.
        buffer_bytes: drop-tail buffer; None is 0.2 s at the rate, at least 256 KiB.

    Raises:
        ConfigError: the link's trace cannot be read.
    """
    if link.nr is not None:
        return NrLink(link.nr, delay_s=link.delay_s + link.overhead_s, buffer_bytes=buffer_bytes)
    schedule: RateSchedule
    if link.trace:
        schedule = read_rate_trace(Path(link.trace), origin_s=origin_s)
    else:
        schedule = ConstantRate(link.rate_bps)
    return QueuedLink(
        schedule,
        loss_process(link.loss, link.burst_s),
        delay_s=link.delay_s + link.overhead_s,
        buffer_bytes=buffer_bytes,
    )


def ip_packets(datagram_nbytes: int, *, mtu_bytes: int = MTU_BYTES) -> tuple[int, ...]:
    """Sizes of the IP packets (headers included) that carry a UDP datagram of so many payload bytes.

    One, or as many fragments as IPv4 makes of it (RFC 791: pieces of a multiple of 8 bytes).
    """
    whole = datagram_nbytes + _UDP_HEADER
    if whole + _IP_HEADER <= mtu_bytes:
        return (whole + _IP_HEADER,)
    piece = (mtu_bytes - _IP_HEADER) // 8 * 8
    full, rest = divmod(whole, piece)
    return (piece + _IP_HEADER,) * full + ((rest + _IP_HEADER,) if rest else ())


def offer_datagram(model: LinkModel, datagram_nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
    """Offer a UDP datagram; it arrives with its last fragment, and is lost with any of them."""
    packets = ip_packets(datagram_nbytes)
    arrivals = [model.offer(nbytes, at_s, rng) for nbytes in packets]
    times = [a for a in arrivals if a is not None]
    return max(times) if len(times) == len(packets) else None
