"""A running host: the engine's state machine with sockets, zenoh, an executor's thread and real time.

Everything of a node happens on one event loop; only the executor computes beside it, and zenoh's
threads hand over to it. Time is the loop's, CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
    LinkMeasured,
    PeerDown,
    PeerUp,
    PlanPinned,
    SendFrame,
    SendSplitCost,
    SplitCostArrived,
    StartTimer,
    StopTimer,
    Submit,
    TimerFired,
)
from airloom.engine.host import Host
from airloom.errors import ConfigError, DeploymentError, WireError
from airloom.runtime import commands
from airloom.runtime.certs import HostCerts
from airloom.runtime.compute import Compute, Executor
from airloom.runtime.control import Control
from airloom.runtime.keys import PairKeys
from airloom.runtime.metrics import Metric, MetricsServer
from airloom.runtime.places import Address, data_address
from airloom.runtime.tracefile import TraceWriter
from airloom.runtime.transport import Transport
from airloom.wire.splitcost import decode_split_cost, encode_split_cost

TransportName = Literal["udp", "tcp"]
_TRACE_FLUSH_S = 0.5


@dataclass(frozen=True)
class NodeOptions:
    """How a host runs, beside what it is.

    Attributes:
        routes: where to send for a neighbour, in place of its own address: an emulated link's relay.
        factor: emulate a device this many times slower than this machine.
        metrics_port: serve Prometheus metrics here; 0 lets the system choose, None serves none.
        trace: file to which the trace is appended.
        repair_rounds: how often a message over UDP may be asked for again.
        congestion: TCP's congestion control.
    """

    transport: TransportName = "udp"
    routes: Mapping[str, Address] = field(default_factory=dict)
    factor: float = 1.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    trace: Path | None = None
    repair_rounds: int = 2
    congestion: str = "cubic"


class Node:
    """One host of a deployment; make and use it on one event loop.

    Args:
        on_finish: gets the one outcome of every request that was submitted here.
        on_trace: gets every trace event, beside the trace file.
        on_change: called when a host came or went or the pinned plan changed.
    """

    def __init__(
        self,
        config: HostConfig,
        certs: HostCerts,
        executor: Executor,
        options: NodeOptions | None = None,
        *,
        on_finish: Callable[[Finish], None] | None = None,
        on_trace: Callable[[TraceEvent], None] | None = None,
        on_peer: Callable[[str, bool], None] | None = None,
    ) -> None:
        self.config, self.options = config, options or NodeOptions()
        self.id = config.device
        self._on_finish, self._on_trace, self._on_peer = on_finish, on_trace, on_peer
        self.counters: Counter[str] = Counter()
        self.host = Host(config)
        self.compute = Compute(executor, self.handle, factor=self.options.factor, name=f"{self.id} compute")
        self.control = Control(self.id, config.topology, certs, self, counters=self.counters)
        self._transport: Transport | None = None
        self._metrics: MetricsServer | None = None
        self._trace: TraceWriter | None = None
        self._timers: dict[tuple[object, ...], asyncio.TimerHandle] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._began = time.monotonic()
        self._links: dict[tuple[str, str], LinkState] = {}
        self.stopped = asyncio.Event()
        self._carry_out: dict[type, Callable[[Any], None]] = {
            SendFrame: self._send_frame,
            SendSplitCost: self._send_cost,
            Execute: self.compute.submit,
            Abandon: lambda effect: self.compute.abandon(effect.job),
            StartTimer: self._start_timer,
            StopTimer: self._stop_timer,
            Finish: self._finish,
        }

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything; DeploymentError names what could not be opened."""
        self._loop = asyncio.get_running_loop()
        try:
            if self.options.trace is not None:
                self._trace = TraceWriter(self.options.trace, self.id, now_s=self._loop.time())
                self._flush_trace()
            self._transport = make_transport(self)
            try:
                await self._transport.start()
            except OSError as error:
                host, port = data_address(self.config.own)
                raise DeploymentError(f"{self.id}: cannot take tensors on {host}:{port}: {error.strerror}") from None
            self.compute.start()
            self._carry(self.host.start(self._loop.time()))
            await self.control.start()
            if self.options.metrics_port is not None:
                self._metrics = MetricsServer(
                    self.metrics, host=self.options.metrics_host, port=self.options.metrics_port
                )
                await self._metrics.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave; neighbours see it at once. Safe to call twice."""
        self.stopped.set()
        await self.control.close()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._transport is not None:
            await self._transport.close()
        if self._metrics is not None:
            await self._metrics.close()
        await asyncio.to_thread(self.compute.close)
        if self._flush is not None:
            self._flush.cancel()
        if self._trace is not None:
            self._trace.close()
            self._trace = None

    async def run(self, *, until_eof_of: int | None = None) -> None:
        """Run until SIGTERM, SIGINT, a shut-down command, or the end of the pipe `until_eof_of`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopped.set)
        if until_eof_of is not None:
            loop.add_reader(until_eof_of, self._read_pipe, until_eof_of)
        try:
            await self.stopped.wait()
        finally:
            if until_eof_of is not None:
                loop.remove_reader(until_eof_of)
            await self.close()

    def _read_pipe(self, fd: int) -> None:
        if not os.read(fd, 4096):
            self._loop.remove_reader(fd)
            self.stopped.set()

    @property
    def metrics_port(self) -> int | None:
        """Where metrics are served, None where they are not."""
        return None if self._metrics is None else self._metrics.port

    # --- what the program does ----------------------------------------------------------------------

    def submit(self, request: int, parcel: Parcel, deadline_s: float) -> None:
        """Ask for an inference; `deadline_s` on CLOCK_MONOTONIC. The outcome goes to `on_finish`."""
        self.handle(Submit(request, parcel, deadline_s))

    def cancel(self, request: int) -> None:
        """Withdraw a request; it ends as Cancelled unless it has ended already."""
        self.handle(Cancel(request))

    def pin(self, plan: Plan | None) -> None:
        """Follow `plan`, or the table again; this host only."""
        if plan is not None and plan.graph_digest != self.config.profile.graph_digest:
            raise ConfigError(f"{self.id}: the plan is for another model than the one this host runs")
        for stage in plan.stages if plan is not None else ():
            if stage.device == self.id:
                self.compute.prepare(stage.start, stage.stop)
        self.handle(PlanPinned(plan))

    # --- events in, effects out ---------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Give `event` to the engine and carry out what it asks for."""
        self._carry(self.host.handle(event, self._loop.time()))

    def _carry(self, effects: list[Effect]) -> None:
        # What others wait for first, then what is written down about it.
        for effect in effects:
            if type(effect) is not Emit:
                self._carry_out[type(effect)](effect)
        for effect in effects:
            if type(effect) is Emit:
                self._emit(effect)

    def _send_frame(self, effect: SendFrame) -> None:
        assert self._transport is not None
        self._transport.send(effect.dst, effect.frame, effect.parcel)

    def _send_cost(self, effect: SendSplitCost) -> None:
        self.control.send_cost(effect.dst, encode_split_cost(effect.message))

    def _start_timer(self, effect: StartTimer) -> None:
        self._stop_timer(effect)
        self._timers[effect.key] = self._loop.call_at(effect.at_s, self._fire, effect.key)

    def _stop_timer(self, effect: StartTimer | StopTimer) -> None:
        timer = self._timers.pop(effect.key, None)
        if timer is not None:
            timer.cancel()

    def _fire(self, key: tuple[object, ...]) -> None:
        del self._timers[key]
        self.handle(TimerFired(key))

    def _finish(self, effect: Finish) -> None:
        if self._on_finish is not None:
            self._on_finish(effect)

    def _emit(self, effect: Emit) -> None:
        self.counters[f"event_{effect.event.kind}"] += 1
        if self._trace is not None:
            self._trace.write(effect.event)
        if self._on_trace is not None:
            self._on_trace(effect.event)

    def _flush_trace(self) -> None:
        if self._trace is not None:
            self._trace.flush()
            self._flush = self._loop.call_later(_TRACE_FLUSH_S, self._flush_trace)

    # --- from the transport -------------------------------------------------------------------------

    def on_message(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        if not self.stopped.is_set():
            self.handle(FrameArrived(peer, frame, parcel))

    def on_link(self, src: str, dst: str, rate_bps: float | None, delay_s: float | None, loss: float | None) -> None:
        if self.stopped.is_set():
            return
        old = self._links.get((src, dst), LinkState(src=src, dst=dst))
        self._links[src, dst] = LinkState(
            src=src,
            dst=dst,
            rate_bps=old.rate_bps if rate_bps is None else rate_bps,
            delay_s=old.delay_s if delay_s is None else delay_s,
            loss=old.loss if loss is None else loss,
        )
        self.handle(LinkMeasured(src, dst, rate_bps, delay_s, loss))

    # --- from the control plane ---------------------------------------------------------------------

    def on_cost(self, src: str, data: bytes) -> None:
        try:
            message = decode_split_cost(data, self.config.num_operators + 1)
        except WireError:
            self.counters["drop_cost"] += 1
            return
        self.handle(SplitCostArrived(src, message))

    def on_keys(self, keys: PairKeys) -> None:
        assert self._transport is not None
        device = self.config.topology.device(keys.peer)
        address = self.options.routes.get(keys.peer) or data_address(device)
        rates = [link.rate_bps for link in self.config.topology.links if (link.src, link.dst) == (self.id, keys.peer)]
        self._transport.add_peer(keys.peer, address, keys.send, keys.receive, rate_bps=rates[0] if rates else None)

    def on_keys_void(self, peer: str) -> None:
        if self._transport is not None:
            self._transport.remove_peer(peer)

    def on_peer(self, peer: str, up: bool) -> None:
        self.handle(PeerUp(peer) if up else PeerDown(peer))
        if self._on_peer is not None:
            self._on_peer(peer, up)

    def on_command(self, asker: str, command: commands.Command) -> commands.Ack:
        try:
            match command:
                case commands.Pin():
                    self.pin(command.plan)
                case commands.SetFactor():
                    self.compute.set_factor(command.factor)
                case commands.ShutDown():
                    # After the answer has left.
                    self._loop.call_later(0.05, self.stopped.set)
        except ConfigError as error:
            return commands.Ack(ok=False, error=str(error))
        return commands.Ack()

    def status(self) -> commands.HostStatus:
        profile, own, now = self.config.profile, self.config.own, self.host.snapshot()
        return commands.HostStatus(
            host=self.id,
            role=own.role,
            incarnation=self.control.incarnation,
            uptime_s=time.monotonic() - self._began,
            load=now.load,
            in_flight=now.in_flight,
            jobs=now.jobs,
            up=tuple(sorted(self.control.up)),
            links=self.links(),
            parent=now.parent,
            table=now.stop,
            cost_s=now.cost_s,
            pinned=now.pinned_epoch is not None,
            model=profile.model,
            graph_digest=profile.graph_digest,
            transport=self.options.transport,
            pid=os.getpid(),
            counters=self.all_counters(),
        )

    def links(self) -> tuple[LinkState, ...]:
        """This host's outgoing links: as measured, as the topology says where they were not."""
        states = []
        for link in self.config.topology.links:
            if link.src == self.id:
                seen = self._links.get((link.src, link.dst), LinkState(src=link.src, dst=link.dst))
                states.append(
                    LinkState(
                        src=link.src,
                        dst=link.dst,
                        rate_bps=link.rate_bps if seen.rate_bps is None else seen.rate_bps,
                        delay_s=link.delay_s if seen.delay_s is None else seen.delay_s,
                        loss=link.loss if seen.loss is None else seen.loss,
                        up=link.dst in self.control.up,
                    )
                )
        return tuple(states)

    def all_counters(self) -> dict[str, float]:
        """Everything counted since the start, by name."""
        counts: dict[str, float] = {name: float(n) for name, n in self.counters.items()}
        dropped = self.host.snapshot().counters
        counts |= {f"dropped_{reason.replace(' ', '_')}": float(n) for reason, n in dropped.items()}
        if self._transport is not None:
            counts |= {f"data_{name}": float(n) for name, n in self._transport.counters().items()}
        return counts | {"stages": float(self.compute.stages), "busy_seconds": self.compute.busy_s}

    def metrics(self) -> list[Metric]:
        """For Prometheus; every sample carries the host's id."""
        me, now = (("host", self.id),), self.host.snapshot()
        found = [
            Metric("up_hosts", "gauge", len(self.control.up), "other hosts within reach", me),
            Metric("load", "gauge", now.load, "a stage takes 1 + load times its unloaded time", me),
            Metric("in_flight", "gauge", now.in_flight, "requests under way from this host", me),
            Metric("jobs", "gauge", now.jobs, "stages that wait or run here", me),
            Metric("uptime_seconds", "gauge", time.monotonic() - self._began, "since this host started", me),
        ]
        for state in self.links():
            way = (*me, ("dst", state.dst))
            if state.rate_bps is not None:
                found.append(Metric("link_rate_bps", "gauge", state.rate_bps, "rate of the link", way))
            if state.delay_s is not None:
                found.append(Metric("link_delay_seconds", "gauge", state.delay_s, "one-way delay of the link", way))
        found += [Metric(f"{name}_total", "counter", value, "", me) for name, value in self.all_counters().items()]
        return found


def make_transport(node: Node) -> Transport:
    """The data plane that the options ask for."""
    options, address = node.options, data_address(node.config.own)
    if options.transport == "tcp":
        from airloom.runtime.tcp import TcpTransport

        return TcpTransport(
            node.id, address, on_message=node.on_message, on_link=node.on_link, congestion=options.congestion
        )
    from airloom.runtime.udp import UdpTransport
    from airloom.wire.receiver import ReceiverLimits

    return UdpTransport(
        node.id,
        address,
        on_message=node.on_message,
        on_link=node.on_link,
        receiver_limits=ReceiverLimits(rounds=options.repair_rounds),
    )


async def serve(node: Node, *, until_eof_of: int | None = None, ready: Callable[[], None] | None = None) -> None:
    """Start `node`, say that it is ready, run it until it is told to stop."""
    await node.start()
    if ready is not None:
        ready()
    with contextlib.suppress(asyncio.CancelledError):
        await node.run(until_eof_of=until_eof_of)
