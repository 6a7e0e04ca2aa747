"""What `airloom capture` and `airloom profile` print and write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.core.profile import Profile
from airloom.files import read_value


def test_capture_shows_every_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "gru_tagger", "--option", "steps=3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gru_tagger: 8 operators, ")
    assert "float32 1x3x16" in out
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == [str(k) for k in range(9)]
    assert "192 B" in out
    assert "agree bit for bit" in out


def test_capture_of_a_long_model_is_summarised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "resnet20"]) == 0
    short = capsys.readouterr().out
    assert "more cuts" in short
    assert main(["capture", "resnet20", "--all"]) == 0
    whole = capsys.readouterr().out
    assert "more cuts" not in whole
    assert len(whole.splitlines()) > 78 > len(short.splitlines())
    assert "3.00 KiB" in short  # uint8 pixels, not 12 KiB of float32


def test_capture_json_and_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "artifact"
    argv = ["capture", "vgg11", "--option", "width=4", "--batch", "2", "--out", str(folder), "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == ["uint8 2x3x32x32"]
    assert len(found["cuts"]) == len(found["operators"]) + 1
    assert found["cuts"][0] == {"cut": 0, "bytes": 6144, "tensors": [0]}
    assert main(["capture", str(folder), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["graph_digest"] == found["graph_digest"]
    assert again["weights_digest"] == found["weights_digest"]


def test_profile_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["profile", "gru_tagger", "--option", "steps=3", "--seconds", "0.1"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "wrote profile.json" in out
    assert "(measured)" in out
    profile = read_value(tmp_path / "profile.json", Profile)
    assert profile.num_operators == 8
    assert profile.basis == "measured"

    assert main([*argv, "--factor", "4", "--device", "phone", "--out", "phone.json", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["device"], printed["basis"]) == ("phone", "modelled")
    assert read_value(tmp_path / "phone.json", Profile).device == "phone"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["capture", "resnet21"], "no model 'resnet21'"),
        (["capture", "resnet20", "--option", "width"], "expected name=number"),
        (["capture", "resnet20", "--batch", "0"], "batch is at least 1"),
        (["profile", "resnet20", "--weights", "/nowhere"], "/nowhere: cannot read"),
        (["profile", "gru_tagger", "--option", "steps=2", "--torch-device", "nonsense"], "torch device 'nonsense'"),
        (["profile", "gru_tagger", "--option", "steps=2", "--threads", "0"], "threads is at least 1"),
        (["profile", "gru_tagger", "--option", "steps=2", "--seconds", "0.1", "--factor", "-1"], "factor"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    argv: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = [line for line in err.splitlines() if not line.endswith(" ...")]
    assert line.startswith("airloom: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seconds", "0"], "measure for some seconds above 0, got 0"),
        (["--seconds", "-3"], "measure for some seconds above 0, got -3"),
        (["--seconds", "nan"], "measure for some seconds above 0"),
        (["--device", "../x"], "a device is called by up to 64 letters"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["profile", "no such model", "--out", str(tmp_path / "p.json"), *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_torch_device_that_computes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["profile", "gru_tagger", "--option", "steps=2", "--torch-device", "meta", "--out", str(tmp_path / "p.json")]
    assert main(argv) == 2
    assert "torch device 'meta': it computes nothing: name cpu or cuda" in capsys.readouterr().err
