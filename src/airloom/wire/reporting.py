"""When a receiver reports, and what: how each message stands, what is asked for, what the link did.

Something new to say is due at once; blocks that come as they should are worth a report now and then.
While an answer is waited for the report is repeated, ever more slowly. Reports are counted, and every
block says which its sender has `heard`, so what a later block proves lost needs no timeout.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from airloom.wire.blocks import (
    PARTIAL,
    RANGE_BYTES,
    REPORT_BYTES,
    ROOM,
    STATE_BYTES,
    MessageState,
    Report,
    after,
)
from airloom.wire.incoming import Incoming
from airloom.wire.leniency import Leniency
from airloom.wire.meters import LossMeter, TrainMeter

_EVERY_S = 0.025
_EVERY_BLOCKS = 128
_MIN_REPEAT_S, _MAX_REPEAT_S = 0.004, 0.2
_STATES = 24  # messages in one report
_STAMP_AGE_S = 600.0  # after so long the sender's clock of 32 bits may have gone round


class Reporting:
    """The reports of one receiver.

    Attributes:
        due_s: when the next report leaves unless it is repeated before; set it to now to speak at once.
        rtt_s: the round trip by the sender's word, 0 before it is known.
        arrived, lost: blocks that came first hand, and that turned out to be lost; the receiver adds to them.
        unreported: blocks that came since the last report, repairs too; the receiver adds to it.
    """

    def __init__(self, leniency: Leniency, trains: TrainMeter, loss_meter: LossMeter) -> None:
        self._leniency, self._trains, self._loss_meter = leniency, trains, loss_meter
        self.due_s = math.inf
        self.rtt_s = 0.0
        self.arrived = self.lost = 0
        self._metered = (0, 0)
        self.unreported = 0
        self._repeat_s = math.inf
        self._repeat_gap_s = _MIN_REPEAT_S
        self._seq = 0
        self._heard = 0
        self._stamp: int | None = None
        self._stamp_s = -math.inf
        self._ended: dict[int, int] = {}  # messages that are over and that the next report names

    # --- what there is to say ------------------------------------------------------------------

    def keep_up(self, now_s: float) -> None:
        """Blocks came and their message goes on: see to it that a report leaves now and then."""
        if self.unreported >= _EVERY_BLOCKS:
            self.due_s = now_s
        elif self.due_s == math.inf:
            self.due_s = now_s + _EVERY_S

    def soon(self, now_s: float) -> None:
        """There is something to say that can wait a little."""
        if self.due_s == math.inf:
            self.due_s = now_s + _EVERY_S

    def ended(self, id_: int, status: int, now_s: float) -> None:
        """A message is over, DONE or REFUSED: its sender may forget it."""
        self._ended[id_] = status
        self.due_s = now_s

    def departed(self, stamp: int, heard: int, now_s: float) -> bool:
        """A block that is no repair left at `stamp`; whether its sender has `heard` more reports than was known."""
        if self._stamp is None or after(stamp, self._stamp) or now_s - self._stamp_s > _STAMP_AGE_S:
            self._stamp, self._stamp_s = stamp, now_s
        if heard == self._heard or not after(heard, self._heard) or after(heard, self._seq):
            return False
        self._heard = heard
        return True

    # --- the report ----------------------------------------------------------------------------

    @property
    def next_s(self) -> float:
        """When the next report leaves, or an old one is repeated."""
        return min(self.due_s, self._repeat_s)

    def poll(self, messages: Collection[Incoming], now_s: float) -> Report | None:
        """The report that is due on the `messages` under way, or None until `next_s`."""
        if now_s < self.due_s and now_s < self._repeat_s:
            return None
        if now_s >= self._repeat_s:
            self._repeat_gap_s = min(self._repeat_gap_s * 1.5, _MAX_REPEAT_S)
        else:
            self._repeat_gap_s = min(_MAX_REPEAT_S, max(_MIN_REPEAT_S, self.rtt_s / 5))
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        states, complete = self._states(messages, now_s)
        self._repeat_s = now_s + self._repeat_gap_s if any(m.asked for m in messages) else math.inf
        # What did not fit goes into the next report, at once.
        self.due_s = math.inf if complete else now_s
        self.unreported = 0
        self._loss_meter.add(self.arrived - self._metered[0], self.lost - self._metered[1])
        self._metered = (self.arrived, self.lost)
        self._trains.flush(now_s)
        hold_us = 0 if self._stamp is None else int((now_s - self._stamp_s) * 1e6)
        return Report(
            self._seq, self._stamp, max(0, hold_us), self._trains.rate_bps(now_s), self.arrived, self.lost, states
        )

    def _states(self, messages: Collection[Incoming], now_s: float) -> tuple[tuple[MessageState, ...], bool]:
        """How messages stand, as far as there is room, and whether all that is new is among it."""
        room = ROOM - REPORT_BYTES
        states: list[MessageState] = []
        for id_ in list(self._ended):
            if room < STATE_BYTES or len(states) >= _STATES:
                break
            states.append(MessageState(id_, self._ended.pop(id_), 0))
            room -= STATE_BYTES
        complete = not self._ended
        turn_bits = self.rtt_s * self._trains.rate_bps(now_s) if self._leniency.is_hasty else 0.0
        # Messages with something new to ask for go first, so that each report gets on with it.
        for message in sorted(messages, key=lambda m: not m.unasked):
            if room < STATE_BYTES + RANGE_BYTES:
                complete = complete and not message.unasked
                continue
            room -= STATE_BYTES
            copies = self._leniency.copies(message, turn_bits)
            lacks, whole = message.ask(self._seq, room // RANGE_BYTES, copies)
            complete = complete and whole
            room -= len(lacks) * RANGE_BYTES
            states.append(MessageState(message.id, PARTIAL, message.accounted, lacks))
        return tuple(states), complete
