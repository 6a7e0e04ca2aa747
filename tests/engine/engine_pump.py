"""Hosts joined by a network without delay or loss, moved by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from engine_cases import blob_nbytes

from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Topology
from airloom.core.trace import Event as TraceEvent
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Effect,
    Emit,
    Event,
    Execute,
    Finish,
    FrameArrived,
    PeerDown,
    PeerUp,
    SendFrame,
    SendSplitCost,
    SplitCostArrived,
    StageDone,
    StartTimer,
    StopTimer,
    Submit,
    TimerFired,
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import BLOB, Parcel
from airloom.errors import RequestError


def sizes_of(profile: Profile) -> dict[int, int]:
    return {id: n for cut in profile.cuts for id, n in zip(cut.tensors, cut.tensor_nbytes, strict=True)}


def made(job: Execute, parcel: Callable[[tuple[int, ...]], Parcel], settings: Mapping[str, object]) -> Parcel:
    """What an executor gives back: tensors, or a blob of the coding asked for."""
    if job.encode.is_raw:
        return parcel(job.outputs)
    agreed = settings["contract"]
    assert isinstance(agreed, Contract)
    return Parcel((BLOB,), (memoryview(bytes(blob_nbytes(agreed, job.stop, job.encode))),))


class Pump:
    """Every host of a topology. Messages and stages are carried out at once, unless held.

    `hold_frames(device, SendFrame)` and `hold_stages(device, Execute)` say what is put into
    `held` in place of being carried out.
    """

    def __init__(self, topology: Topology, profile: Profile, **settings: object) -> None:
        self.topology, self.profile = topology, profile
        self.now_s = 100.0
        self.hosts: dict[str, Host] = {}
        self.timers: dict[str, dict[tuple[object, ...], float]] = {}
        self.outcomes: dict[tuple[str, int], list[Parcel | RequestError]] = {}
        self.finishes: list[Finish] = []
        self.frames: list[tuple[str, SendFrame]] = []
        self.costs: list[tuple[str, SendSplitCost]] = []
        self.stages: list[tuple[str, Execute]] = []
        self.trace: list[TraceEvent] = []
        self.held: list[tuple[str, Effect]] = []
        self.hold_frames: Callable[[str, SendFrame], bool] = lambda device, effect: False
        self.hold_stages: Callable[[str, Execute], bool] = lambda device, effect: False
        self._settings = settings
        self._sizes = sizes_of(profile)
        self._queue: deque[tuple[str, Event]] = deque()
        for device in topology.devices:
            self.up(device.id)

    # --- by hand ------------------------------------------------------------------------------

    def tell(self, device: str, event: Event) -> list[Effect]:
        """Give one event and carry out all that follows; the effects of that one are returned."""
        effects = self.hosts[device].handle(event, self.now_s) if device in self.hosts else []
        self._carry_out(device, effects)
        self._settle()
        return effects

    def release(self, device: str, effect: Effect) -> None:
        """Carry out what was held."""
        self._do(device, effect)
        self._settle()

    def wait(self, seconds: float) -> None:
        """Let time pass; timers fire in order."""
        end_s = self.now_s + seconds
        while True:
            due = [(at, d, key) for d, timers in self.timers.items() for key, at in timers.items() if at <= end_s]
            if not due:
                break
            at_s, device, key = min(due, key=lambda entry: (entry[0], entry[1], str(entry[2])))
            self.now_s = max(self.now_s, at_s)
            del self.timers[device][key]
            self.tell(device, TimerFired(key))
        self.now_s = end_s

    def down(self, device: str, *, noticed: bool = True) -> None:
        del self.hosts[device]
        del self.timers[device]
        for other in list(self.hosts) if noticed else []:
            self.tell(other, PeerDown(device))

    def up(self, device: str) -> None:
        config = HostConfig(device=device, topology=self.topology, profile=self.profile, **self._settings)  # type: ignore[arg-type]
        host = self.hosts[device] = Host(config)
        self.timers[device] = {}
        self._carry_out(device, host.start(self.now_s))
        for other in list(self.hosts):
            if other != device:
                self.tell(other, PeerUp(device))
                self.tell(device, PeerUp(other))

    def submit(self, number: int, *, source: str = "", deadline_s: float = 2.0) -> None:
        source = source or self.topology.source
        self.tell(source, Submit(number, self.parcel((0,)), self.now_s + deadline_s))

    def parcel(self, ids: tuple[int, ...]) -> Parcel:
        return Parcel(ids, tuple(memoryview(bytes(self._sizes[id])) for id in ids))

    def outcome(self, number: int, source: str = "") -> Parcel | RequestError:
        (outcome,) = self.outcomes[source or self.topology.source, number]
        return outcome

    def drops(self, device: str) -> dict[str, int]:
        return self.hosts[device].snapshot().counters

    def events(self, kind: str, host: str | None = None) -> list[TraceEvent]:
        return [e for e in self.trace if e.kind == kind and (host is None or e.host == host)]

    # --- machinery ----------------------------------------------------------------------------

    def _carry_out(self, device: str, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendFrame):
                self.frames.append((device, effect))
                if self.hold_frames(device, effect):
                    self.held.append((device, effect))
                    continue
            if isinstance(effect, Execute):
                self.stages.append((device, effect))
                if self.hold_stages(device, effect):
                    self.held.append((device, effect))
                    continue
            self._do(device, effect)

    def _do(self, device: str, effect: Effect) -> None:
        match effect:
            case SendFrame():
                self._queue.append((effect.dst, FrameArrived(device, effect.frame, effect.parcel)))
            case SendSplitCost():
                self.costs.append((device, effect))
                self._queue.append((effect.dst, SplitCostArrived(device, effect.message)))
            case Execute():
                took_s = self.profile.stage_s(effect.start, effect.stop) * self.topology.device(device).factor
                self._queue.append((device, StageDone(effect.job, made(effect, self.parcel, self._settings), took_s)))
            case StartTimer():
                self.timers[device][effect.key] = effect.at_s
            case StopTimer():
                self.timers[device].pop(effect.key, None)
            case Finish():
                self.outcomes.setdefault((device, effect.request), []).append(effect.outcome)
                self.finishes.append(effect)
            case Emit():
                self.trace.append(effect.event)

    def _settle(self) -> None:
        while self._queue:
            device, event = self._queue.popleft()
            if device in self.hosts:
                self._carry_out(device, self.hosts[device].handle(event, self.now_s))
