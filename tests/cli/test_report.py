"""`airloom report`: files, numbers, and bad input in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.units import format_percent, format_seconds


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_writes_what_was_asked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--png", str(tmp_path / "png"), "--perfetto", str(tmp_path / "t.json")]) == 0
    out = capsys.readouterr().out
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    for name in ("report.html", "latency.png", "plan.png", "topology.png", "t.json"):
        assert name in out
    assert "Best single split" in out


def test_terminal_and_json_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert not (run / "report.html").exists()
    assert main(["report", str(run)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(summary["headline"])
    lines = out[out.index("\nscheme ") :].splitlines()
    for scheme in summary["schemes"]:
        row = next(line for line in lines if line.startswith(scheme["title"]))
        assert f"{scheme['results']}/{scheme['requests']}" in row
        assert format_seconds(scheme["p50_s"]["value"]) in row
        assert format_seconds(scheme["p95_s"]["value"]) in row
        assert format_percent(scheme["accuracy"]["value"]) in row


def _refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["report", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("airloom: ")
    assert err.count("\n") == 1
    return err


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in _refused([str(tmp_path / "nowhere")], capsys)
    assert "no run.json and no .jsonl" in _refused([str(tmp_path)], capsys)


def test_garbage_trace(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "traces" / "airloom" / "mec.jsonl"
    path.write_bytes(b"\x00\xff garbage\n" + path.read_bytes())
    assert "mec.jsonl:1" in _refused([str(run)], capsys)
    assert not (run / "report.html").exists()


def test_a_killed_host(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "traces" / "airloom" / "mec.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["report", str(run)]) == 0
    assert "1 trace lines were cut short" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 99}, "schema 99"),
        ({"unheard": 1}, "unheard"),
        ({"schemes": []}, "$.schemes"),
        ({"schemes": [{"name": "../up", "title": "x"}]}, "$.schemes[0].name"),
        ({"schemes": [{"name": "gone", "title": "x"}]}, "gone"),
        ({"chain": 3}, "$.chain"),
    ],
)
def test_bad_record(run: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], said: str) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | change))
    assert said in _refused([str(run)], capsys)


def test_an_output_that_cannot_be(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "file").write_text("")
    assert "file" in _refused([str(run), "--out", str(run / "file" / "report.html")], capsys)


def test_traces_in_which_nothing_happened(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert "empty.jsonl: no event in any trace: nothing to report" in _refused([str(tmp_path / "empty.jsonl")], capsys)
    head = '{"at_s":1.0,"host":"ue","kind":"trace","data":{"schema":1}}\n'
    (tmp_path / "head.jsonl").write_text(head)
    assert "nothing to report" in _refused([str(tmp_path / "head.jsonl")], capsys)
    for file in run.rglob("*.jsonl"):
        file.write_text(head)
    assert "nothing to report" in _refused([str(run)], capsys)
    assert not (run / "report.html").exists()
