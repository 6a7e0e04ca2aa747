"""`airloom federate`: learning that is real, at costs that are modelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airloom.cli.main import main
from airloom.federate.learned import Learned
from airloom.files import read_value

TOPOLOGY = str(Path(__file__).parents[2] / "examples" / "line4.yaml")


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """Pictures whose class is how bright they are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    x = rng.integers(0, 100, (64, 3, 32, 32), dtype=np.uint8) + (150 * labels[:, None, None, None]).astype(np.uint8)
    path = tmp_path / "bright.npz"
    np.savez(path, x=x, labels=labels)
    return str(path)


def test_federated_rounds(pictures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "learned.json"
    argv = ["federate", "fedavg", "vgg11", TOPOLOGY, "--option", "width=2", "--data", pictures, "--clients", "3"]
    argv += ["--rounds", "6", "--every", "4", "--batch", "8", "--rate", "0.1", "--seconds", "0.1", "--json", str(out)]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "accuracy (measured)" in text
    assert "costs are modelled" in text
    learned = read_value(out, Learned)
    assert [point.round for point in learned.points] == [1, 2, 3, 4, 5, 6]
    assert learned.points[-1].score >= 0.9  # brightness is not hard to learn
    assert learned.plans.merge_at == "cloud"
    for point in learned.points:
        assert 0 < point.aware.seconds <= point.standard.seconds * (1 + 1e-9)


def test_agents_of_qmix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "learned.json"
    argv = ["federate", "qmix", "two-step", TOPOLOGY, "--episodes", "60", "--epsilon-end", "1", "--seconds", "0.1"]
    argv += ["--hidden", "8", "--parameters-to", "mec", "--minimize", "energy", "--require", "latency<=10s"]
    assert main([*argv, "--json", str(out)]) == 0
    assert "mean return (measured)" in capsys.readouterr().out
    learned = read_value(out, Learned)
    assert learned.points[-1].round == 60 - 31
    assert learned.plans.aware.kept
    assert learned.plans.merge_at == "mec"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fedavg", "vgg11", TOPOLOGY, "--mixing", "vdn"], "--mixing: is of qmix"),
        (["qmix", "two-step", TOPOLOGY, "--rounds", "3"], "--rounds: is of fedavg"),
        (["qmix", "chess", TOPOLOGY], "no game 'chess'"),
        (["qmix", "two-step", TOPOLOGY, "--side", "4"], "--side: is of the meeting game"),
        (["qmix", "meeting", TOPOLOGY, "--agents", "0"], "at least 1 agent"),
        (["fedavg", "vgg11", TOPOLOGY, "--rounds", "0"], "rounds is above 0"),
        (["fedavg", "vgg11", TOPOLOGY, "--clients", "1000"], "cannot be shared out"),
        (["fedavg", "vgg11", TOPOLOGY, "--option", "width=2", "--parameters-to", "moon", "--seconds", "0.05"], "moon"),
        (["qmix", "two-step", TOPOLOGY, "--profile", str(Path(TOPOLOGY).parent / "resnet20.json")], "another model"),
    ],
)
def test_what_cannot_be_is_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["federate", *argv]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len([line for line in error.splitlines() if line.startswith("airloom: ")]) == 1
