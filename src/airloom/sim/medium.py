"""One direction of a link as the emulated network has it: its model, and what conditions make of that."""

from __future__ import annotations

import math

from airloom.core.topology import Link, LinkState
from airloom.errors import ConfigError
from airloom.radio.link import LinkModel, QueuedLink, loss_process
from airloom.radio.nr.link import NrLink
from airloom.radio.queue import ConstantRate
from airloom.sim.clock import Clock


class Medium:
    """A link's model, up or down.

    Attributes:
        link: as the topology has it.
    """

    def __init__(self, clock: Clock, link: Link, model: LinkModel) -> None:
        self._clock, self.link, self._model = clock, link, model
        self._schedule = model.queue.schedule if isinstance(model, QueuedLink) else None
        self._cuts = 0
        self.up = True

    def change(self, state: LinkState) -> None:
        """Offer what `state` says; None stands for the topology's figure."""
        link, model = self.link, self._model
        if self.up and not state.up:
            self._cut()
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
        if state.rate_bps is not None:
            model.queue.schedule = ConstantRate(state.rate_bps)
        elif self._schedule is not None:
            model.queue.schedule = self._schedule
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

    def _cut(self) -> None:
        """What is on the link is lost."""
        self._cuts += 1
        if isinstance(self._model, QueuedLink):
            self._model.queue.idle_at_s = min(self._model.queue.idle_at_s, self._clock.now_s)

    @property
    def rate_bps(self) -> float:
        """bit/s at the moment; 0 where the link is down."""
        return self.rate_at(self._clock.now_s) if self.up else 0.0

    def rate_at(self, at_s: float) -> float:
        """bit/s at a time to come."""
        model = self._model
        if isinstance(model, QueuedLink):
            return model.queue.schedule.rate_bps(at_s)
        return model.rate_bps if isinstance(model, NrLink) else self.link.rate_bps

    def control_s(self, nbytes: int) -> float | None:
        """Seconds of a control message, which waits for no tensors; None where the link is down."""
        seconds = self._model.expected_transfer_s(nbytes) if self.up else math.inf
        return seconds if math.isfinite(seconds) else None
