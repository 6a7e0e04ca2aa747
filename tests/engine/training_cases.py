"""Stages of a chain, each with a trainer of its own, moved by hand: what hosts do, without hosts."""

import itertools

import numpy as np
import torch
from torch import nn

from airloom import zoo
from airloom.core.messages import Parcel
from airloom.core.profile import Machine
from airloom.core.topology import Device, Link, Topology
from airloom.core.training import LABELS, LOSS, TrainingSpec, state_id
from airloom.nn.capture import capture
from airloom.nn.measure import profile_of
from airloom.nn.training import StageTrainer
from airloom.nn.training.checkpoint import weights_of
from airloom.nn.training.loss import label_form
from airloom.nn.training.sizes import with_training


class Branches(nn.Module):
    """A residual sum, a tensor with three readers, dropout, a reused layer, and a branch without gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.norm, self.drop = nn.BatchNorm1d(6), nn.Dropout(0.4)

    def forward(self, x):
        a = self.first(x)
        b = torch.tanh(self.shared(a))
        c = self.drop(self.norm(b)) + a * 0.5
        d = self.shared(torch.relu(c)) + a.detach()
        return self.last(d * a + b)


def small(name, batch=3, **options):
    if name == "branches":
        torch.manual_seed(3)
        return capture(Branches(), (torch.randn(batch, 6),), name=name, mode="train")
    model = zoo.build(name, "random", **options)
    return capture(model, zoo.example_inputs(name, batch, **options), name=name, mode="train")


def spec_of(captured, loss="cross_entropy", **options):
    shape, dtype = label_form(captured.graph, loss)
    return TrainingSpec(loss=loss, label_shape=shape, label_dtype=dtype, **{"lr": 0.05, **options})


def batches_of(captured, spec, seed=0):
    graph = captured.graph

    def batch(step):
        rng = np.random.default_rng([seed, step])
        inputs = []
        for t in graph.inputs:
            s = graph.tensors[t]
            if s.dtype == "uint8":
                inputs.append(rng.integers(0, 256, s.shape, dtype=np.uint8))
            elif s.dtype.startswith("float"):
                inputs.append(rng.standard_normal(s.shape).astype(s.dtype))
            else:
                inputs.append(rng.integers(0, 2, s.shape).astype(s.dtype))
        out = graph.tensors[graph.outputs[0]]
        if spec.loss == "mse":
            return inputs, rng.standard_normal(out.shape).astype(out.dtype)
        return inputs, rng.integers(0, out.shape[-1], spec.label_shape)

    return batch


def raw(array):
    return memoryview(np.ascontiguousarray(array).tobytes())


class Hosts:
    """One trainer for each of `names`; `where` says which of them has which stage."""

    def __init__(self, captured, spec, names):
        self.captured, self.graph = captured, captured.graph
        self.trainers = {name: StageTrainer(captured, spec) for name in names}
        self.where, self.stages, self.step = (), (), 0

    def place(self, where, stages):
        """Move every weight and its state from where it is to where it is needed."""
        old = {w: (self.trainers[h], w) for h, s in zip(self.where, range(len(self.where)), strict=True)
               for w in self.trainers[h].sharing.owned(s)}  # fmt: skip
        before = {h: set(self.trainers[h].sharing.of_stage[s]) for s, h in enumerate(self.where)}
        moved, sent = {}, 0
        probe = StageTrainer(self.captured, next(iter(self.trainers.values())).spec)
        for stage, host in enumerate(where):
            probe.place(0, stages, stage, {})
            state = {}
            for w in probe.sharing.of_stage[stage]:
                if w not in old:
                    continue
                holder = old[w][0]
                is_owner = probe.sharing.owner[w] == stage
                if holder is self.trainers[host] or (w in before.get(host, ()) and not is_owner):
                    continue
                ids = holder.state_ids([w]) if is_owner else (state_id(w),)
                state |= holder.export(self.step, ids)
            moved[host] = state
            sent += sum(memoryview(d).nbytes for d in state.values())
        for name, trainer in self.trainers.items():
            stage = where.index(name) if name in where else -1
            if stage >= 0 or trainer.stage >= 0:
                trainer.place(self.step, stages, stage, moved.get(name, {}))
        self.where, self.stages = where, stages
        return sent

    def forward(self, batch):
        inputs, labels = batch
        data = {t: raw(x) for t, x in zip(self.graph.inputs, inputs, strict=True)}
        for host in self.where:
            data = self.trainers[host].forward(self.step, {**data, LABELS: raw(labels)})
        return float(np.frombuffer(data[LOSS], "<f8")[0])

    def backward(self):
        gradients = {}
        for host in reversed(self.where):
            gradients = self.trainers[host].backward(self.step, gradients)
        values = [self.trainers[host].update(self.step) for host in self.where]
        for stage, host in enumerate(self.where):
            borrowed = {state_id(w) for w in self.trainers[host].sharing.borrowed(stage)}
            given = {id: d for one in values for id, d in one.items() if id in borrowed}
            self.trainers[host].install(self.step, given)
        self.step += 1

    def run(self, batches, steps):
        losses = []
        for _ in range(steps):
            losses.append(self.forward(batches(self.step)))
            self.backward()
        return losses

    def weights(self):
        found = {}
        for stage, host in enumerate(self.where):
            trainer = self.trainers[host]
            own = trainer.weights()
            for w in trainer.sharing.of_stage[stage]:
                name = self.graph.parameters[w].name
                if name in found:  # replicas agree
                    assert torch.equal(found[name], own[name])
                found[name] = own[name]
        return found


def profile_for(captured, spec, *, seconds=1e-4):
    """A profile with made-up times: what sizes and owners are, not what was measured."""
    graph = captured.graph
    times = np.full(graph.num_operators, seconds)
    made = profile_of(graph, compute_s=times, spread_s=0 * times, device="ue", batch=1, machine=Machine(threads=1))
    return with_training(made, graph, spec)


def line_of(*names, rate_bps=1e9, delay_s=0.0, **factors):
    devices = tuple(
        Device(id=n, role="ue" if k == 0 else "mec", factor=factors.get(n, 1.0)) for k, n in enumerate(names)
    )
    links = [
        Link(src=a, dst=b, rate_bps=rate_bps, delay_s=delay_s)
        for x, y in itertools.pairwise(names)
        for a, b in ((x, y), (y, x))
    ]
    return Topology(devices=devices, links=tuple(links), source=names[0], sink=names[-1])


def parcel_for(captured, batch):
    inputs, labels = batch
    return Parcel((*captured.graph.live_set(0), LABELS), tuple(raw(x) for x in (*inputs, labels)))


def named(captured, parcel):
    return weights_of(captured.graph, dict(zip(parcel.tensors, parcel.data, strict=True)))
