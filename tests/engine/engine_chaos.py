"""A network that drops, duplicates and reorders, and hosts that die and come back, from one seed."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from engine_pump import made, sizes_of

from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Topology
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Abandon,
    Effect,
    Event,
    Execute,
    Finish,
    FrameArrived,
    LinkMeasured,
    PeerDown,
    PeerUp,
    PlanPinned,
    SendAsk,
    SendFrame,
    SendSplitCost,
    SplitCostArrived,
    StageDone,
    StageRaised,
    StartTimer,
    StopTimer,
    Submit,
    TimerFired,
    WaveAsked,
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import Gap, Parcel


@dataclass(frozen=True)
class Weather:
    """How bad it is: probabilities a message or stage, rates a second."""

    drop: float = 0.1
    duplicate: float = 0.1
    spread_s: float = 0.05
    raises: float = 0.0
    kills: float = 0.5
    notice_s: float = 0.2
    unnoticed: float = 0.1
    gaps: float = 0.1


class Chaos:
    """Runs requests of `sources` through the weather; the sources live, everybody else may die."""

    def __init__(
        self, topology: Topology, profile: Profile, weather: Weather, seed: int, *, plan: Plan | None = None,
        **settings: object,
    ) -> None:  # fmt: skip
        self.topology, self.profile, self.weather, self.plan = topology, profile, weather, plan
        self.rng = np.random.default_rng(seed)
        self.now_s = 50.0
        self._heap: list[tuple[float, int, str, int, Event | str]] = []
        self._order = itertools.count()
        self._settings = settings
        self._sizes = sizes_of(profile)
        self.hosts: dict[str, Host] = {}
        self.lives: dict[str, int] = {}
        self.busy_until: dict[str, float] = {}
        self.timers: dict[tuple[str, tuple[object, ...]], int] = {}
        self.deadlines: dict[tuple[str, int], float] = {}
        self.finished: dict[tuple[str, int], list[tuple[float, Finish]]] = {}
        self.sources = [d.id for d in topology.devices if d.role == "ue"]
        for device in topology.devices:
            self._up(device.id)

    def push(self, at_s: float, device: str, event: Event | str) -> int:
        """An event for the host as it lives now, or "kill" or "revive"; its number is returned."""
        order = next(self._order)
        heapq.heappush(self._heap, (at_s, order, device, self.lives.get(device, 0), event))
        return order

    def submit(self, at_s: float, number: int, source: str, deadline_s: float) -> None:
        self.deadlines[source, number] = at_s + deadline_s
        self.push(at_s, source, Submit(number, self.parcel((0,)), at_s + deadline_s))

    def parcel(self, ids: tuple[int, ...]) -> Parcel:
        return Parcel(ids, tuple(memoryview(bytes(self._sizes[id])) for id in ids))

    def storm(self, seconds: float) -> None:
        """Plan deaths, returns and measurements over the next seconds."""
        mortal = [d.id for d in self.topology.devices if d.id not in self.sources]
        for _ in range(self.rng.poisson(self.weather.kills * seconds)):
            at_s = self.now_s + float(self.rng.uniform(0, seconds))
            device = str(self.rng.choice(mortal))
            self.push(at_s, device, "kill")
            self.push(at_s + float(self.rng.exponential(0.5)), device, "revive")
        for _ in range(20):
            link = self.topology.links[int(self.rng.integers(len(self.topology.links)))]
            rate, loss = float(10 ** self.rng.uniform(5, 9)), float(self.rng.choice([0.0, 0.3, 1.0]))
            self.push(
                self.now_s + float(self.rng.uniform(0, seconds)), link.src,
                LinkMeasured(link.src, link.dst, rate_bps=rate, loss=loss),
            )  # fmt: skip

    def run(self, until_s: float) -> None:
        while self._heap and self._heap[0][0] <= until_s:
            at_s, order, device, life, event = heapq.heappop(self._heap)
            self.now_s = at_s
            if event == "kill":
                self._kill(device)
            elif event == "revive":
                if device not in self.hosts:
                    self._up(device)
            elif device in self.hosts and not isinstance(event, str) and self._reaches(device, life, order, event):
                self._carry_out(device, self.hosts[device].handle(event, self.now_s))
        self.now_s = until_s

    # --- machinery ----------------------------------------------------------------------------

    def _reaches(self, device: str, life: int, order: int, event: Event) -> bool:
        """Whether the host that is up now is the one meant; a timer that was replaced fires no more."""
        if isinstance(event, TimerFired):
            if self.timers.get((device, event.key)) != order:
                return False
            del self.timers[device, event.key]
            return True
        return isinstance(event, FrameArrived | SplitCostArrived | WaveAsked) or life == self.lives[device]

    def _up(self, device: str) -> None:
        config = HostConfig(device=device, topology=self.topology, profile=self.profile, **self._settings)  # type: ignore[arg-type]
        self.hosts[device] = Host(config)
        self.lives[device] = self.lives.get(device, 0) + 1
        self.busy_until[device] = self.now_s
        self._carry_out(device, self.hosts[device].start(self.now_s))
        if self.plan is not None:
            self.push(self.now_s + self._late(), device, PlanPinned(self.plan))
        for other in self.hosts:
            if other != device:
                self.push(self.now_s + self._late(), other, PeerUp(device))
                self.push(self.now_s + self._late(), device, PeerUp(other))

    def _kill(self, device: str) -> None:
        if device not in self.hosts:
            return
        del self.hosts[device]
        self.timers = {key: n for key, n in self.timers.items() if key[0] != device}
        for other in self.hosts:
            if self.rng.random() >= self.weather.unnoticed:
                self.push(self.now_s + self._late(), other, PeerDown(device))

    def _late(self) -> float:
        return float(self.rng.uniform(0, self.weather.notice_s))

    def _send(self, dst: str, event: Event) -> None:
        if self.rng.random() < self.weather.drop:
            return
        for _ in range(2 if self.rng.random() < self.weather.duplicate else 1):
            self.push(self.now_s + float(self.rng.exponential(self.weather.spread_s)), dst, event)

    def _carry_out(self, device: str, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendFrame():
                    parcel = effect.parcel
                    if parcel.tensors and self.rng.random() < self.weather.gaps:
                        parcel = parcel._replace(missing=(Gap(parcel.tensors[0], 0, parcel.data[0].nbytes),))
                    self._send(effect.dst, FrameArrived(device, effect.frame, parcel))
                case SendSplitCost():
                    self._send(effect.dst, SplitCostArrived(device, effect.message))
                case SendAsk():
                    self._send(effect.dst, WaveAsked(effect.ask))
                case Execute():
                    took_s = self.profile.stage_s(effect.start, effect.stop) * self.topology.device(device).factor
                    self.busy_until[device] = max(self.busy_until[device], self.now_s) + took_s
                    event: Event = StageDone(effect.job, made(effect, self.parcel, self._settings), took_s)
                    if self.rng.random() < self.weather.raises:
                        event = StageRaised(effect.job, "bad luck")
                    self.push(self.busy_until[device], device, event)
                case StartTimer():
                    self.timers[device, effect.key] = self.push(effect.at_s, device, TimerFired(effect.key))
                case StopTimer():
                    self.timers.pop((device, effect.key), None)
                case Finish():
                    self.finished.setdefault((device, effect.request), []).append((self.now_s, effect))
                case Abandon():
                    pass  # this executor finishes everything it was given
