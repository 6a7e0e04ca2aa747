"""`airloom tolerance` as a user meets it: what it prints, what it keeps, how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airloom.cli.main import main
from airloom.core.tolerance import Tolerance
from airloom.files import read_value
from airloom.nn.tolerance.partial import Ledger

FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(96, 3)), (torch.zeros(1, 1, 12, 12),)

def sure(outputs, labels):
    return (outputs.softmax(1)[range(len(labels)), labels]).numpy()
"""
MODEL = "tolerance_net:net"
QUICK = ("--cuts", "3", "--rates", "0,0.5", "--draws", "2", "--block-bytes", "300")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "tolerance_net.py").write_text(FACTORY)
    write("test.npz", 20, 0)
    return tmp_path


def write(name: str, count: int, seed: int, **arrays: Any) -> None:
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((count, 1, 3, 3), dtype=np.float32))
    x = F.interpolate(coarse, size=12, mode="bilinear").numpy()
    np.savez(name, **{"x": x, "labels": rng.integers(0, 3, count), **arrays})


def run(*options: str) -> int:
    return main(["tolerance", MODEL, "--data", "test.npz", *QUICK, *options])


def test_a_table_a_cut_and_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--codings", "raw,structured+neighbours", "--floor", "0.1") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("20 samples of test.npz")
    assert out[1] == "top-1 in per cent at each share of blocks lost"
    assert out[3] == "cut 3"
    assert out[4].split()[:4] == ["coding", "errors", "bytes", "blocks"]
    assert out[4].endswith("at 0 %  at 50 %  bears at 10 %")
    assert [line.split()[:2] for line in out[5:7]] == [["raw", "300"], ["structured+neighbours", "300"]]
    assert out[-1] == "wrote tolerance.json"
    profile = read_value(Path("tolerance.json"), Tolerance)
    assert [entry.coding.name for entry in profile.cuts] == ["raw", "structured+neighbours"]
    assert profile.data == "test.npz"
    assert not Path(".tolerance.json.part").exists()


def test_json_plots_layers_and_a_score(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--codings", "raw", "--pattern", "burst,random", "--federated", "--score", "tolerance_net:sure")
    assert run(*options, "--plots", "plots", "--json", "--out", "other/t.json") == 0
    profile = read_value(Path("other/t.json"), Tolerance)
    assert profile.metric == "tolerance_net:sure"
    assert {entry.pattern for entry in profile.cuts} == {"burst", "random"}
    assert {layer.kind for layer in profile.layers} >= {"convolution", "norm", "linear"}
    assert '"metric": "tolerance_net:sure"' in capsys.readouterr().out
    assert sorted(path.name for path in Path("plots").iterdir()) == [
        "cut-3.png", "layers-burst.png", "layers-random.png",
    ]  # fmt: skip
    assert run(*options) == 0
    assert "norm" in capsys.readouterr().out


def test_stopped_it_goes_on_where_it_was(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from airloom.nn.tolerance import profile as module

    measured: list[str] = []
    whole = module.measure_cut

    def stops(*args: Any, **options: Any) -> Any:
        if len(measured) == 1:
            raise KeyboardInterrupt
        measured.append(args[3].name)
        return whole(*args, **options)

    monkeypatch.setattr(module, "measure_cut", stops)
    assert run("--codings", "raw,random") == 130
    assert "airloom: interrupted" in capsys.readouterr().err
    assert Path(".tolerance.json.part").exists()
    assert not Path("tolerance.json").exists()
    measured.clear()
    # With other settings nothing of it is used; with the same, what is there is.
    assert Ledger(Path("tolerance.json"), "others").kept.cuts == ()
    assert run("--codings", "raw,random") == 0
    assert measured == ["random"]
    assert "1 of 2 curves were measured before" in capsys.readouterr().err
    assert not Path(".tolerance.json.part").exists()


def test_a_damaged_ledger_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".tolerance.json.part").write_text("{")
    assert run("--codings", "raw") == 0


def test_training_writes_weights_beside_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    write("train.npz", 64, 1)
    assert run("--codings", "raw", "--fine-tune", "0.5", "--train", "train.npz") == 0
    profile = read_value(Path("tolerance.json"), Tolerance)
    assert [entry.coding.name for entry in profile.cuts] == ["raw", "tuned"]
    [record] = profile.tuned
    assert record.cut == 3
    assert Path(record.file).name == record.file == "tolerance.cut3.safetensors"
    assert Path(record.file).is_file()


BAD = {
    "no data": (("--data",), "absent.npz: cannot read"),
    "cut": (("--cuts", "99"), "--cuts: no cut 99"),
    "cut that is none": (("--cuts", "x"), "--cuts: expected whole numbers, got 'x'"),
    "rate": (("--rates", "0,1.5"), "--rates: an error rate is from 0 to 1, got 1.5"),
    "rate that is none": (("--rates", "nan"), "--rates: an error rate is from 0 to 1, got nan"),
    "coding": (("--codings", "raw,best"), "'best' is no coding"),
    "pattern": (("--pattern", "bursts"), "--pattern: expected burst or random, got 'bursts'"),
    "draws": (("--draws", "0"), "--draws: at least 1, got 0"),
    "floor": (("--floor", "86"), "--floor: an accuracy is from 0 to 1, got 86"),
    "tuned without training": (("--codings", "random+tuned"), "needs training: --fine-tune"),
    "training without samples": (("--fine-tune", "5"), "--fine-tune: takes seconds above 0, and samples"),
    "samples without training": (("--train", "test.npz"), "--train: samples to train with, and no time to"),
    "trained on the test": (("--fine-tune", "5", "--train", "test.npz"), "test.npz: 20 of the test samples are in it"),
    "blocks": (("--block-bytes", "50"), "blocks of 50 bytes are too small"),
    "score": (("--score", "tolerance_net:absent"), "--score tolerance_net:absent"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, words = BAD[name]
    options = ("--data", "absent.npz") if options == ("--data",) else options
    assert run(*options) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("airloom:")]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(("arrays", "words"), [
    ({"labels": np.zeros(3, int)}, "3 labels, and rows of x 4: give each sample its label"),
    ({"labels": np.array([0, 1, 7, 0])}, "label 7 of sample 2 is none of the 3 classes"),
    ({"x": np.zeros((4, 1, 5, 5), np.float32)}, "rows of [1, 5, 5] of float32"),
    ({"x": np.full((4, 1, 12, 12), np.nan, np.float32)}, "sample 0 has values that are no numbers"),
    ({"x": np.zeros((0, 1, 12, 12), np.float32), "labels": np.zeros(0, int)}, "no samples"),
])  # fmt: skip
def test_bad_data_is_one_line(arrays: dict[str, np.ndarray], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("bad.npz", 4, 0, **arrays)
    assert run("--data", "bad.npz") == 2
    assert "airloom: bad.npz: " in (error := capsys.readouterr().err)
    assert words in error


def test_data_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("bad.npz", x=np.zeros(3))
    assert run("--data", "bad.npz") == 2
    assert "one called `labels`, found x" in capsys.readouterr().err
    Path("bad.npz").write_text("no arrays")
    assert run("--data", "bad.npz") == 2
    assert "not arrays of numbers" in capsys.readouterr().err


def test_a_model_without_samples_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tolerance", MODEL]) == 2
    assert "brings none: --data FILE.npz" in capsys.readouterr().err
    assert main(["tolerance", "no-such-model"]) == 2
    assert "no model 'no-such-model'" in capsys.readouterr().err


def test_labels_of_another_order_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    from airloom import zoo

    images, labels = zoo.test_images()
    np.savez("shuffled.npz", x=images[:60], labels=np.roll(labels[:60], 7))
    assert main(["tolerance", "resnet20", "--data", "shuffled.npz", *QUICK[2:], "--cuts", "60"]) == 2
    captured = capsys.readouterr()
    [line] = captured.err.strip().splitlines()[-1:]
    assert "guessing on 10.0%" in line
    assert not Path("tolerance.json").exists()


def test_features_that_are_nan_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (
        FACTORY.replace("nn.ReLU()", "Root()")
        + "\n\nclass Root(nn.Module):\n    def forward(self, x): return x.sqrt()\n"
    )
    (tmp_path / "tolerance_nan.py").write_text(text)
    assert main(["tolerance", "tolerance_nan:net", "--data", "test.npz", *QUICK]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "NaN" in line
    assert "cut 3" in line
