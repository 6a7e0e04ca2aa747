"""Receiving halves trained under losses: they bear more, and what they are told not to touch stays."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tolerance_models import CONVOLVED, RESULT, captured, halves, samples

from airloom.core.coding import RAW, Coding, parse_coding
from airloom.core.tolerance import TunedWeights
from airloom.errors import ConfigError
from airloom.nn.tolerance import measure_cut
from airloom.nn.tolerance.receiver import Receiver, statistics
from airloom.nn.tolerance.tuning import fine_tune
from airloom.nn.tolerance.weights import read_tuned, write_tuned


def _tuned(coding: Coding = RAW, cut: int = CONVOLVED, **options: Any) -> dict[str, torch.Tensor]:
    given: dict[str, Any] = {"steps": 60, "seconds": None, "lr": 0.05, "block_bytes": 300, **options}
    return fine_tune(halves(32), cut, coding, samples(256, 5), rng=np.random.default_rng(0), **given)


def _accuracy(coding: Coding, weights: dict[str, torch.Tensor] | None = None) -> list[float]:
    receiver = halves(32) if weights is None else halves(32).tuned(weights)
    entry = measure_cut(
        receiver, samples(96, 7), CONVOLVED, coding, error_rates=(0.0, 0.6), draws=2, block_bytes=300,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return [point.accuracy for point in entry.points]


def test_a_tuned_receiver_bears_more() -> None:
    clean, lossy = _accuracy(RAW)
    tuned_clean, tuned_lossy = _accuracy(RAW, _tuned())
    assert clean == 1.0
    assert tuned_lossy > lossy + 0.05
    assert tuned_clean > 0.6


def test_weights_before_the_cut_and_statistics_stay() -> None:
    before = {name: tensor.clone() for name, tensor in captured(32).state.items()}
    weights = _tuned(steps=3)
    assert set(weights) == {"bn1.weight", "bn1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"}
    assert statistics(halves(32)) == {"bn1.running_mean", "bn1.running_var"}
    for name, tensor in captured(32).state.items():
        assert torch.equal(tensor, before[name])
    assert any(not torch.equal(weights[name], before[name]) for name in weights)
    assert set(_tuned(steps=1, trainable={"fc.bias", "conv1.weight"})) == {"fc.bias"}


def test_the_receiver_without_training_is_the_model() -> None:
    live, _ = next(halves(32).front(CONVOLVED, samples(32)))
    tensors = {t: halves(32).join(t, parts).clone() for t, parts in live.items()}
    executor = halves(32).executor
    wanted = executor.run_tensors(CONVOLVED, captured(32).graph.num_operators, tensors)
    found = Receiver(halves(32), CONVOLVED, train=True)(tensors)
    for t in wanted:
        torch.testing.assert_close(found[t].detach(), wanted[t])


def test_training_without_labels() -> None:
    assert _tuned(parse_coding("int8+structured+neighbours"), steps=2, classes=False)


def test_progress_ends_the_training() -> None:
    seen: list[int] = []

    def stop(step: int, loss: float, seconds: float) -> None:
        seen.append(step)
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _tuned(progress=stop)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(("options", "words"), [
    ({"cut": RESULT}, "nothing behind cut 8"),
    ({"cut": 12}, "no cut 12"),
    ({"error_rates": (0.5, 0.2)}, "0.5 to 0.2"),
    ({"steps": None}, "say how long"),
    ({"lr": 1e30}, "came apart"),
])  # fmt: skip
def test_training_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _tuned(**options)


def test_training_with_too_few_samples() -> None:
    with pytest.raises(ConfigError, match="16 samples to train with, and a batch has 32"):
        fine_tune(halves(32), CONVOLVED, RAW, samples(16), rng=np.random.default_rng(0), steps=1)


def test_weights_go_to_a_file_and_back(tmp_path: Path) -> None:
    weights = {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor([1e9, 1.0]), "c": torch.tensor([3], dtype=torch.int64)}
    record = write_tuned(tmp_path / "w.safetensors", 4, weights)
    assert record == TunedWeights(
        cut=4, file="w.safetensors", sha256=hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    )
    found = read_tuned(tmp_path, record)
    assert found is not None
    # What 16 bits cannot hold keeps its 32.
    assert found["a"].dtype == torch.float16
    assert found["b"].dtype == torch.float32
    assert all(torch.equal(found[name].to(tensor.dtype), tensor) for name, tensor in weights.items())
    (tmp_path / "w.safetensors").write_bytes(b"other")
    assert read_tuned(tmp_path, record) is None
    assert read_tuned(tmp_path / "absent", record) is None


def test_a_host_runs_the_tuned_weights_of_the_profile(tmp_path: Path) -> None:
    """What `write_tuned` writes is what a host's executor reads, under the coding that was measured."""
    from airloom.core.tolerance import Contract, Tolerance
    from airloom.nn.coded_executor import CodedExecutor
    from airloom.nn.executor import StageExecutor, tensor_to_bytes

    weights = _tuned(steps=2)
    record = write_tuned(tmp_path / "w.safetensors", CONVOLVED, weights)
    stored = read_tuned(tmp_path, record)
    assert stored is not None
    graph = captured(1).graph
    profile = Tolerance(
        model="small", graph_digest=graph.digest, weights_digest=captured(1).weights_digest, metric="top-1",
        clean=1.0, samples=1, tuned=(record,),
    )  # fmt: skip
    coding = parse_coding("structured+neighbours+tuned")
    host = CodedExecutor(StageExecutor(captured(1)), Contract(tolerance=profile), folder=tmp_path)
    live, _ = next(halves(32).front(CONVOLVED, samples(32)))
    data = {t: tensor_to_bytes(parts[0]) for t, parts in live.items()}
    blob = host.codec(CONVOLVED, coding).encode(data)
    received = host.codec(CONVOLVED, coding).decode(blob).data
    expected = halves(32).tuned(stored).receiver
    logits = expected.run_tensors(
        CONVOLVED, graph.num_operators, {t: halves(32).join(t, parts) for t, parts in live.items()}
    )
    found = host._tuned_executor(CONVOLVED).run(CONVOLVED, graph.num_operators, received)
    for t, tensor in logits.items():
        np.testing.assert_allclose(np.frombuffer(found[t], np.float32), tensor[0].numpy(), rtol=1e-4, atol=1e-4)
