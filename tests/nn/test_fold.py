"""Where an unrolled network repeats itself, and one measurement for all its modules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from airloom import zoo
from airloom.core.profile import Modules
from airloom.core.training import TrainingSpec
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.fold import find_modules, folded, operator_kinds
from airloom.nn.measure import measure
from airloom.nn.training.measure import measure_training


def _captured(name: str, **options: int) -> Captured:
    return capture(zoo.build(name, "random", **options), zoo.example_inputs(name, **options), name=name)


@settings(max_examples=12, deadline=None)
@given(
    steps=st.integers(3, 9),
    layers=st.integers(1, 3),
    tokens=st.sampled_from([0, 7]),
    hidden=st.integers(2, 5),
)
def test_modules_of_a_tagger(steps: int, layers: int, tokens: int, hidden: int) -> None:
    """One module a step: an embedding where there are tokens, the layers, a linear layer."""
    graph = _captured("gru_tagger", steps=steps, layers=layers, tokens=tokens, hidden=hidden, num_tags=3).graph
    modules = find_modules(graph)
    assert modules is not None
    length = layers + 1 + bool(tokens)
    assert (modules.count, modules.length) == (steps, length)
    assert modules.starts == tuple(range(1, 1 + steps * length + 1, length))
    assert modules.state_nbytes == 4 * hidden * layers
    assert modules.input_nbytes == (8 if tokens else 4 * 16)
    assert modules.output_nbytes == 4 * 3
    kinds = operator_kinds(graph)
    alike = [kinds[start:stop] for start, stop in itertools.pairwise(modules.starts)]
    assert len(set(alike)) == 1


def test_live_sets_between_modules_are_state_rest_and_tags() -> None:
    """The paper's linearisation (section VI-A): hidden state, inputs to come, outputs made."""
    graph = _captured("gru_tagger", steps=6, hidden=5, features=4, num_tags=3).graph
    modules = find_modules(graph)
    assert modules is not None
    for done, cut in enumerate(modules.starts[1:-1], 1):
        expected = modules.state_nbytes + (6 - done) * modules.input_nbytes + done * modules.output_nbytes
        assert graph.cut_nbytes(cut) == expected


def test_an_episode_of_an_agent_has_modules() -> None:
    modules = find_modules(_captured("qmix_agent", steps=5, hidden=8, features=6, actions=3).graph)
    assert modules is not None
    assert (modules.count, modules.length, modules.state_nbytes) == (5, 4, 32)


@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_blocks_with_weights_of_their_own_are_no_modules(name: str) -> None:
    assert find_modules(_captured(name, width=4).graph) is None


def test_two_steps_are_no_recurrence() -> None:
    assert find_modules(_captured("gru_tagger", steps=2).graph) is None


class Uneven(nn.Module):
    """Four equal steps, one of another form in between, five equal ones."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.other = nn.GRUCell(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for k in range(10):
            x = torch.tanh(self.other(x)) if k == 4 else self.cell(x, x).relu()
        return x


def test_the_longest_run_counts() -> None:
    graph = capture(Uneven(), (torch.zeros(1, 3),), name="uneven").graph
    modules = find_modules(graph)
    assert modules is not None
    assert (modules.count, modules.length) == (5, 2)
    assert modules.starts[-1] == graph.num_operators


def test_the_same_weights_with_other_numbers_are_told_apart() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            for k in range(6):
                x = self.linear(x) * float(k)
            return x

    assert find_modules(capture(Scaled(), (torch.zeros(1, 3),), name="scaled").graph) is None


def test_folding_makes_modules_alike_and_keeps_sums() -> None:
    times = np.arange(10.0)
    result = folded(times, Modules(starts=(1, 4, 7)))
    assert result.tolist() == [0.0, 2.5, 3.5, 4.5, 2.5, 3.5, 4.5, 7.0, 8.0, 9.0]
    assert result.sum() == times.sum()
    assert times.tolist() == list(range(10))
    assert folded(times, None) is times


def test_a_profile_has_one_measurement_for_all_modules() -> None:
    profile = measure(_captured("gru_tagger", steps=12, hidden=16), passes=5, warm_up=1, seconds_budget=0.2)
    modules = profile.modules
    assert modules is not None
    times = [
        tuple(op.compute_s for op in profile.operators[start:stop])
        for start, stop in itertools.pairwise(modules.starts)
    ]
    assert len(set(times)) == 1
    assert modules.count == 12
    assert all(seconds > 0 for seconds in times[0])
    assert len({op.spread_s for op in profile.operators[modules.starts[0] : modules.starts[-1] : modules.length]}) == 1
    macs = [op.macs for op in profile.operators[modules.starts[0] : modules.starts[1]]]
    assert macs == [3 * 16 * (16 + 16), 16 * 8]


def test_a_profile_for_training_too_but_for_the_update() -> None:
    """The first module owns the weights, and bears what updating them takes."""
    options = {"steps": 6, "hidden": 8, "num_tags": 3}
    captured = capture(
        zoo.build("gru_tagger", **options), zoo.example_inputs("gru_tagger", **options), name="gru", mode="train"
    )
    spec = TrainingSpec(label_shape=(1, 6))
    profile = measure_training(captured, spec, passes=5, warm_up=1, seconds_budget=0.2)
    modules = profile.modules
    assert modules is not None
    for k in range(modules.length):
        alike = profile.operators[modules.starts[0] + k : modules.starts[-1] : modules.length]
        assert len({op.compute_s for op in alike}) == 1
        assert len({op.backward_s for op in alike[1:]}) == 1
        assert alike[0].backward_s >= alike[1].backward_s
