"""The experiment's own arithmetic, and its whole run on a tiny network without data."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[1] / "experiments" / "neuromessenger"


@pytest.fixture(autouse=True, scope="module")
def _path() -> None:
    sys.path.insert(0, str(FOLDER))


class Tiny(nn.Module):
    """A convolution, its activation and pooling, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(torch.max_pool2d(torch.relu(self.conv(x.float() / 255)), 2).flatten(1))
        return y


def test_a_message_of_n_blocks_takes_n_slots_and_a_round_trip_for_the_last_loss() -> None:
    from link import deliver

    rng = np.random.default_rng(0)
    assert (deliver(40, (0.0,), rng=rng).slots == 40).all()
    always_second = deliver(40, (1.0, 0.0), attempts=16, rng=rng, round_trip=8)
    # Every block twice; the feedback of the last new one is waited for only where nothing else is left to send.
    assert (always_second.sent == 80).all()
    assert (always_second.missing == 0).all()
    assert 80 <= always_second.slots.max() <= 88


def test_independent_attempts_cost_one_over_one_minus_p() -> None:
    from link import deliver, independent

    found = deliver(100, independent(0.5), attempts=16, messages=400, rng=np.random.default_rng(1))
    assert found.sent.mean() == pytest.approx(200, rel=0.03)


def test_no_more_is_left_missing_than_allowed_and_the_end_is_not_waited_for() -> None:
    from link import deliver

    found = deliver(100, (0.9, 0.0), attempts=16, allowed=30, rng=np.random.default_rng(2))
    assert found.missing.max() <= 30
    assert found.missing.mean() > 26
    assert found.sent.mean() == pytest.approx(190 - found.missing.mean(), rel=0.02)
    assert (found.slots - found.sent).mean() < 1  # idle slots
    assert (deliver(100, (0.9,), attempts=1, rng=np.random.default_rng(2)).slots == 100).all()


def test_losses_for_the_network_are_those_of_the_link() -> None:
    from evaluate import Losses
    from link import deliver

    losses = Losses((0.7, 0.3, 0.0), attempts=2, tolerable=0.25)
    rng = np.random.default_rng(3)
    lost = losses.draw(np.full(2000, 40), rng).sum(1)
    simulated = deliver(40, losses.failure, attempts=2, allowed=10, messages=2000, rng=rng).missing
    assert lost.mean() == pytest.approx(simulated.mean(), rel=0.03)
    assert losses.draw(np.array([3, 40]), rng)[0, 3:].sum() == 0


def test_attempts_of_eq_1() -> None:
    from link import attempts_for

    assert attempts_for((0.8,), 0.8) == 1
    assert attempts_for((0.8,), 0.5) == 4  # 0.8**4 = 0.41; the paper's F(0.8, 0.5) = 2 is of its own link
    assert attempts_for((0.8, 0.1), 0.1) == 2


def test_word_errors() -> None:
    from speech import decode_greedy, word_error_rate, word_errors

    assert word_errors("A B C", "A C") == 1
    assert word_errors("A B", "A X B Y") == 2
    assert word_error_rate(["ONE TWO", "THREE"], ["ONE", "THREE"]) == pytest.approx(1 / 3)
    steps = torch.nn.functional.one_hot(torch.tensor([[2, 2, 0, 2, 1, 3]]), 28).float()
    assert decode_greedy(steps) == ["AA B"]


def test_speech_network_is_captured_and_its_grus_are_one_operator_each() -> None:
    from speech import NUM_FRAMES, NUM_MELS, DeepSpeech2

    from airloom.nn.capture import capture

    graph = capture(DeepSpeech2(maps=2, hidden=4), (torch.zeros(1, 1, NUM_MELS, NUM_FRAMES),), name="s").graph
    assert [op.target for op in graph.operators].count("aten.gru.input") == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tiny_network_goes_through_the_whole_run(tmp_path: Path) -> None:
    from cutwork import Effort
    from link import independent
    from run import measure, report
    from subjects import Cut, Data, Subject

    from airloom.nn.tolerance import Samples, top1

    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = Tiny().eval()
    with torch.no_grad():  # every class is about as frequent
        model.fc.bias -= model(torch.from_numpy(rng.integers(0, 256, (200, 3, 8, 8), dtype=np.uint8))).mean(0)

    def samples(count: int) -> Samples:
        x = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
        with torch.no_grad():
            return Samples((x,), model(torch.from_numpy(x)).argmax(1).numpy())

    subject = Subject(
        name="vgg11", title="tiny", cuts=(Cut("conv.conv2d", "layer 1"),), prbs=3, build=Tiny,
        example=lambda n: torch.zeros(n, 3, 8, 8, dtype=torch.uint8), score=top1,
        messages=16, every_layer=True, maps_of=("relu", "max_pool2d"),
    )  # fmt: skip
    effort = Effort(
        rates=(0.2, 0.5, 0.8, 0.95), calibration=40, draws=1, samples=20, seeds=2, blers=(0.3, 0.9), tune_steps=2,
        messages=5,
    )  # fmt: skip
    data = Data(samples(32), samples(40), samples(40))
    measure(subject, model, data, effort, tmp_path, failures=independent)
    report(tmp_path, tmp_path / "out" / "results.json")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (cut,) = results["cuts"]
    # Labels are the model's own answers, so nothing is lost where nothing is lost.
    assert cut["test_clean"] == 1.0
    assert cut["schemes"]["pruned_harq"]["points"][0]["drop"] == 0.0
    assert cut["schemes"]["raw"]["points"][-1]["drop"] > 0.2
    assert cut["schemes"]["pruned"]["nbytes"] < cut["schemes"]["raw"]["nbytes"]
    assert "Table I" in (tmp_path / "out" / "tables.md").read_text()
    for name in ("fig5", "fig11", "fig16"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 1000
