"""Messages over one directed link in virtual time: blocks, losses, repair, and what the sender learns.

A message is offered to the link model as the IP packets of its blocks, all at once: the link's own
rate spaces them, and messages wait for those before them (store and forward). A lost block is
asked for again when a later one shows the gap, or, at the tail, when the message should have been
there; the request takes the delay of the link back and costs no bytes. After `repair_rounds` tries
the block stays missing. Without block 0, which has the head, the message is lost whole. Where the
receiving host allows blocks to stay missing, no more are asked for than that, by the same rules as
in `wire.receiver`.

The sender learns the rate from how far apart the first and the last block arrive, and the loss
from how many blocks did not come first hand, averaged over the last hundred or so, from what the
topology says on; a link over which nothing came for longer than its losses explain is dead to it
until a probe comes through. Where the radio's scheduler says what a link carries (`learns=False`),
nothing of the kind is learned from messages but the loss of a link that has some.

A link that goes down takes with it what is on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from airloom.core.framing import Framing
from airloom.core.repair import head_copies
from airloom.core.topology import Link
from airloom.engine.events import LinkMeasured, SendFrame
from airloom.engine.messages import Parcel
from airloom.engine.radios import expected_loss
from airloom.radio.link import LinkModel
from airloom.radio.nr.link import NrLink
from airloom.sim.clock import Clock
from airloom.sim.flight import Flight
from airloom.sim.medium import Medium
from airloom.wire.receiver import Allow

PROBE_PACKETS = 4
PROBE_NBYTES = PROBE_PACKETS * 1200
PROBE_SHARE = 0.01
LOSS_MEMORY = 0.99
_LEAST_LOSS, _CHANCE = 0.05, 1e-4
_MANY = 1001


class Carrier(Medium):
    """One direction of a link and the messages on it."""

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
        allow: Allow | None = None,
        repaired: Callable[[SendFrame, int, int], None] | None = None,
        learns: bool = True,
    ) -> None:
        super().__init__(clock, link, model)
        self._framing, self._rng = framing, rng
        self._back_delay_s, self._rounds = back_delay_s, repair_rounds
        self._deliver, self._measured, self._allow, self._repaired = deliver, measured, allow, repaired
        self._learns = learns
        self._loss = expected_loss(link)
        self._silent = 0
        self.used_s = self._next_probe_s = -math.inf

    def send(self, message: SendFrame) -> None:
        sizes = tuple(nbytes for _, nbytes in message.frame.tensors)
        self._use_mcs(message.mcs)
        now_s = self.used_s = self._clock.now_s
        if self.up and self._model.expected_loss == 0.0:
            return self._send_whole(message, sizes, now_s)
        flight = Flight(
            message, self._packets(sizes), self._framing, now_s, rounds=self._rounds, known=self._allow is None
        )
        flight.cuts = self._cuts
        return self._offer(flight, range(len(flight.packets)), first=True)

    def _use_mcs(self, index: int | None) -> None:
        """Radio links send with the MCS that was asked for, else with the one of the topology."""
        model, radio = self._model, self.link.nr
        if isinstance(model, NrLink) and radio is not None:
            wanted = radio.mcs if index is None else index
            if wanted != model.radio.mcs:
                model.use_mcs(wanted)

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
        self._learn(rate_bps, lost=lost, of=PROBE_PACKETS, at_s=seen_s, silent=PROBE_PACKETS if not came else 0)

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

    def _send_whole(self, message: SendFrame, sizes: tuple[int, ...], now_s: float) -> None:
        """A link without loss: the first block, then the rest as one."""
        framing, cuts = self._framing, self._cuts
        total = framing.message_nbytes(sizes)
        room, extra = framing.block_bytes - framing.block_overhead, framing.block_overhead + framing.packet_overhead
        count = framing.num_blocks(total)
        first = min(total, room) + extra
        first_s = self._model.offer(first, now_s, self._rng)
        rest = total + count * extra - first
        last_s = self._model.offer(rest, now_s, self._rng) if rest else first_s
        if first_s is None or last_s is None:  # a full buffer
            return self._learn(None, lost=count, of=count, at_s=now_s + self._due_s(first + rest))
        if rest:
            self._learn(_rate(rest, last_s - first_s), lost=0, of=count, at_s=last_s)

        def arrive() -> None:
            if self._cuts == cuts:
                self._deliver(self.link.src, message, message.parcel)

        return self._clock.at(last_s, arrive)

    def _offer(self, flight: Flight, blocks: Sequence[int], *, first: bool) -> None:
        """Blocks leave, for the first time or as repairs; the receiver looks when something is to be seen."""
        if flight.over:
            return
        now_s = self._clock.now_s
        if not first and self._repaired is not None:
            self._repaired(flight.message, len(blocks), sum(flight.packets[block] for block in blocks))
        arrivals = [self._model.offer(flight.packets[block], now_s, self._rng) if self.up else None for block in blocks]
        due_s = now_s + self._due_s(sum(flight.packets[block] for block in blocks))
        seen: dict[float, list[int]] = {}  # when a later block, or its absence, shows which gaps
        shows_s = end_s = max([due_s, *(at_s for at_s in arrivals if at_s is not None)])
        told = {block for block, at_s in zip(blocks, arrivals, strict=True) if at_s is not None}
        for block, at_s in zip(reversed(blocks), reversed(arrivals), strict=True):
            if at_s is None:
                if block not in told:  # of several copies the last shows that all were lost
                    told.add(block)
                    seen.setdefault(shows_s, []).append(block)
            else:
                flight.expect(block, at_s, first=first)
                shows_s = min(shows_s, at_s)
        if first and self._allow is not None and len(blocks) > 1:
            for _ in range(head_copies(self._loss)):
                at_s = self._model.offer(flight.packets[0], now_s, self._rng) if self.up else None
                if at_s is not None:
                    flight.expect(0, at_s, first=False)
                    self._clock.at(at_s, lambda: self._look(flight))
        if first:
            flight.seen_s = end_s if arrivals[-1] is None else arrivals[-1]
        for at_s, gap in sorted(seen.items()):
            self._clock.at(at_s, lambda gap=gap: self._look(flight, gap, first=first))  # type: ignore[misc]
        for at_s in [flight.seen_s] if first else sorted(at_s for at_s in arrivals if at_s is not None):
            self._clock.at(at_s, lambda: self._look(flight))

    def _look(self, flight: Flight, gap: Sequence[int] = (), *, first: bool = False) -> None:
        """The receiver sees what has come and what has not, asks for what it lacks too much, or is done."""
        flight.over = flight.over or self._cuts != flight.cuts
        if flight.over:
            return
        record, now_s = flight.record, self._clock.now_s
        flight.lost(gap, first=first)
        flight.look(now_s)
        if record.got[0] and self._allow is not None and (not record.known or gap):
            frame, loss = flight.message.frame, max(self._loss, flight.loss)
            missing, rounds = self._allow(frame, record.count, loss)
            record.allow(math.floor(missing * record.count + 1e-9), rounds, flight.vital)
        loss = max(self._loss, flight.loss)
        record.choose(loss)
        asked = record.new()
        if asked:
            if self._allow is not None:
                asked *= record.copies(loss, self._turn_blocks(flight))
            self._clock.at(now_s + self._back_delay_s, lambda: self._offer(flight, asked, first=False))
        if record.is_settled:
            flight.over = True
            self._complete(flight)

    def _turn_blocks(self, flight: Flight) -> float:
        """How many blocks the link carries in a round trip."""
        one_s = self._model.expected_transfer_s(flight.packets[0])
        many_s = self._model.expected_transfer_s(_MANY * flight.packets[0])
        if not one_s < many_s < math.inf:
            return 0.0
        return (_MANY - 1) * (one_s + self._back_delay_s) / (many_s - one_s)

    def _complete(self, flight: Flight) -> None:
        """Deliver what is here; without its head, or a list of earlier gaps, a message is lost whole."""
        first, last = min(flight.first, default=0), max(flight.first, default=0)
        rate_bps = None
        if last > first:  # blocks that were lost in between took their time on the link
            rate_bps = _rate(sum(flight.packets[first + 1 : last + 1]), flight.first[last] - flight.first[first])
        count, came = len(flight.packets), len(flight.first)
        silent = count if flight.record.left == count else 0
        self._learn(rate_bps, lost=count - came, of=count, at_s=self._clock.now_s, silent=silent)
        if flight.is_readable:
            self._deliver(self.link.src, flight.message, flight.parcel())

    def _learn(self, rate_bps: float | None, *, lost: int, of: int, at_s: float, silent: int = 0) -> None:
        """Tell the sender, one way back later; `silent` packets in a row were lost, repairs and all."""
        if not self._learns:
            if not self._model.expected_loss or silent:
                return
            rate_bps = None
        self._silent = self._silent + silent if silent else 0
        # A link that loses much is dead only after more silence than its losses explain.
        dead = self._silent > 0 and max(self._loss, _LEAST_LOSS) ** self._silent < _CHANCE
        if not dead:
            self._loss += (1.0 - LOSS_MEMORY**of) * (lost / of - self._loss)
        loss = 1.0 if dead else self._loss if self._loss > 1e-4 else 0.0
        if isinstance(self._model, NrLink):
            # What shares a slot arrives at once: times tell no rate, and the radio's own is known by its MCS.
            rate_bps = None
        event = LinkMeasured(self.link.src, self.link.dst, rate_bps, None, loss)
        self._clock.at(at_s + self._back_delay_s, lambda: self._measured(event))


def _rate(nbytes: float, seconds: float) -> float:
    return 8 * nbytes / seconds if seconds > 0 else math.inf
