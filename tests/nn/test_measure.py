"""Measuring: the fit, the profile it makes, and that a profile predicts."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_models import Plain

from airloom import zoo
from airloom.core.profile import Profile
from airloom.core.value import canonical_json
from airloom.errors import UserError
from airloom.files import decode_value
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.executor import StageExecutor
from airloom.nn.measure import fit_stages, measure, scaled


@functools.cache
def _captured() -> Captured:
    return capture(zoo.build("vgg11", "random", width=8), zoo.example_inputs("vgg11", 2), name="vgg11")


@functools.cache
def _profile() -> Profile:
    return measure(_captured(), device_name="here", seconds_budget=1.0)


@given(st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=20, unique=True), st.floats(0.1, 10), st.floats(0, 1e-2))
def test_fit_recovers_scale_and_constant(sums: list[float], scale: float, constant: float) -> None:
    x = np.array(sums)
    found_scale, found_constant = fit_stages(x, constant + scale * x)
    np.testing.assert_allclose(found_constant + found_scale * x, constant + scale * x, rtol=1e-5)


def test_fit_never_gives_work_away() -> None:
    # Long stages dearer than short ones by more than their length: a line would have a negative constant.
    scale, constant = fit_stages(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0]))
    assert constant == 0.0
    assert 1.0 < scale < 5 / 3
    assert fit_stages(np.array([2.0]), np.array([3.0])) == (1.5, 0.0)


def test_profile_says_what_the_graph_says() -> None:
    graph, profile = _captured().graph, _profile()
    assert profile.graph_digest == graph.digest
    assert (profile.model, profile.device, profile.batch, profile.basis) == ("vgg11", "here", 2, "measured")
    assert [c.tensors for c in profile.cuts] == list(graph.live_sets)
    assert [c.nbytes for c in profile.cuts] == [graph.cut_nbytes(c) for c in range(graph.num_operators + 1)]
    assert profile.output_nbytes == (2 * 10 * 4,)
    assert [op.macs for op in profile.operators] == [op.macs for op in graph.operators]
    for start, stop in ((0, graph.num_operators), (5, 9)):
        inside = [w.nbytes for w in profile.weights if any(start <= k < stop for k in w.operators)]
        assert sum(inside) == graph.parameter_nbytes(start, stop)
    machine = profile.machine
    assert machine.cpu
    assert machine.cores >= 1
    assert (machine.threads, machine.torch_device) == (1, "cpu")
    assert machine.torch == torch.__version__


def test_profile_is_a_file() -> None:
    profile = _profile()
    assert decode_value(canonical_json(profile), Profile, where="p") == profile


def test_times_make_sense() -> None:
    """Not the 10 % target, which wants a quiet machine: that nothing is off by a factor."""
    profile = _profile()
    assert all(op.compute_s > 0 and op.spread_s >= 0 for op in profile.operators)
    assert profile.stage_error is not None
    assert profile.stage_error < 1.0
    assert 0.3 < profile.stage_scale < 3.0
    heaviest = max(profile.operators, key=lambda op: op.compute_s)
    assert heaviest.macs > 0


def test_scaled_is_modelled() -> None:
    profile = _profile()
    slow = scaled(profile, 8.0, "phone")
    assert (slow.basis, slow.device) == ("modelled", "phone")
    last = profile.num_operators
    for start, stop in ((0, last), (3, 7)):
        assert slow.stage_s(start, stop) == pytest.approx(8 * profile.stage_s(start, stop))
    assert slow.cuts == profile.cuts
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="factor"):
            scaled(profile, factor, "phone")


def test_short_models_can_be_measured() -> None:
    one = capture(Plain(lambda m, x: x.relu()), (torch.randn(1, 4),), name="one")
    profile = measure(one, seconds_budget=0.2)
    assert profile.num_operators == 1
    assert profile.stage_error is None
    none = capture(Plain(lambda m, x: x), (torch.randn(1, 4),), name="none")
    with pytest.raises(UserError, match="no operators"):
        measure(none)


def test_artifacts_without_examples_can_be_measured() -> None:
    captured = capture(
        zoo.build("gru_tagger", "random", steps=3, tokens=5), zoo.example_inputs("gru_tagger", steps=3, tokens=5),
        name="gru",
    )  # fmt: skip
    bare = Captured(captured.graph, captured.state, captured.structure)
    seen: list[tuple[int, int]] = []
    profile = measure(
        StageExecutor(bare), passes=5, seconds_budget=1e-6, progress=lambda done, total: seen.append((done, total))
    )
    assert profile.num_operators == captured.graph.num_operators
    assert seen == [(k, 5) for k in range(1, 6)]


def test_training_graph_is_refused() -> None:
    captured = capture(Plain(lambda m, x: m.norm(x)), (torch.randn(3, 4),), name="m", mode="train")
    with pytest.raises(UserError, match="eval"):
        measure(captured)
