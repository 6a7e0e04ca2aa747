"""One directed link of the relay: its model, its random numbers, its counters."""

from __future__ import annotations

import math

import numpy as np

from airloom.config.nr import LEAST_SNR_DB, MOST_SNR_DB
from airloom.core.delivery_plan import PIECE_S
from airloom.core.topology import Link, LinkState
from airloom.errors import ConfigError
from airloom.radio.link import QueuedLink, ip_packets, link_model, loss_process, offer_datagram
from airloom.radio.nr.link import NrLink
from airloom.radio.queue import ConstantRate
from airloom.radio.replay import ReplayedRate
from airloom.runtime.relay_control import LinkStats, SetLink

_TCP_SEGMENT, _TCP_HEADERS = 1448, 52


class EmulatedLink:
    """Times and fates for what `src` sends to `dst`.

    `seed` and `index` give the link a generator of its own, so that traffic on one link never
    changes the losses of another.
    """

    def __init__(self, link: Link, *, seed: int, index: int, origin_s: float, buffer_bytes: int | None = None) -> None:
        self.src, self.dst = link.src, link.dst
        self.model = link_model(link, origin_s=origin_s, buffer_bytes=buffer_bytes)
        self._rng = np.random.default_rng([seed, index])
        self._loss, self._burst_s = link.loss, link.burst_s
        self._overhead_s = link.overhead_s
        self.offered = self.offered_bytes = self.delivered = self.homeless = self.kernel_dropped = 0

    def offer_datagram(self, nbytes: int, at_s: float) -> float | None:
        """When a UDP datagram of `nbytes` payload bytes arrives, or None."""
        self.offered += 1
        self.offered_bytes += sum(ip_packets(nbytes))
        return offer_datagram(self.model, nbytes, at_s, self._rng)

    def offer_packet(self, nbytes: int, at_s: float) -> float | None:
        """When an IP packet of `nbytes` bytes, headers included, arrives, or None."""
        self.offered += 1
        self.offered_bytes += nbytes
        return self.model.offer(nbytes, at_s, self._rng)

    def busy_s(self, at_s: float) -> float:
        """Seconds until a stream's link has sent what it has accepted."""
        return max(self._queued.queue.idle_at_s - at_s, 0.0)

    def stream_room(self, at_s: float) -> int:
        """How many bytes of a stream the link takes now; 0 while its buffer is full or it is down."""
        if not self.model.up:
            return 0
        queue = self._queued.queue
        room = queue.buffer_bytes - queue.backlog_bytes(at_s)
        if room < _TCP_SEGMENT:
            return 0
        piece = queue.schedule.rate_bps(at_s) / 8 * PIECE_S
        return int(min(max(piece, _TCP_SEGMENT), 65536, room))

    def offer_stream(self, nbytes: int, at_s: float) -> float:
        """When the last of `nbytes` bytes of a stream arrives; ask `stream_room` first."""
        self.offered += 1
        on_wire = nbytes + -(-nbytes // _TCP_SEGMENT) * _TCP_HEADERS
        self.offered_bytes += on_wire
        queue = self._queued.queue
        left_s = queue.offer(on_wire, at_s)
        # Headers can overfill a buffer that had room for the bytes; a stream loses nothing for that.
        return (queue.idle_at_s if left_s is None else left_s) + self.model.delay_s

    @property
    def _queued(self) -> QueuedLink:
        """The model of a link without a radio: streams are not carried over radios (`Relay` refuses them)."""
        assert isinstance(self.model, QueuedLink)
        return self.model

    def change(self, to: SetLink) -> None:
        """Act on a command; ConfigError leaves the link as it was."""
        place = f"link {self.src}->{self.dst}"
        loss = self._loss if to.loss is None else to.loss
        burst_s = self._burst_s if to.burst_s is None else to.burst_s
        if not 0.0 <= loss <= 1.0:
            raise ConfigError(f"a loss lies in [0, 1], got {loss!r}", where=place)
        for name, seconds in (("burst", burst_s), ("delay", to.delay_s)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0.0):
                raise ConfigError(f"a {name} must be finite and not negative, got {seconds!r} s", where=place)
        if to.rate_bps is not None and not to.rate_bps > 0.0:
            raise ConfigError(f"a rate must be above 0, got {to.rate_bps!r}: set up=false instead", where=place)
        model = self.model
        if isinstance(model, NrLink):
            if to.rate_bps is not None or (loss, burst_s) != (self._loss, self._burst_s):
                raise ConfigError("rate and loss of a 5G link follow from its radio: change its snr", where=place)
            if to.snr_db is not None:
                if not LEAST_SNR_DB <= to.snr_db <= MOST_SNR_DB:
                    raise ConfigError(
                        f"an SNR lies between {LEAST_SNR_DB:g} and {MOST_SNR_DB:g} dB, got {to.snr_db!r}", where=place
                    )
                model.use_snr(to.snr_db)
        else:
            if to.snr_db is not None:
                raise ConfigError("a link without a radio has no SNR: give its rate or loss", where=place)
            if to.rate_bps is not None:
                model.queue.schedule = ConstantRate(to.rate_bps)
            if (loss, burst_s) != (self._loss, self._burst_s):
                self._loss, self._burst_s = loss, burst_s
                model.loss = loss_process(loss, burst_s)
        if to.delay_s is not None:
            self.model.delay_s = to.delay_s + self._overhead_s
        if to.up is not None:
            self.model.up = to.up

    def state(self, at_s: float) -> LinkState:
        """What the link offers at `at_s`."""
        model = self.model
        return LinkState(
            src=self.src,
            dst=self.dst,
            rate_bps=model.rate_bps if isinstance(model, NrLink) else model.queue.schedule.rate_bps(at_s),
            delay_s=model.delay_s - self._overhead_s,
            loss=model.expected_loss if isinstance(model, NrLink) and model.up else self._loss,
            up=model.up,
            snr_db=model.radio.snr_db if isinstance(model, NrLink) else None,
        )

    def next_change_s(self, at_s: float) -> float | None:
        """When the replayed trace, if there is one, moves to another row."""
        schedule = self.model.queue.schedule if isinstance(self.model, QueuedLink) else None
        return schedule.next_change_s(at_s) if isinstance(schedule, ReplayedRate) else None

    def rewind(self, now_s: float) -> None:
        """The replayed trace, if there is one, begins again over an idle link; what is on its way keeps its times."""
        queue = self.model.queue if isinstance(self.model, QueuedLink) else None
        if queue is not None and isinstance(queue.schedule, ReplayedRate):
            queue.schedule.origin_s = now_s
            queue.idle_at_s = min(queue.idle_at_s, now_s)

    def stats(self) -> LinkStats:
        model = self.model
        return LinkStats(
            src=self.src,
            dst=self.dst,
            offered=self.offered,
            offered_bytes=self.offered_bytes,
            delivered=self.delivered,
            lost=model.lost,
            overflowed=model.overflowed,
            cut_off=model.cut_off,
            homeless=self.homeless,
            kernel_dropped=self.kernel_dropped,
        )
