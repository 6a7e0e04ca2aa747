"""Events to hosts and what they ask for in return, in virtual time: the part of a simulation that drives the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airloom.core.plan import Plan
from airloom.core.topology import DeviceState, Topology
from airloom.core.trace import Event as TraceEvent
from airloom.core.trace import Kind
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Abandon,
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
    TimerFired,
    Train,
    TrainingOutcome,
    WaveAsked,
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import Allowance, Frame, Parcel
from airloom.engine.routebook import RouteBook
from airloom.sim.carrier import Carrier
from airloom.sim.clock import Clock
from airloom.sim.executor import Blank, VirtualExecutor
from airloom.sim.reports import Reports
from airloom.wire.receiver import Allow
from airloom.wire.splitcost import HEADER_NBYTES, split_cost_nbytes

#: A question for a wave: the head of a split cost message alone.
ASK_NBYTES = HEADER_NBYTES


@dataclass(slots=True)
class Node:
    """A host that is up."""

    host: Host
    executor: VirtualExecutor
    timers: dict[tuple[object, ...], int]
    tick: int = -1
    told: dict[int, float] = field(default_factory=dict)


class Dispatch:
    """Hosts that are up, and the links, executors and timers that their effects go to.

    `Simulation` sets all of it up and says what befalls it.
    """

    _topology: Topology
    _clock: Clock
    _nodes: dict[str, Node]
    _configs: dict[str, HostConfig]
    _blank: dict[str, Blank]
    _book: RouteBook
    _make_host: Callable[[HostConfig, RouteBook], Host]
    _carriers: dict[tuple[str, str], Carrier]
    _states: dict[str, DeviceState]
    _live: set[tuple[str, int]]
    _pinned: Plan | None
    _reports: Reports | None
    _sink: Callable[[TraceEvent], None]
    _on_training: Callable[[TrainingOutcome], None]
    _detect_s: float
    _probe_s: float | None
    _every_tick: bool
    _instant: bool
    _timer: int

    def load(self, device: str) -> float:
        """What others make of a device's executor at the moment: a stage takes `1 + load` times as long."""
        state = self._states.get(device)
        return 0.0 if state is None else state.load

    def _finish(self, device: str, effect: Finish) -> None:
        """A request of the host has its outcome."""
        raise NotImplementedError

    # --- hosts that come and go ---------------------------------------------------------------

    def _start(self, device: str, *, announce_s: float, known: tuple[str, ...] = ()) -> None:
        config = self._configs[device]
        host = self._make_host(config, self._book)
        executor = VirtualExecutor(
            self._clock, config.profile, self._blank[device], host.codings, factor=config.own.factor,
            done=lambda event: self._tell(device, event, node),
        )  # fmt: skip
        executor.load = self.load(device)
        node = self._nodes[device] = Node(host, executor, {})
        self._carry_out(device, node.host.start(self._clock.now_s, known))
        if self._pinned is not None:
            self._tell(device, PlanPinned(self._pinned))
        for other in list(self._nodes) if not known else ():
            if other != device:
                self._announce(other, PeerUp(device), announce_s)
                self._announce(device, PeerUp(other), announce_s)

    def _kill(self, device: str) -> None:
        del self._nodes[device]
        self._live = {key for key in self._live if key[0] != device}
        for other in self._nodes:
            self._announce(other, PeerDown(device), self._detect_s)

    def _announce(self, to: str, event: Event, after_s: float) -> None:
        """News of a host; whoever has started again since hears it from its own start."""
        node = self._nodes[to]
        self._clock.at(self._clock.now_s + after_s, lambda: self._tell(to, event, node))

    def _probe(self) -> None:
        now_s, every_s = self._clock.now_s, self._probe_s or math.inf
        for (src, _), carrier in self._carriers.items():
            if src in self._nodes:
                carrier.probe(every_s)
        self._clock.at(now_s + every_s, self._probe)

    # --- events in, effects out ---------------------------------------------------------------

    def _tell(self, device: str, event: Event, node: Node | None = None) -> None:
        """Give the event to the host, unless it is down or (with `node`) another one runs there now."""
        current = self._nodes.get(device)
        if current is None or (node is not None and node is not current):
            return
        now_s = self._clock.now_s
        if self._reports is not None and not self._every_tick:
            tick = self._reports.window.tick(now_s)
            if tick != current.tick:
                current.tick = tick
                for news in self._reports.news(device, tick, current.told, current.host.nexts):
                    self._carry_out(device, current.host.handle(news, now_s))
        self._carry_out(device, current.host.handle(event, now_s))
        if isinstance(event, LinkChanged | PeerUp | PeerDown):
            current.tick = -1  # it may have other next hosts now, whose links it has not heard of

    def _carry_out(self, device: str, effects: list[Effect]) -> None:
        node = self._nodes[device]
        for effect in effects:
            match effect:
                case Emit():
                    self._sink(effect.event)
                case SendFrame():
                    carrier = self._carriers.get((device, effect.dst))
                    if carrier is not None:
                        carrier.send(effect)
                case TrainingOutcome():
                    self._on_training(effect)
                case Execute() | Train():
                    node.executor.submit(effect)
                case Abandon():
                    node.executor.abandon(effect.job)
                case StartTimer():
                    self._start_timer(device, node, effect)
                case StopTimer():
                    node.timers.pop(effect.key, None)
                case SendSplitCost():
                    self._send_cost(device, effect)
                case SendAsk():
                    self._send_control(device, effect.dst, ASK_NBYTES, WaveAsked(effect.ask))
                case Finish():
                    self._finish(device, effect)

    def _start_timer(self, device: str, node: Node, timer: StartTimer) -> None:
        self._timer += 1
        number = node.timers[timer.key] = self._timer

        def fire() -> None:
            if node.timers.get(timer.key) == number:
                del node.timers[timer.key]
                self._tell(device, TimerFired(timer.key), node)

        self._clock.at(timer.at_s, fire)

    def _send_cost(self, device: str, effect: SendSplitCost) -> None:
        message = effect.message
        self._send_control(device, effect.dst, split_cost_nbytes(message), SplitCostArrived(device, message))

    def _send_control(self, src: str, dst: str, nbytes: int, event: Event) -> None:
        # Downstream's answer goes up the link that leads up; without one it takes the link's own figures.
        carrier = self._carriers.get((src, dst)) or self._carriers.get((dst, src))
        seconds = carrier.control_s(nbytes) if carrier is not None else None
        if seconds is not None:
            after_s = 0.0 if self._instant else seconds
            self._clock.at(self._clock.now_s + after_s, lambda: self._tell(dst, event))

    def _deliver(self, src: str, message: SendFrame, parcel: Parcel) -> None:
        self._tell(message.dst, FrameArrived(src, message.frame, parcel))

    def _allow(self, src: str, dst: str) -> Allow:
        """What the host at the end of a link asks for; nothing where it is down."""

        def allow(frame: Frame, blocks: int, loss: float) -> Allowance:
            node = self._nodes.get(dst)
            return Allowance() if node is None else node.host.repair.allow(src, frame, blocks, loss)

        return allow

    def _repair_of(self, src: str) -> Callable[[SendFrame, int, int], None]:
        """Traces that `src` sends blocks of a message again."""

        def repaired(message: SendFrame, blocks: int, wire_nbytes: int) -> None:
            frame = message.frame
            source = self._topology.devices[frame.source].id
            data = {"dst": message.dst, "source": source, "blocks": blocks, "wire_nbytes": wire_nbytes}
            self._emit("repair", data, src, request=frame.request, attempt=frame.attempt)

        return repaired

    def _measured(self, event: LinkMeasured) -> None:
        self._tell(event.src, event)

    def _emit(
        self, kind: Kind, data: dict[str, Any], host: str, *, request: int | None = None, attempt: int | None = None
    ) -> None:
        now_s = self._clock.now_s
        self._sink(TraceEvent(at_s=now_s, host=host, kind=kind, request=request, attempt=attempt, data=data))
