"""Hosts that train over a network without delay, each with a real trainer or one that makes blanks."""

from collections import deque

from airloom.core.plan import Plan, Stage
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Device, Link, Topology
from airloom.core.training import TrainingSpec
from airloom.engine.config import HostConfig
from airloom.engine.events import (
    Abandon,
    Emit,
    Execute,
    FrameArrived,
    GatherState,
    PeerDown,
    PeerUp,
    SendFrame,
    StageDone,
    StageRaised,
    StartTimer,
    StopTimer,
    TimerFired,
    Train,
    TrainingOutcome,
    TrainingPinned,
    TrainStep,
)
from airloom.engine.host import Host
from airloom.engine.messages import Parcel
from airloom.errors import AirloomError

SPEC = TrainingSpec(momentum=0.9, label_shape=(2,), patience_s=5.0, attempts=2)
L = 6


def profile(**changed):
    """Six operators in a chain; weight 0 is read by the first and the fifth, weight 5 is a buffer."""
    readers = [(0, 4), (1,), (2,), (3,), (5,), (1,)]
    weights = tuple(
        Weights(nbytes=40 + k, operators=ops, trained=k != 5, state_nbytes=0 if k == 5 else 40 + k)
        for k, ops in enumerate(readers)
    )
    return Profile(
        model="six", device="ue", graph_digest="", optimizer="sgd", basis="modelled",
        operators=tuple(OperatorCost(name=f"op{k}", compute_s=0.001, backward_s=0.002) for k in range(L)),
        cuts=tuple(
            CutSize(tensor_nbytes=(16 + k,), tensors=(k,), gradient_nbytes=((16 + k) if k else 0,))
            for k in range(L + 1)
        ),
        weights=weights, **changed,
    )  # fmt: skip


def star():
    names = ("ue", "gnb", "mec", "cloud")
    devices = tuple(Device(id=n, role="ue" if n == "ue" else "mec") for n in names)
    pairs = [("ue", "gnb"), ("gnb", "mec"), ("mec", "cloud")]
    links = [Link(src=a, dst=b, rate_bps=1e9) for x, y in pairs for a, b in ((x, y), (y, x))]
    return Topology(devices=devices, links=tuple(links), source="ue", sink="cloud")


def plan_of(profile, devices, stops, *, epoch=1, names=None):
    stages, start = [], 0
    for k, (device, stop) in enumerate(zip(devices, stops, strict=True)):
        stages.append(Stage(id=(names or {}).get(k, f"s{k}"), device=device, start=start, stop=stop))
        start = stop
    return Plan(
        model=profile.model, graph_digest=profile.graph_digest, problem_digest="", chain=tuple(devices),
        stops=tuple(stops), stages=tuple(stages), transfers=(), predicted_s=0.0, epoch=epoch,
    )  # fmt: skip


class Blanks:
    """Sizes in place of tensors."""

    def train(self, job):
        return Parcel(tuple(id for id, _ in job.makes), tuple(memoryview(bytes(n)) for _, n in job.makes))


class TrainingPump:
    """`hold(device, effect)` says which frames and jobs are put into `held`; `lose` which frames never arrive."""

    def __init__(self, topology, profile, spec, executor=None):
        self.topology, self.profile, self.spec = topology, profile, spec
        self.make = executor or (lambda device: Blanks())
        self.now_s, self.hosts, self.executors, self.timers = 100.0, {}, {}, {}
        self.outcomes, self.frames, self.jobs, self.trace, self.held = [], [], [], [], []
        self.hold = lambda device, effect: False
        self.lose = lambda device, effect: False
        self.change = lambda device, effect: effect
        self.queue, self.epoch, self.plan, self.step = deque(), 0, None, 0
        for device in topology.devices:
            self.up(device.id)

    def up(self, device):
        config = HostConfig(device=device, topology=self.topology, profile=self.profile, training=self.spec)
        host = self.hosts[device] = Host(config)
        self.executors[device], self.timers[device] = self.make(device), {}
        self.do_all(device, host.start(self.now_s))
        for other in list(self.hosts):
            if other != device:
                self.tell(other, PeerUp(device))
                self.tell(device, PeerUp(other))

    def down(self, device):
        del self.hosts[device], self.timers[device]
        for other in list(self.hosts):
            self.tell(other, PeerDown(device))

    # --- what a user does -------------------------------------------------------------------------

    def pin(self, devices, stops, *, state=None, before="last"):
        self.epoch += 1
        plan = plan_of(self.profile, devices, stops, epoch=self.epoch)
        event = TrainingPinned(plan, self.step, self.plan if before == "last" else before)
        for device in list(self.hosts):
            if device != self.topology.source:
                self.tell(device, event)
        self.tell(self.topology.source, TrainingPinned(plan, self.step, event.before, state))
        what, number, outcome = self.outcomes[-1]
        if (what, number) == ("plan", self.epoch) and isinstance(outcome, Parcel):
            self.plan = plan
        return self.outcomes[-1]

    def train(self, parcel):
        count = len(self.outcomes)
        self.tell(self.topology.source, TrainStep(self.step, parcel))
        if len(self.outcomes) > count and isinstance(self.outcomes[-1][2], Parcel):
            self.step += 1
        return self.outcomes[-1][2] if len(self.outcomes) > count else None

    def gather(self):
        self.tell(self.topology.source, GatherState(self.step))
        what, number, outcome = self.outcomes[-1]
        assert (what, number) == ("state", self.step)
        return outcome

    def wait(self, seconds):
        end = self.now_s + seconds
        while True:
            due = [(at, d, key) for d, timers in self.timers.items() for key, at in timers.items() if at <= end]
            if not due:
                break
            at, device, key = min(due, key=lambda entry: (entry[0], entry[1], str(entry[2])))
            self.now_s = max(self.now_s, at)
            del self.timers[device][key]
            self.tell(device, TimerFired(key))
        self.now_s = end

    def drops(self, device):
        return self.hosts[device].snapshot().counters

    # --- machinery --------------------------------------------------------------------------------

    def tell(self, device, event):
        self.queue.append((device, event))
        while self.queue:
            to, one = self.queue.popleft()
            if to in self.hosts:
                self.do_all(to, self.hosts[to].handle(one, self.now_s))

    def release(self):
        held, self.held = self.held, []
        for device, effect in held:
            self.do(device, effect)
        self.tell("", None)

    def do_all(self, device, effects):
        for effect in effects:
            if isinstance(effect, SendFrame):
                self.frames.append((device, effect))
                if self.lose(device, effect):
                    continue
            if isinstance(effect, Train):
                self.jobs.append((device, effect))
            if isinstance(effect, SendFrame | Train) and self.hold(device, effect):
                self.held.append((device, effect))
                continue
            self.do(device, effect)

    def do(self, device, effect):
        match effect:
            case SendFrame():
                effect = self.change(device, effect)
                self.queue.append((effect.dst, FrameArrived(device, effect.frame, effect.parcel)))
            case Train():
                try:
                    made = self.executors[device].train(effect)
                except AirloomError as error:
                    self.queue.append((device, StageRaised(effect.job, str(error))))
                else:
                    self.queue.append((device, StageDone(effect.job, made, 0.001)))
            case Abandon():
                self.held = [one for one in self.held if getattr(one[1], "job", None) != effect.job]
            case Execute():
                raise AssertionError("nobody asked for an inference")
            case StartTimer():
                self.timers[device][effect.key] = effect.at_s
            case StopTimer():
                self.timers[device].pop(effect.key, None)
            case TrainingOutcome():
                self.outcomes.append((effect.what, effect.number, effect.outcome))
            case Emit():
                self.trace.append(effect.event)
