"""Messages over one directed link in virtual time: blocks, losses, repair, and what the sender learns.

A message is offered to the link model as the IP packets of its blocks, all at once: the link's own
rate spaces them, and messages wait for those before them (store and forward). A lost block is
asked for again when a later one shows the gap, or, at the tail, when the message should have been
there; the request takes the delay of the link back and costs no bytes. After `repair_rounds` tries
the block stays missing. Without block 0, which has the head, the message is lost whole.

The sender learns the rate from how far apart the first and the last block arrive, and the loss
from how many blocks had to be repaired, averaged over the last hundred or so; a link over which
nothing came at all, repairs included, is dead to it until a probe comes through.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from airloom.core.framing import Framing
from airloom.core.topology import Link, LinkState
from airloom.engine.events import LinkMeasured, SendFrame
from airloom.engine.messages import Gap, Parcel
from airloom.errors import ConfigError
from airloom.radio.link import LinkModel, QueuedLink, loss_process
from airloom.radio.nr.link import NrLink
from airloom.radio.queue import ConstantRate
from airloom.sim.clock import Clock

PROBE_PACKETS = 4
PROBE_NBYTES = PROBE_PACKETS * 1200
PROBE_SHARE = 0.01
LOSS_MEMORY = 0.99


@dataclass(slots=True)
class Flight:
    """A message on its way: when its blocks arrived."""

    message: SendFrame
    packets: tuple[int, ...]
    arrived: dict[int, float] = field(default_factory=dict)
    open: int = 0
    repaired: int = 0
    end_s: float = 0.0


class Carrier:
    """One direction of a link."""

    def __init__(
        self,
        clock: Clock,
        link: Link,
        model: LinkModel,
        framing: Framing,
        rng: np.random.Generator,
        *,
        back_delay_s: float,
        repair_rounds: int,
        deliver: Callable[[str, SendFrame, Parcel], None],
        measured: Callable[[LinkMeasured], None],
    ) -> None:
        self._clock, self.link, self._model, self._framing, self._rng = clock, link, model, framing, rng
        self._back_delay_s, self._rounds = back_delay_s, repair_rounds
        self._deliver, self._measured = deliver, measured
        self._loss = 0.0
        self.up = True
        self.used_s = self._next_probe_s = -math.inf

    # --- what the emulated network does -------------------------------------------------------

    def change(self, state: LinkState) -> None:
        """Offer what `state` says; None stands for the topology's figure."""
        link, model = self.link, self._model
        self.up = state.up
        moved = any(
            new is not None and new != old
            for new, old in ((state.rate_bps, link.rate_bps), (state.delay_s, link.delay_s), (state.loss, link.loss))
        )
        if isinstance(model, NrLink):
            self._change_radio(model, state)
            return
        if not isinstance(model, QueuedLink):
            if moved:
                raise ConfigError(f"link {link.src}->{link.dst} has a model of its own: conditions cannot change it")
            return
        model.up = state.up
        if not link.trace or state.rate_bps is not None:
            model.queue.schedule = ConstantRate(link.rate_bps if state.rate_bps is None else state.rate_bps)
        loss = link.loss if state.loss is None else state.loss
        if loss != model.loss.expected_loss:
            model.loss = loss_process(loss, link.burst_s)
        model.delay_s = (link.delay_s if state.delay_s is None else state.delay_s) + link.overhead_s

    def _change_radio(self, model: NrLink, state: LinkState) -> None:
        """Rate and loss follow from the SNR, so conditions give that instead."""
        link = self.link
        if (state.rate_bps, state.loss) != (None, None):
            raise ConfigError(f"link {link.src}->{link.dst}: rate and loss follow from its radio: change its snr")
        given = model.radio.snr_db if link.nr is None else link.nr.snr_db
        snr_db = given if state.snr_db is None else state.snr_db
        if snr_db != model.radio.snr_db:
            model.use_snr(snr_db)
        model.up = state.up
        model.delay_s = (link.delay_s if state.delay_s is None else state.delay_s) + link.overhead_s

    def control_s(self, nbytes: int) -> float | None:
        """Seconds of a control message, which waits for no tensors; None where the link is down."""
        seconds = self._model.expected_transfer_s(nbytes) if self.up else math.inf
        return seconds if math.isfinite(seconds) else None

    # --- messages -----------------------------------------------------------------------------

    def send(self, message: SendFrame) -> None:
        sizes = tuple(nbytes for _, nbytes in message.frame.tensors)
        flight = Flight(message, self._packets(sizes))
        flight.open = len(flight.packets)
        now_s = self.used_s = self._clock.now_s
        flight.end_s = now_s + self._due_s(sum(flight.packets))
        if self.up and self._model.expected_loss == 0.0:
            self._send_whole(flight, now_s)
        else:
            self._offer(flight, range(len(flight.packets)), 0)

    def probe(self, every_s: float) -> None:
        """A short train of packets, so that an idle link shows what it can do: at most 1 % of its rate."""
        now_s, each = self._clock.now_s, PROBE_NBYTES // PROBE_PACKETS
        if now_s < self._next_probe_s or now_s - self.used_s < every_s:
            return
        arrivals = [self._model.offer(each, now_s, self._rng) if self.up else None for _ in range(PROBE_PACKETS)]
        came = [(k, at_s) for k, at_s in enumerate(arrivals) if at_s is not None]
        rate_bps = None
        if len(came) > 1:
            (first, first_s), (last, last_s) = came[0], came[-1]
            rate_bps = _rate(each * (last - first), last_s - first_s)
            if isinstance(self._model, NrLink):
                rate_bps = self._model.rate_bps
            self._next_probe_s = now_s + 8 * PROBE_NBYTES / (PROBE_SHARE * rate_bps)
        lost, seen_s = PROBE_PACKETS - len(came), came[-1][1] if came else now_s
        self._learn(rate_bps, lost=lost, of=PROBE_PACKETS, at_s=seen_s, dead=not came)

    def _due_s(self, nbytes: int) -> float:
        """Seconds until a message should have arrived; over a dead link as long as the topology has it."""
        seconds = self._model.expected_transfer_s(nbytes) if self.up else math.inf
        link = self.link
        return seconds if math.isfinite(seconds) else link.overhead_s + link.delay_s + 8 * nbytes / link.rate_bps

    def _packets(self, tensor_nbytes: tuple[int, ...]) -> tuple[int, ...]:
        """Bytes of the IP packet of each block."""
        framing = self._framing
        total = framing.message_nbytes(tensor_nbytes)
        room, extra = framing.block_bytes - framing.block_overhead, framing.block_overhead + framing.packet_overhead
        count = framing.num_blocks(total)
        return (room + extra,) * (count - 1) + (total - room * (count - 1) + extra,)

    def _send_whole(self, flight: Flight, now_s: float) -> None:
        """A link without loss: the first block, then the rest as one."""
        first_s = self._model.offer(flight.packets[0], now_s, self._rng)
        rest = sum(flight.packets[1:])
        last_s = self._model.offer(rest, now_s, self._rng) if rest else first_s
        if first_s is None or last_s is None:  # a full buffer
            return self._learn(None, lost=len(flight.packets), of=len(flight.packets), at_s=flight.end_s)
        if rest:
            self._learn(_rate(rest, last_s - first_s), lost=0, of=len(flight.packets), at_s=last_s)
        return self._clock.at(last_s, lambda: self._deliver(self.link.src, flight.message, flight.message.parcel))

    def _offer(self, flight: Flight, blocks: range | tuple[int, ...], tries: int) -> None:
        now_s, lost = self._clock.now_s, []
        for block in blocks:
            at_s = self._model.offer(flight.packets[block], now_s, self._rng) if self.up else None
            if at_s is None:
                lost.append(block)
            else:
                flight.arrived[block] = at_s
                flight.open -= 1
                flight.end_s = max(flight.end_s, at_s)
        if tries == 0:
            flight.repaired = len(lost)
        if tries == self._rounds:
            flight.open -= len(lost)
        elif lost:
            for noticed_s, gap in self._noticed(flight, lost):
                self._clock.at(noticed_s + self._back_delay_s, lambda gap=gap: self._offer(flight, gap, tries + 1))  # type: ignore[misc]
        if flight.open == 0:
            self._clock.at(flight.end_s, lambda: self._complete(flight))

    def _noticed(self, flight: Flight, lost: list[int]) -> list[tuple[float, tuple[int, ...]]]:
        """When the receiver sees which gaps: at the next block that came, or at the end."""
        gaps: dict[float, list[int]] = {}
        for block in lost:
            later = min((at_s for other, at_s in flight.arrived.items() if other > block), default=flight.end_s)
            gaps.setdefault(max(later, self._clock.now_s), []).append(block)
        return [(at_s, tuple(blocks)) for at_s, blocks in sorted(gaps.items())]

    def _complete(self, flight: Flight) -> None:
        count = len(flight.packets)
        first, last = min(flight.arrived, default=0), max(flight.arrived, default=0)
        rate_bps = None
        if last > first and flight.repaired == 0:
            rate_bps = _rate(sum(flight.packets[first + 1 : last + 1]), flight.arrived[last] - flight.arrived[first])
        self._learn(rate_bps, lost=flight.repaired, of=count, at_s=self._clock.now_s, dead=not flight.arrived)
        if 0 not in flight.arrived:
            return
        missing = [block for block in range(count) if block not in flight.arrived]
        parcel = flight.message.parcel
        self._deliver(
            self.link.src, flight.message, parcel._replace(missing=self._gaps(parcel, missing)) if missing else parcel
        )

    def _gaps(self, parcel: Parcel, missing: list[int]) -> tuple[Gap, ...]:
        """Which bytes of which tensors the missing blocks held."""
        framing = self._framing
        room = framing.block_bytes - framing.block_overhead
        begin = framing.message_overhead + framing.tensor_overhead * len(parcel.tensors)
        gaps = []
        for id, data in zip(parcel.tensors, parcel.data, strict=True):
            for block in missing:
                start, stop = max(block * room - begin, 0), min((block + 1) * room - begin, data.nbytes)
                if stop > start:
                    gaps.append(Gap(id, start, stop))
            begin += data.nbytes
        return tuple(gaps)

    def _learn(self, rate_bps: float | None, *, lost: int, of: int, at_s: float, dead: bool = False) -> None:
        """Tell the sender, one way back later."""
        if dead or self._loss == 1.0:  # nothing came, or something came again: no mean of the two
            self._loss = 1.0 if dead else lost / of
        else:
            self._loss += (1.0 - LOSS_MEMORY**of) * (lost / of - self._loss)
        loss = self._loss if self._loss > 1e-4 else 0.0
        if isinstance(self._model, NrLink):
            # What shares a slot arrives at once: times tell no rate, and the radio's own is known by its MCS.
            rate_bps = None
        event = LinkMeasured(self.link.src, self.link.dst, rate_bps, None, loss)
        self._clock.at(at_s + self._back_delay_s, lambda: self._measured(event))


def _rate(nbytes: float, seconds: float) -> float:
    return 8 * nbytes / seconds if seconds > 0 else math.inf
