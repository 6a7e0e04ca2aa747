"""`airloom elastic train`: from samples in a file to weights in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from airloom.cli.main import main

FACTORY = """\
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return x + torch.relu(self.norm(self.inner(x)))

def make():
    layers = [nn.Linear(4, 8), *(Block() for _ in range(3)), nn.Linear(8, 3)]
    return nn.Sequential(*layers), (torch.zeros(2, 4),)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    name = f"elastic_factory_{os.getpid()}_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((96, 4), dtype=np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=x[:, :3].argmax(1))
    (tmp_path / "name").write_text(f"{name}:make")
    return tmp_path


def _train(folder: Path, *options: str) -> int:
    model = (folder / "name").read_text()
    given = ["elastic", "train", model, "--data", "data.npz", "--epochs", "2", "--batch", "32", *options]
    return main(given)


def test_from_samples_to_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(folder, "--policy", "sandwich", "--test", "data.npz", "--out", "w.safetensors") == 0
    out = capsys.readouterr().out
    assert "trained" in out
    assert "wrote w.safetensors" in out
    assert (folder / "w.safetensors").is_file()
    assert not (folder / "w.checkpoint.safetensors").exists()
    # And on from there, for users who are here today.
    options = ("--weights", "w.safetensors", "--distill-from", "w.safetensors", "--soft", "0.5")
    assert _train(folder, *options, "--policy", "coml-0.5", "--json", "--out", "v.safetensors") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained_a_step"] == pytest.approx([0.25, 0.25, 0.5])
    assert len(found["history"]) == 2


def test_policies_of_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rates.txt").write_text("0 0.02\n1 0.055\n2 10\n")
    options = ("--policy", "throughput", "--rates", "rates.txt", "--deadline", "200ms", "--even", "0", "--json")
    assert _train(folder, *options) == 0
    found = json.loads(capsys.readouterr().out)["trained_a_step"]
    # fp32 bytes of 67 weights in the base and 88 in a block: 620, 972 and 1324. By the deadline 0.02 Mbit/s brings 500
    # (the smallest is late, but what is sent), 0.055 brings 1375.
    assert found == pytest.approx([1 / 3, 0, 2 / 3])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--policy", "best"], "no policy 'best'"),
        (["--policy", "coml-0.5", "--order", "groups"], "--order"),
        (["--policy", "throughput", "--deadline", "1s"], "--rates FILE or --rate"),
        (["--policy", "throughput", "--rate", "1Mbit/s"], "--deadline"),
        (["--policy", "demand", "--demands", "0.5"], "--table"),
        (["--deadline", "1s"], "--deadline"),
        (["--served-as", "fp8"], "--served-as"),
        (["--depths", "1-x"], "--depths"),
        (["--depths", "7"], "--depths"),
        (["--others", "0.5"], "--others"),
        (["--soft", "0.5"], "--soft"),
        (["--policy", "sandwich", "--soft", "2"], "--soft"),
        (["--lr", "0"], "--lr"),
        (["--weight-decay", "-1"], "--weight-decay"),
        (["--augment", "crop-flip"], "uint8 pictures"),
        (["--loss", "mse"], "a label is"),
        (["--out", "."], "--out"),
    ],
)
def test_bad_options_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert _train(folder, *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("airloom: ")
    assert says in error


def test_samples_of_another_form_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "data.npz", x=np.zeros((96, 5), np.float32), labels=np.zeros(96, np.int64))
    assert _train(folder) == 2
    assert "the model takes [4] of float32" in capsys.readouterr().err


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = (folder / "name").read_text()
    given = ["elastic", "train", model, "--data", "data.npz", "--epochs", "100000", "--batch", "32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "airloom.cli.main", *given, "--out", "w.safetensors"], cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    checkpoint = folder / "w.checkpoint.safetensors"
    end = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "go on with --resume" in error
    assert checkpoint.exists()
    assert not (folder / "w.safetensors").exists()
    assert main([*given, "--out", "w.safetensors"]) == 2
    assert "--resume" in capsys.readouterr().err
