"""A topology of hosts in virtual time: the same engine, link models in place of links, no tensors.

What is modelled: executors take the profile's times; messages go over link models block by block
(`carrier`); split cost messages take a link's unloaded time, are never lost on a link that is up
and do not compete with tensors; hosts learn `detect_s` after the fact that another went down or
came up. Everything random comes from one seed: same seed, same trace.

Over a network whose rates vary from tick to tick (`rates`) hosts are told by the radio's scheduler what
their links carry (`reports="scheduler"`): both ends of a link, without delay, before anything else
that they hear in that tick; those that look at every tick, as forecasts and plans made of hosts' own
accord need them to, at its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from airloom.core.forecast import ForecastPolicy
from airloom.core.framing import Framing
from airloom.core.objective import LATENCY, Objective
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, DeviceState, Link, Topology
from airloom.core.trace import Event as TraceEvent
from airloom.core.training import TrainingSpec
from airloom.core.value import SCHEMA_VERSION
from airloom.engine.config import AttemptPolicy, HostConfig, WavePolicy
from airloom.engine.events import (
    Event,
    TrainingOutcome,
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import Parcel
from airloom.engine.routebook import RouteBook
from airloom.errors import RequestError
from airloom.planner.pricing import FRAMED, profile_of
from airloom.radio.link import LinkModel, QueuedLink, link_model, loss_process
from airloom.sim.befalling import Arrival, Befalling
from airloom.sim.carrier import Carrier
from airloom.sim.clock import Clock
from airloom.sim.dispatch import Node
from airloom.sim.executor import Blank
from airloom.sim.rates import Rates, SteppedRate, Window
from airloom.sim.reports import Reports

__all__ = ["Arrival", "Simulation"]

_FORGOTTEN_TOGETHER = 32  # ticks
ATTEMPTS, WAVES = AttemptPolicy(), WavePolicy()


class Simulation(Befalling):
    """One run. `outcomes[source, request]` lists what each request came to, in order; one entry, if all is well.

    Args:
        profiles: one for all devices, or by device id, the one under "" for those without their own.
        arrivals: in any order, or an iterator in order of time, of which one is taken at a time.
        changes: at `at_s` the network differs from the topology as that `Conditions` says, and in
            nothing else, until the next change; `up=False` kills a device and what it was doing.
        moves: in order of time, an iterator that may have no end; each changes what it names, and nothing else.
        contract: the accuracy that is demanded and what each cut bears; None carries every cut raw and whole.
        objective, forecast: as of `HostConfig`.
        models: link models in place of those of the topology's links, by (src, dst).
        rates: of the links that vary; None is a network that holds still but for `changes`.
        reports: how hosts learn of rates: the scheduler tells them, or they measure what their traffic shows.
        every_tick: whether the scheduler tells all hosts all rates at every tick, changed or not, and
            not only those that have something to do; for forecasts and plans of hosts' own accord.
        detect_s: from a host's death or start until the others know.
        settle_s: hosts start this long before time 0, so that the first wave has run by then.
        probe_s: how often an idle link is probed; None for never.
        sink: takes events as they come, in place of `trace`, and then nothing grows with time; outcomes
            are not kept either.
        next_after: called with the source of a request that is over; the arrival that follows it, if any.
        make_host: another kind of host, such as one that follows a baseline.
        known_from_start: hosts know from their start who else is up, and trace nothing of it.
        instant_control: split cost messages and questions for them take no time: plans are made of the
            network as it is, and planning is free.
        training, on_training: hosts train, and who hears of what was asked for; see `sim.training`.
    """

    def __init__(
        self,
        topology: Topology,
        profiles: Profile | Mapping[str, Profile],
        arrivals: Iterable[Arrival],
        *,
        changes: Iterable[Conditions] = (),
        moves: Iterable[Conditions] = (),
        pinned: Plan | None = None,
        seed: int = 0,
        framing: Framing = FRAMED,
        private_operators: int = 0,
        result_returns: bool = True,
        contract: Contract | None = None,
        objective: Objective = LATENCY,
        forecast: ForecastPolicy | None = None,
        max_in_flight: int = 8,
        attempts: AttemptPolicy = ATTEMPTS,
        wave: WavePolicy = WAVES,
        models: Mapping[tuple[str, str], LinkModel] | None = None,
        rates: Rates | None = None,
        reports: Literal["scheduler", "traffic"] = "scheduler",
        every_tick: bool = False,
        repair_rounds: int = 2,
        detect_s: float = 0.05,
        settle_s: float = 1.0,
        probe_s: float | None = 0.5,
        sink: Callable[[TraceEvent], None] | None = None,
        next_after: Callable[[str, float], Arrival | None] | None = None,
        make_host: Callable[[HostConfig, RouteBook], Host] | None = None,
        known_from_start: bool = False,
        instant_control: bool = False,
        training: TrainingSpec | None = None,
        on_training: Callable[[TrainingOutcome], None] | None = None,
    ) -> None:
        by_device = {"": profiles} if isinstance(profiles, Profile) else profiles
        self._topology, self._pinned, self._framing = topology, pinned, framing
        self._detect_s, self._probe_s = detect_s, probe_s
        self._book = RouteBook(topology, result_returns=result_returns)
        self._make_host = make_host or _host
        self._configs = {
            device.id: HostConfig(
                device=device.id, topology=topology, profile=profile_of(device.id, by_device), framing=framing,
                private_operators=private_operators, result_returns=result_returns, max_in_flight=max_in_flight,
                contract=contract, attempts=attempts, wave=wave, objective=objective, forecast=forecast,
                training=training,
            )
            for device in topology.devices
        }  # fmt: skip
        blanks = {id(config.profile): Blank(config.profile) for config in self._configs.values()}
        self._blank = {device: blanks[id(config.profile)] for device, config in self._configs.items()}
        self._clock = Clock(-settle_s)
        self._rng = np.random.default_rng(seed)
        self._nodes: dict[str, Node] = {}
        self._states: dict[str, DeviceState] = {}
        self._timer = self._number = 0
        self.trace: list[TraceEvent] = []
        self.outcomes: dict[tuple[str, int], list[Parcel | RequestError]] = {}
        self._keeps = sink is None
        self._sink = self.trace.append if sink is None else sink
        self._next_after, self._following = next_after, 0
        self._on_training = on_training or (lambda outcome: None)
        self._live: set[tuple[str, int]] = set()
        self._window = None if rates is None else Window(rates, lambda: self._clock.now_s)
        self._reports = None
        if self._window is not None and reports == "scheduler":
            self._reports = Reports(topology, self._window)
        self._every_tick, self._instant = every_tick, instant_control
        delays = {(link.src, link.dst): link.delay_s for link in topology.links}
        self._carriers = {
            (link.src, link.dst): Carrier(
                self._clock, link, (models or {}).get((link.src, link.dst)) or self._model(link),
                framing, self._rng, back_delay_s=delays.get((link.dst, link.src), link.delay_s),
                repair_rounds=repair_rounds, deliver=self._deliver, measured=self._measured,
                allow=self._allow(link.src, link.dst) if contract or training else None,
                repaired=self._repair_of(link.src),
                learns=self._reports is None,
            )
            for link in topology.links
        }  # fmt: skip
        self._last_s = 0.0
        self._emit("trace", {"schema": SCHEMA_VERSION, "clock": "virtual"}, topology.source)
        everybody = tuple(device.id for device in topology.devices) if known_from_start else ()
        for device in topology.devices:
            self._start(device.id, announce_s=0.0, known=everybody)
        if probe_s is not None and self._reports is None:
            self._clock.at(self._clock.now_s + probe_s, self._probe)
        for change in changes:
            self._clock.at(change.at_s, lambda change=change: self._change(change))  # type: ignore[misc]
        self._moves = iter(moves)
        self._next_move()
        if self._window is not None:
            self._tick(self._window)
        self._coming = iter(sorted(arrivals, key=_at) if isinstance(arrivals, Sequence) else arrivals)
        self._more = True
        self._next_arrival()

    def run(self, until_s: float = 0.0, *, stop: Callable[[], bool] = lambda: False) -> list[TraceEvent]:
        """Until every request has its outcome and `until_s` has passed; `stop` ends it at once."""
        clock = self._clock

        def over() -> bool:
            now_s = clock.now_s
            waits = self._more or self._live or self._following
            return (now_s >= until_s and (not waits or (not self._more and now_s > self._last_s + 1.0))) or stop()

        clock.run(over)
        return self.trace

    @property
    def now_s(self) -> float:
        return self._clock.now_s

    def tell(self, device: str, event: Event) -> None:
        """Give an event to a host from outside, now; nothing where the host is down."""
        self._tell(device, event)

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at a time of the virtual clock."""
        self._clock.at(at_s, action)

    def rate_bps(self, src: str, dst: str) -> float:
        """bit/s of a link at the moment; 0 where it is down or there is none."""
        carrier = self._carriers.get((src, dst))
        return 0.0 if carrier is None else carrier.rate_bps

    def rate_at(self, src: str, dst: str, at_s: float) -> float:
        """bit/s of a link at a time to come, as far as nothing but its rate changes until then."""
        carrier = self._carriers.get((src, dst))
        return 0.0 if carrier is None else carrier.rate_at(at_s)

    def is_up(self, device: str) -> bool:
        return device in self._nodes

    def config(self, device: str) -> HostConfig:
        """What a host was told before it started."""
        return self._configs[device]

    def host(self, device: str) -> Host:
        """A host that is up, to look at."""
        return self._nodes[device].host

    def _model(self, link: Link) -> LinkModel:
        window = self._window
        if window is None or (link.src, link.dst) not in window.columns:
            return link_model(link, buffer_bytes=math.inf)
        rate = SteppedRate(window, (link.src, link.dst))
        loss = loss_process(link.loss, link.burst_s)
        return QueuedLink(rate, loss, delay_s=link.delay_s + link.overhead_s, buffer_bytes=math.inf)

    def _tick(self, window: Window) -> None:
        """The window moves on; hosts that look at every tick are told of it."""
        now_s = self._clock.now_s
        window.forget(now_s)
        if self._reports is not None and self._every_tick:
            tick = window.tick(now_s)
            for device, node in list(self._nodes.items()):
                node.tick = tick
                for event in self._reports.all(device, tick):
                    self._carry_out(device, node.host.handle(event, now_s))
        later = 1 if self._reports is not None and self._every_tick else _FORGOTTEN_TOGETHER
        self._clock.at((window.tick(now_s) + later) * window.period_s, lambda: self._tick(window))


def _host(config: HostConfig, book: RouteBook) -> Host:
    return Host(config, book=book)


def _at(arrival: Arrival) -> float:
    return arrival.at_s
