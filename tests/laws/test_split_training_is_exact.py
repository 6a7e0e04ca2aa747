"""Split training gives the weights of training in one piece, bit for bit, also when plans change on the way.

Real trainers behind the engine's hosts, over a network without delay: activations, gradients, moved weights and
optimiser state all travel as messages.
"""

import functools

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import batches_of, line_of, named, parcel_for, profile_for, small, spec_of
from training_pump import TrainingPump

from airloom.core.messages import Mode, Parcel
from airloom.nn.training import TrainingExecutor, train_whole

STEPS = 4
HOSTS = ("ue", "gnb", "mec", "cloud")
NETWORKS = {
    "branches": {},  # dropout, batch norm, a layer used twice, a tensor read three times, a detached branch
    "resnet20": {"width": 2},
    "vgg11": {"width": 2},
    "gru_tagger": {"steps": 5},
    "gru_tagger tokens": {"steps": 4, "tokens": 7},
}
OPTIMISERS = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.5, "nesterov": True},
    "adam": {"optimizer": "adam", "lr": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1},
}


@functools.cache
def network(name):
    return small(name.split()[0], **NETWORKS[name])


@functools.cache
def in_one_piece(name, optimiser, loss):
    captured = network(name)
    spec = spec_of(captured, loss, **OPTIMISERS[optimiser])
    return spec, train_whole(captured, batches_of(captured, spec), STEPS, spec)


@st.composite
def plans(draw, operators):
    """Some of the hosts in some order, and where each stops."""
    count = draw(st.integers(1, len(HOSTS)))
    hosts = draw(st.permutations(HOSTS))[:count]
    stops = sorted(draw(st.sets(st.integers(1, operators - 1), min_size=count - 1, max_size=count - 1)))
    return tuple(hosts), (*stops, operators)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_weights_after_k_steps_are_those_of_unsplit_training(data):
    name = data.draw(st.sampled_from(sorted(NETWORKS)))
    optimiser = data.draw(st.sampled_from(sorted(OPTIMISERS)))
    loss = data.draw(st.sampled_from(["cross_entropy", "mse"]))
    captured, (spec, whole) = network(name), in_one_piece(name, optimiser, loss)
    batches = batches_of(captured, spec)
    pump = TrainingPump(line_of(*HOSTS), profile_for(captured, spec), spec, lambda d: TrainingExecutor(captured, spec))
    changes = data.draw(st.sets(st.integers(1, STEPS - 1), max_size=2))
    losses = []
    for step in range(STEPS):
        if step == 0 or step in changes:
            pump.pin(*data.draw(plans(captured.graph.num_operators)))
            assert isinstance(pump.outcomes[-1][2], Parcel), pump.outcomes[-1]
        outcome = pump.train(parcel_for(captured, batches(step)))
        assert isinstance(outcome, Parcel), outcome
        losses.append(float(np.frombuffer(outcome.data[0], "<f8")[0]))
    assert tuple(losses) == whole.losses
    found = named(captured, pump.gather())
    assert found.keys() == whole.weights.keys()
    for weight, value in whole.weights.items():
        assert torch.equal(found[weight], value), weight
    assert not any(pump.drops(host) for host in HOSTS)


def test_the_law_is_not_empty():
    """Training changes what it should: weights, running statistics, and what the seed of dropout draws."""
    captured = network("branches")
    _, whole = in_one_piece("branches", "momentum", "cross_entropy")
    for parameter in captured.graph.parameters:
        assert not torch.equal(whole.weights[parameter.name], captured.state[parameter.name]), parameter.name
    other = spec_of(captured, momentum=0.9, weight_decay=0.01, seed=1)
    assert train_whole(captured, batches_of(captured, other), STEPS, other).losses != whole.losses


@pytest.mark.parametrize("name", ["branches", "resnet20"])
def test_a_step_that_failed_anywhere_is_tried_again_from_the_same_state(name):
    captured, (spec, whole) = network(name), in_one_piece(name, "momentum", "cross_entropy")
    spec = msgspec.structs.replace(spec, attempts=8)
    batches, operators = batches_of(captured, spec), captured.graph.num_operators
    pump = TrainingPump(line_of(*HOSTS), profile_for(captured, spec), spec, lambda d: TrainingExecutor(captured, spec))
    pump.pin(("ue", "mec", "cloud"), (operators // 4, operators // 2, operators))
    # One message after the other is lost: forward, back after the last stage has updated, and the word that it is over.
    lost = [("mec", Mode.FORWARD), ("mec", Mode.BACKWARD), ("cloud", Mode.TRAINING), ("ue", Mode.FORWARD)]

    def lose(device, effect):
        if lost and lost[0] == (device, effect.frame.mode):
            lost.pop(0)
            return True
        return False

    for step in range(STEPS):
        pump.lose = lose
        outcome = pump.train(parcel_for(captured, batches(step)))
        while outcome is None:
            count = len(pump.outcomes)
            pump.wait(spec.patience_s + 1)
            outcome = pump.outcomes[-1][2] if len(pump.outcomes) > count else None
            pump.step = step + 1
        assert isinstance(outcome, Parcel), outcome
        assert float(np.frombuffer(outcome.data[0], "<f8")[0]) == whole.losses[step]
    assert not lost
    found = named(captured, pump.gather())
    assert all(torch.equal(found[k], v) for k, v in whole.weights.items())
