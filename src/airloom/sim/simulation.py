"""A topology of hosts in virtual time: the same engine, link models in place of links, no tensors.

What is modelled: executors take the profile's times; messages go over link models block by block
(`carrier`); split cost messages take a link's unloaded time, are never lost on a link that is up
and do not compete with tensors; hosts learn `detect_s` after the fact that another went down or
came up. Everything random comes from one seed: same seed, same trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from airloom.core.framing import Framing
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.core.trace import Event as TraceEvent
from airloom.core.trace import Kind
from airloom.core.value import SCHEMA_VERSION
from airloom.engine.config import AttemptPolicy, HostConfig, WavePolicy
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
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import Allowance, Frame, Parcel
from airloom.errors import RequestError
from airloom.planner.pricing import FRAMED, profile_of
from airloom.radio.link import LinkModel, link_model
from airloom.sim.carrier import Carrier
from airloom.sim.clock import Clock
from airloom.sim.executor import Blank, VirtualExecutor
from airloom.wire.receiver import Allow
from airloom.wire.splitcost import HEADER_NBYTES

ATTEMPTS, WAVES = AttemptPolicy(), WavePolicy()


@dataclass(frozen=True)
class Arrival:
    """A user asks `source` ("" is the topology's) for an inference at `at_s`, due `deadline_s` later.

    `cancel_s` after it the user withdraws the request, where that is not None.
    """

    at_s: float
    deadline_s: float = 2.0
    source: str = ""
    cancel_s: float | None = None


@dataclass(slots=True)
class _Node:
    """A host that is up."""

    host: Host
    executor: VirtualExecutor
    timers: dict[tuple[object, ...], int]


class Simulation:
    """One run. `outcomes[source, request]` lists what each request came to, in order; one entry, if all is well.

    Args:
        profiles: one for all devices, or by device id, the one under "" for those without their own.
        changes: at `at_s` the network differs from the topology as that `Conditions` says, and in
            nothing else, until the next change; `up=False` kills a device and what it was doing.
        contract: the accuracy that is demanded and what each cut bears; None carries every cut raw and whole.
        models: link models in place of those of the topology's links, by (src, dst).
        detect_s: from a host's death or start until the others know.
        settle_s: hosts start this long before time 0, so that the first wave has run by then.
        probe_s: how often an idle link is probed; None for never.
    """

    def __init__(
        self,
        topology: Topology,
        profiles: Profile | Mapping[str, Profile],
        arrivals: Sequence[Arrival],
        *,
        changes: Sequence[Conditions] = (),
        pinned: Plan | None = None,
        seed: int = 0,
        framing: Framing = FRAMED,
        private_operators: int = 0,
        result_returns: bool = True,
        contract: Contract | None = None,
        max_in_flight: int = 8,
        attempts: AttemptPolicy = ATTEMPTS,
        wave: WavePolicy = WAVES,
        models: Mapping[tuple[str, str], LinkModel] | None = None,
        repair_rounds: int = 2,
        detect_s: float = 0.05,
        settle_s: float = 1.0,
        probe_s: float | None = 0.5,
    ) -> None:
        by_device = {"": profiles} if isinstance(profiles, Profile) else profiles
        self._topology, self._pinned, self._framing = topology, pinned, framing
        self._detect_s, self._probe_s = detect_s, probe_s
        self._configs = {
            device.id: HostConfig(
                device=device.id, topology=topology, profile=profile_of(device.id, by_device), framing=framing,
                private_operators=private_operators, result_returns=result_returns, max_in_flight=max_in_flight,
                contract=contract,
                attempts=attempts, wave=wave,
            )
            for device in topology.devices
        }  # fmt: skip
        self._blank = {id: Blank(config.profile) for id, config in self._configs.items()}
        self._clock = Clock(-settle_s)
        self._rng = np.random.default_rng(seed)
        self._nodes: dict[str, _Node] = {}
        self._loads: dict[str, float] = {}
        self._timer = 0
        self.trace: list[TraceEvent] = []
        self.outcomes: dict[tuple[str, int], list[Parcel | RequestError]] = {}
        self._asked: set[tuple[str, int]] = set()
        delays = {(link.src, link.dst): link.delay_s for link in topology.links}
        self._carriers = {
            (link.src, link.dst): Carrier(
                self._clock, link, (models or {}).get((link.src, link.dst)) or link_model(link, buffer_bytes=math.inf),
                framing, self._rng, back_delay_s=delays.get((link.dst, link.src), link.delay_s),
                repair_rounds=repair_rounds, deliver=self._deliver, measured=self._measured,
                allow=None if contract is None else self._allow(link.src, link.dst), repaired=self._repair_of(link.src),
            )
            for link in topology.links
        }  # fmt: skip
        self._last_s = max((a.at_s + a.deadline_s for a in arrivals), default=0.0)
        self._left = len(arrivals)
        self._emit("trace", {"schema": SCHEMA_VERSION, "clock": "virtual"}, topology.source)
        for device in topology.devices:
            self._start(device.id, announce_s=0.0)
        if probe_s is not None:
            self._clock.at(self._clock.now_s + probe_s, self._probe)
        for change in changes:
            self._clock.at(change.at_s, lambda change=change: self._change(change))  # type: ignore[misc]
        for number, arrival in enumerate(arrivals):
            self._clock.at(arrival.at_s, lambda n=number, a=arrival: self._submit(n, a))  # type: ignore[misc]

    def run(self, until_s: float = 0.0) -> list[TraceEvent]:
        """Until every request has its outcome and `until_s` has passed."""

        def over() -> bool:
            now_s = self._clock.now_s
            waits = self._left > 0 or any(key not in self.outcomes and key[0] in self._nodes for key in self._asked)
            return now_s >= until_s and (not waits or now_s > self._last_s + 1.0)

        self._clock.run(over)
        return self.trace

    def host(self, device: str) -> Host:
        """A host that is up, to look at."""
        return self._nodes[device].host

    # --- users and conditions -----------------------------------------------------------------

    def _submit(self, number: int, arrival: Arrival) -> None:
        self._left -= 1
        source = arrival.source or self._topology.source
        if source not in self._nodes:
            return
        self._asked.add((source, number))
        now_s = self._clock.now_s
        parcel = self._blank[source].parcel(self._configs[source].cut_tensors(0), 0)
        if arrival.cancel_s is not None:
            self._clock.at(now_s + arrival.cancel_s, lambda: self._tell(source, Cancel(number)))
        self._tell(source, Submit(number, parcel, now_s + arrival.deadline_s))

    def _change(self, change: Conditions) -> None:
        self._emit("condition", msgspec.to_builtins(change), self._topology.source)
        links = {(state.src, state.dst): state for state in change.links}
        for key, carrier in self._carriers.items():
            carrier.change(links.get(key, LinkState(src=key[0], dst=key[1])))
        devices = {state.id: state for state in change.devices}
        for device in self._topology.devices:
            state = devices.get(device.id, DeviceState(id=device.id))
            self._loads[device.id] = state.load
            if state.up and device.id not in self._nodes:
                self._start(device.id, announce_s=self._detect_s)
            elif not state.up and device.id in self._nodes:
                self._kill(device.id)
            if state.up:
                self._nodes[device.id].executor.load = state.load

    def _start(self, device: str, *, announce_s: float) -> None:
        config = self._configs[device]
        host = Host(config)
        executor = VirtualExecutor(
            self._clock, config.profile, self._blank[device], host.codings, factor=config.own.factor,
            done=lambda event: self._tell(device, event, node),
        )  # fmt: skip
        executor.load = self._loads.get(device, 0.0)
        node = self._nodes[device] = _Node(host, executor, {})
        self._carry_out(device, node.host.start(self._clock.now_s))
        if self._pinned is not None:
            self._tell(device, PlanPinned(self._pinned))
        for other in list(self._nodes):
            if other != device:
                self._announce(other, PeerUp(device), announce_s)
                self._announce(device, PeerUp(other), announce_s)

    def _kill(self, device: str) -> None:
        del self._nodes[device]
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

    def _tell(self, device: str, event: Event, node: _Node | None = None) -> None:
        """Give the event to the host, unless it is down or (with `node`) another one runs there now."""
        current = self._nodes.get(device)
        if current is None or (node is not None and node is not current):
            return
        self._carry_out(device, current.host.handle(event, self._clock.now_s))

    def _carry_out(self, device: str, effects: list[Effect]) -> None:
        node = self._nodes[device]
        for effect in effects:
            match effect:
                case Emit():
                    self.trace.append(effect.event)
                case SendFrame():
                    carrier = self._carriers.get((device, effect.dst))
                    if carrier is not None:
                        carrier.send(effect)
                case Execute():
                    node.executor.submit(effect)
                case Abandon():
                    node.executor.abandon(effect.job)
                case StartTimer():
                    self._start_timer(device, node, effect)
                case StopTimer():
                    node.timers.pop(effect.key, None)
                case SendSplitCost():
                    self._send_cost(device, effect)
                case Finish():
                    self.outcomes.setdefault((device, effect.request), []).append(effect.outcome)

    def _start_timer(self, device: str, node: _Node, timer: StartTimer) -> None:
        self._timer += 1
        number = node.timers[timer.key] = self._timer

        def fire() -> None:
            if node.timers.get(timer.key) == number:
                del node.timers[timer.key]
                self._tell(device, TimerFired(timer.key), node)

        self._clock.at(timer.at_s, fire)

    def _send_cost(self, device: str, effect: SendSplitCost) -> None:
        # Downstream's answer goes up the link that leads up; without one it takes the link's own figures.
        carrier = self._carriers.get((device, effect.dst)) or self._carriers.get((effect.dst, device))
        seconds = carrier.control_s(HEADER_NBYTES + effect.message.cost_s.nbytes) if carrier is not None else None
        if seconds is not None:
            event = SplitCostArrived(device, effect.message)
            self._clock.at(self._clock.now_s + seconds, lambda: self._tell(effect.dst, event))

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
        self.trace.append(TraceEvent(at_s=now_s, host=host, kind=kind, request=request, attempt=attempt, data=data))
