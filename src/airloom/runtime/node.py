"""A running host: the engine's state machine with sockets, zenoh, an executor's thread and real time.

Everything of a node happens on one event loop; only the executor computes beside it, and zenoh's
threads hand over to it. Time is CLOCK_MONOTONIC, in slow motion as many times slower.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from airloom.core.messages import Frame, Parcel
from airloom.core.plan import Plan
from airloom.core.topology import LinkState
from airloom.core.trace import Event as TraceEvent
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Abandon,
    Cancel,
    Effect,
    Emit,
    Event,
    Execute,
    Finish,
    FrameArrived,
    LinkChanged,
    LinkMeasured,
    PeerDown,
    PeerUp,
    PlanPinned,
    SendAsk,
    SendFrame,
    SendSplitCost,
    SplitCostArrived,
    StartTimer,
    StopTimer,
    Submit,
    TimerFired,
    Train,
    TrainingOutcome,
    TrainingPinned,
    WaveAsked,
)
from airloom.engine.host import Host
from airloom.engine.layout import check_plan, codings_at
from airloom.engine.radios import expected_loss
from airloom.engine.training import lay_out_training
from airloom.errors import ConfigError, DeploymentError, UserError, WireError
from airloom.runtime import commands
from airloom.runtime.certs import HostCerts
from airloom.runtime.compute import CodedExecutor, Compute, Executor, TrainingExecutor
from airloom.runtime.control import Control
from airloom.runtime.keys import PairKeys
from airloom.runtime.metrics import MetricsServer
from airloom.runtime.motion import Motion
from airloom.runtime.node_options import NodeOptions, make_transport
from airloom.runtime.node_status import metrics_of, outgoing_links, status_of
from airloom.runtime.places import data_address
from airloom.runtime.timers import Timers
from airloom.runtime.tracing import Tracing
from airloom.runtime.transport import Transport
from airloom.wire.splitcost import decode_ask, decode_split_cost, encode_ask, encode_split_cost, is_ask


class Node:
    """One host of a deployment; make and use it on one event loop.

    Args:
        on_finish: gets the one outcome of every request that was submitted here.
        on_trace: gets every trace event, beside the trace file.
        on_training: gets the one outcome of everything that was asked for in training, at the source.
        on_peer: told of every host that comes within reach or goes.

    Attributes:
        links: the outgoing links, as the topology says until they are measured.
        motion: the clock that it goes by.
    """

    def __init__(
        self,
        config: HostConfig,
        certs: HostCerts,
        executor: Executor | CodedExecutor | TrainingExecutor,
        options: NodeOptions | None = None,
        *,
        on_finish: Callable[[Finish], None] | None = None,
        on_trace: Callable[[TraceEvent], None] | None = None,
        on_peer: Callable[[str, bool], None] | None = None,
        on_training: Callable[[TrainingOutcome], None] | None = None,
    ) -> None:
        self.config, self.options = config, options or NodeOptions()
        self.id = config.device
        self._on_peer = on_peer or (lambda peer, up: None)
        self.counters: Counter[str] = Counter()
        self._trace = Tracing(self.counters, on_trace)
        self.host = Host(config)
        self.motion = Motion(self.options.slow)
        self.compute = Compute(
            executor, self.handle, factor=self.options.factor, slow=self.motion.slow, name=f"{self.id} compute"
        )
        self.control = Control(self.id, config.topology, certs, self, counters=self.counters)
        self.transport: Transport | None = None
        self._metrics: MetricsServer | None = None
        self._timers = Timers(lambda key: self.handle(TimerFired(key)), self.motion)
        self.began_s = time.monotonic()
        self.links = outgoing_links(config)
        self.stopped = asyncio.Event()
        self._carry_out: dict[type, Callable[[Any], None]] = {
            SendFrame: self._send_frame,
            SendSplitCost: lambda effect: self.control.send_cost(effect.dst, encode_split_cost(effect.message)),
            SendAsk: lambda effect: self.control.send_cost(effect.dst, encode_ask(effect.ask)),
            Execute: self.compute.submit,
            Train: self.compute.submit,
            TrainingOutcome: on_training or (lambda effect: None),
            Abandon: lambda effect: self.compute.abandon(effect.job),
            StartTimer: lambda effect: self._timers.start(effect.key, effect.at_s),
            StopTimer: lambda effect: self._timers.stop(effect.key),
            Finish: on_finish or (lambda effect: None),
        }

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything; DeploymentError names what could not be opened."""
        self._loop = asyncio.get_running_loop()
        try:
            if self.options.trace is not None:
                self._trace.open(self.options.trace, self.id, now_s=self.motion.now_s())
            self.transport = make_transport(
                self.options, self.config.own, self.on_message, self.on_link,
                self.host.repair.allow if self.host.repair.is_needed else None, self.motion,
            )  # fmt: skip
            try:
                await self.transport.start()
            except OSError as error:
                host, port = data_address(self.config.own)
                raise DeploymentError(f"{self.id}: cannot take tensors on {host}:{port}: {error.strerror}") from None
            self.compute.start()
            self._carry(self.host.start(self.motion.now_s()))
            await self.control.start()
            if self.options.metrics_port is not None:
                self._metrics = MetricsServer(
                    lambda: metrics_of(self), host=self.options.metrics_host, port=self.options.metrics_port
                )
                await self._metrics.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave; neighbours see it at once. Safe to call twice."""
        self.stopped.set()
        await self.control.close()
        self._timers.close()
        if self.transport is not None:
            await self.transport.close()
        if self._metrics is not None:
            await self._metrics.close()
        await asyncio.to_thread(self.compute.close)
        self._trace.close()

    @property
    def metrics_port(self) -> int | None:
        """Where metrics are served, None where they are not."""
        return None if self._metrics is None else self._metrics.port

    # --- what the program does ----------------------------------------------------------------------

    def submit(self, request: int, parcel: Parcel, deadline_s: float, asked_s: float | None = None) -> None:
        """Ask for an inference; `deadline_s` on the clock of `motion`. The outcome goes to `on_finish`.

        `asked_s` is how much time the caller gave it, where that was some time ago.
        """
        self.handle(Submit(request, parcel, deadline_s, asked_s))

    def cancel(self, request: int) -> None:
        """Withdraw a request; it ends as Cancelled unless it has ended already."""
        self.handle(Cancel(request))

    def pin(self, plan: Plan | None) -> None:
        """Follow `plan`, or the table again; this host only.

        Raises:
            UserError: this host could not follow it; the line names the place in the plan.
        """
        if plan is not None:
            check_plan(plan, self.config)
            for stage in plan.stages:
                if stage.device == self.id:
                    self.compute.prepare(stage.start, stage.stop)
            for cut, coding in codings_at(plan, self.id, self.config.topology.source):
                self.compute.prepare_coding(cut, coding)
        self.handle(PlanPinned(plan))

    def train_by(self, event: TrainingPinned) -> None:
        """Train by a plan; at the source, after all other hosts, and answered by `on_training`.

        Raises:
            UserError: this host could not follow it, or was not started to train.
        """
        if self.config.training is None:
            raise ConfigError(f"{self.id} answers requests: start it with what is to be trained (--training)")
        for plan in (event.plan, event.before):
            if plan is not None:
                lay_out_training(plan, self.config)
        self.handle(event)

    # --- events in, effects out ---------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Give `event` to the engine and carry out what it asks for."""
        self._carry(self.host.handle(event, self.motion.now_s()))

    def _carry(self, effects: list[Effect]) -> None:
        # What others wait for first, then what is written down about it.
        for effect in effects:
            if type(effect) is not Emit:
                self._carry_out[type(effect)](effect)
        for effect in effects:
            if type(effect) is Emit:
                self._trace.emit(effect.event)

    def _send_frame(self, effect: SendFrame) -> None:
        assert self.transport is not None
        self.transport.send(effect.dst, effect.frame, effect.parcel)

    # --- from the transport -------------------------------------------------------------------------

    def on_message(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        if not self.stopped.is_set():
            self.handle(FrameArrived(peer, frame, parcel))

    def on_link(self, src: str, dst: str, rate_bps: float | None, delay_s: float | None, loss: float | None) -> None:
        if self.stopped.is_set():
            return
        if src == self.id and dst in self.links:
            seen = {"rate_bps": rate_bps, "delay_s": delay_s, "loss": loss}
            known = {name: figure for name, figure in seen.items() if figure is not None}
            self.links[dst] = msgspec.structs.replace(self.links[dst], **known)
        self.handle(LinkMeasured(src, dst, rate_bps, delay_s, loss))

    # --- from the control plane ---------------------------------------------------------------------

    def on_cost(self, src: str, data: bytes) -> None:
        event: Event
        try:
            if is_ask(data):
                event = WaveAsked(decode_ask(data))
            else:
                event = SplitCostArrived(src, decode_split_cost(data, self.config.num_operators + 1))
        except WireError:
            self.counters["drop_cost"] += 1
            return
        self.handle(event)

    def on_keys(self, keys: PairKeys) -> None:
        assert self.transport is not None
        topology = self.config.topology
        address = self.options.routes.get(keys.peer) or data_address(topology.device(keys.peer))
        rates = [link.rate_bps for link in topology.links if (link.src, link.dst) == (self.id, keys.peer)]
        losses = {(link.src, link.dst): expected_loss(link) for link in topology.links}
        self.transport.add_peer(
            keys.peer, address, keys.send, keys.receive, rate_bps=rates[0] if rates else None,
            recv_loss=losses.get((keys.peer, self.id), 0.0), send_loss=losses.get((self.id, keys.peer), 0.0),
        )  # fmt: skip

    def links_changed(self, states: Sequence[LinkState]) -> None:
        """Links came up or went down; this host only."""
        for state in states:
            self.handle(LinkChanged(state.src, state.dst, state.up))

    def on_keys_void(self, peer: str) -> None:
        if self.transport is not None:
            self.transport.remove_peer(peer)

    def on_peer(self, peer: str, up: bool) -> None:
        self.handle(PeerUp(peer) if up else PeerDown(peer))
        self._on_peer(peer, up)

    def on_command(self, asker: str, command: commands.Command) -> commands.Ack:
        try:
            match command:
                case commands.Pin():
                    self.pin(command.plan)
                case commands.TrainBy():
                    self.train_by(TrainingPinned(command.plan, command.step, command.before))
                case commands.LinksChanged():
                    self.links_changed(command.links)
                case commands.SetFactor():
                    self.compute.set_factor(command.factor)
                case commands.ShutDown():
                    # After the answer has left.
                    self._loop.call_later(0.05, self.stopped.set)
        except UserError as error:
            return commands.Ack(ok=False, error=str(error))
        return commands.Ack()

    def status(self) -> commands.HostStatus:
        return status_of(self)


__all__ = ["Node", "NodeOptions"]
