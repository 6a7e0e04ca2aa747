"""Split training gives the weights of training in one piece also where messages are lost, late or come twice."""

import functools
import heapq

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from training_cases import batches_of, line_of, named, parcel_for, profile_for, small, spec_of
from training_pump import TrainingPump, plan_of

from airloom.core.messages import Parcel
from airloom.engine.events import GatherState, SendFrame, TimerFired, Train, TrainingPinned, TrainStep
from airloom.nn.capture import capture
from airloom.nn.training import TrainingExecutor, train_whole

HOSTS = ("ue", "gnb", "mec")
STEPS = 4


class Tied(nn.Module):
    """A weight read at both ends, a frozen one, batch norm and dropout."""

    def __init__(self):
        super().__init__()
        self.table, self.middle, self.norm, self.drop = (
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.BatchNorm1d(6),
            nn.Dropout(0.3),
        )
        self.middle.bias.requires_grad_(False)

    def forward(self, x):
        y = torch.tanh(self.table(x))
        y = self.drop(self.norm(self.middle(y)))
        return nn.functional.linear(torch.relu(y + x), self.table.weight)


@functools.cache
def network(name):
    if name == "tied":
        torch.manual_seed(5)
        return capture(Tied(), (torch.randn(3, 6),), name=name, mode="train")
    return small(name)


@functools.cache
def in_one_piece(name, optimizer):
    captured = network(name)
    options = {"momentum": 0.9} if optimizer == "sgd" else {"optimizer": optimizer, "lr": 0.01}
    spec = spec_of(captured, attempts=300, patience_s=10.0, **options)
    return spec, train_whole(captured, batches_of(captured, spec), STEPS, spec)


class Chaos(TrainingPump):
    """A network that loses, doubles and delays messages, and executors that take their time, in order."""

    def __init__(self, rng, loss, twice, delay_s, *args):
        self.rng, self.loss, self.twice, self.delay_s = rng, loss, twice, delay_s
        self.later, self.count, self.free_s = [], 0, {}
        self.calm = True
        super().__init__(*args)

    def do(self, device, effect):
        if self.calm or not isinstance(effect, SendFrame | Train):
            return super().do(device, effect)
        if isinstance(effect, Train):
            at = self.free_s[device] = max(self.now_s, self.free_s.get(device, 0.0)) + self.rng.random() * 0.5
            return self._put(at, device, effect)
        copies = 1 + (self.rng.random() < self.twice) - (self.rng.random() < self.loss)
        for k in range(copies):
            # The first comes soon, more often than not; another may come after whole steps.
            late_s = self.rng.random() * 30.0 if k else self.rng.random() ** 4 * self.delay_s
            self._put(self.now_s + late_s, device, effect)
        return None

    def _put(self, at, device, effect):
        self.count += 1
        heapq.heappush(self.later, (at, self.count, device, effect))

    def until_over(self):
        count = len(self.outcomes)
        for _ in range(20_000):
            if len(self.outcomes) > count:
                return self.outcomes[-1][2]
            timers = [(at, d, key) for d, keys in self.timers.items() for key, at in keys.items()]
            first = min(timers, key=lambda e: (e[0], e[1], str(e[2])), default=(float("inf"),))
            if self.later and self.later[0][0] <= first[0]:
                at, _, device, effect = heapq.heappop(self.later)
                self.now_s = max(self.now_s, at)
                super().do(device, effect)
                self.tell("", None)
            else:
                self.now_s = max(self.now_s, first[0])
                del self.timers[first[1]][first[2]]
                self.tell(first[1], TimerFired(first[2]))
        raise AssertionError("nothing came of it")

    def follow(self, devices, stops):
        self.epoch += 1
        plan = plan_of(self.profile, devices, stops, epoch=self.epoch)
        event = TrainingPinned(plan, self.step, self.plan)
        for device in (*(d for d in self.hosts if d != self.topology.source), self.topology.source):
            self.tell(device, event)
        outcome = self.until_over()
        assert isinstance(outcome, Parcel), outcome
        self.plan = plan


# Word of a plan never reached a host that lost its stage by it, and got one by the next.
@example(name="tied", optimizer="sgd", seed=1113, loss=0.05, twice=0.3, delay_s=2.0)
@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["tied", "branches"]), optimizer=st.sampled_from(["sgd", "adam"]), seed=st.integers(0, 10**6),
    loss=st.sampled_from([0.0, 0.05, 0.1]), twice=st.sampled_from([0.0, 0.3]), delay_s=st.sampled_from([0.1, 2.0]),
)  # fmt: skip
def test_weights_are_those_of_training_in_one_piece_whatever_becomes_of_messages(
    name, optimizer, seed, loss, twice, delay_s
):
    rng = np.random.default_rng(seed)
    captured, (spec, whole) = network(name), in_one_piece(name, optimizer)
    batches, operators = batches_of(captured, spec), captured.graph.num_operators
    pump = Chaos(
        rng, loss, twice, delay_s, line_of(*HOSTS), profile_for(captured, spec), spec,
        lambda device: TrainingExecutor(captured, spec),
    )  # fmt: skip
    pump.calm = False
    for step in range(STEPS):
        pump.step = step
        if step == 0 or rng.random() < 0.5:
            count = int(rng.integers(1, 4))
            stops = (*sorted(rng.choice(np.arange(1, operators), count - 1, replace=False).tolist()), operators)
            pump.follow(tuple(rng.permutation(HOSTS)[:count].tolist()), stops)
        if rng.random() < 0.5:
            pump.tell("ue", GatherState(step))
            assert isinstance(outcome := pump.until_over(), Parcel), outcome
        pump.tell("ue", TrainStep(step, parcel_for(captured, batches(step))))
        assert isinstance(outcome := pump.until_over(), Parcel), outcome
        assert float(np.frombuffer(outcome.data[0], "<f8")[0]) == whole.losses[step]
    pump.tell("ue", GatherState(STEPS))
    outcome = pump.until_over()
    assert isinstance(outcome, Parcel), outcome
    found = named(captured, outcome)
    assert found.keys() == whole.weights.keys()
    for weight, value in whole.weights.items():
        assert torch.equal(found[weight], value), weight
