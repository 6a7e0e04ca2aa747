"""`airloom elastic table` as a user meets it: what it prints, writes, keeps when stopped, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from airloom.cli.main import main
from airloom.core.progressive import DepthTable
from airloom.files import read_value
from airloom.nn.elastic import elastic
from airloom.nn.elastic.files import ElasticRecord, save_elastic

FACTORY = """
import torch
from torch import nn

class Residual(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(maps, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)

def net(blocks=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), *(Residual(6) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)), (torch.zeros(1, 1, 8, 8),)

def sure(outputs, labels):
    return outputs.softmax(1)[range(len(labels)), labels].numpy()
"""
MODEL = "table_net:net"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory, its elastic weights and test samples."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "table_net.py").write_text(FACTORY)
    scope: dict[str, Any] = {}
    exec(FACTORY, scope)
    module, example = scope["net"]()
    model = elastic(module.eval(), (torch.zeros(2, 1, 8, 8),))
    assert example[0].shape == (1, 1, 8, 8)
    save_elastic(folder / "net.safetensors", model, ElasticRecord(model=MODEL))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 1, 8, 8), dtype=np.float32)
    np.savez(folder / "test.npz", x=x, labels=rng.integers(0, 3, 20))
    return folder


@pytest.fixture(autouse=True)
def _folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("table_net.py", "net.safetensors", "test.npz"):
        (tmp_path / file).symlink_to(made / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")


def run(*options: str) -> int:
    common = ["elastic", "table", MODEL, "--weights", "net.safetensors", "--data", "test.npz"]
    return main([*common, "--latency-seconds", "0", *options])


def test_two_grids_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--precisions", "fp32,bits-4", "--depths", "1,3", "--plot", "plots/table.png") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    table = read_value(Path("table.json"), DepthTable)
    assert [c.name for c in table.configurations] == ["1/fp32", "3/fp32", "1/bits-4", "3/bits-4"]
    assert lines[0] == "net: 3 blocks, left out from the back; 20 samples"
    assert lines[3].split() == ["blocks", "MACs", "fp32", "bits-4"]
    assert lines[7] == "over the link, from nothing"
    assert lines[-2].startswith("the first ")
    assert lines[-1] == "wrote table.json and plots/table.png"
    assert all("measured before" not in line for line in err.splitlines())
    assert Path("plots/table.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(Path().glob(".*.part"))


def test_json_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--precisions", "int8", "--json", "--out", "t.json", "--name", "mine") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("t.json").read_text())
    assert printed["model"] == "mine"
    assert printed["samples"] == 20
    assert [c["depth"] for c in printed["configurations"]] == [1, 2, 3]


def test_stopped_and_run_again_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from airloom.nn.elastic import table as module

    real, calls = module.measure_accuracy, 0

    def stopped(*args: Any, **kwargs: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "measure_accuracy", stopped)
    assert run("--precisions", "fp32,int8", "--out", "parts.json") == 130
    assert not Path("parts.json").exists()
    monkeypatch.setattr(module, "measure_accuracy", real)
    capsys.readouterr()
    assert run("--precisions", "fp32,int8", "--out", "parts.json") == 0
    assert "4 of 6 configurations were measured before: .parts.json.part has them" in capsys.readouterr().err
    assert not Path(".parts.json.part").exists()
    assert run("--precisions", "fp32,int8", "--out", "whole.json") == 0
    assert "measured before" not in capsys.readouterr().err
    assert Path("parts.json").read_bytes() == Path("whole.json").read_bytes()


def test_a_score_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--precisions", "fp32", "--depths", "3", "--score", "table_net:sure") == 0
    assert "table_net:sure in per cent" in capsys.readouterr().out
    [row] = read_value(Path("table.json"), DepthTable).configurations
    assert row.accuracy is not None
    assert 0.2 < row.accuracy < 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--depths", "7"), "--depths: no depth 7: there are 1, 2, 3"),
        (("--precisions", "int8,fp8"), "--precisions: no precision 'fp8'"),
        (("--samples", "0"), "--samples: at least 1, got 0"),
        (("--latency-seconds", "-1"), "--latency-seconds: 0 s or more, got -1"),
        (("--out", "."), "--out: . is a folder: name a file"),
        (("--data", "none.npz"), "none.npz: cannot read"),
        (("--weights", "test.npz"), "test.npz: not weights of an elastic network"),
    ],
)
def test_refused_in_a_line(options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*options) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(" ...")]
    assert len(err) == 1
    assert says in err[0]


def test_samples_of_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("other.npz", x=np.zeros((4, 3, 8, 8), np.float32), labels=np.zeros(4, np.int64))
    assert run("--data", "other.npz") == 2
    assert "other.npz: the input has rows of [3, 8, 8] of float32" in capsys.readouterr().err
    np.savez("classes.npz", x=np.zeros((4, 1, 8, 8), np.float32), labels=np.full(4, 9))
    assert run("--data", "classes.npz") == 2
    assert "label 9 of sample 0 is none of the 3 classes" in capsys.readouterr().err


def test_a_model_that_brings_neither_weights_nor_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["elastic", "table", "vgg11"]) == 2
    assert "no elastic weights are bundled for vgg11" in capsys.readouterr().err
    assert main(["elastic", "table", "nothing"]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err
    assert main(["elastic", "table", MODEL, "--weights", "net.safetensors"]) == 2
    assert "measured with which samples?" in capsys.readouterr().err
