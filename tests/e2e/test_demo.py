"""`airloom demo` as a user runs it, with fewer requests."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from airloom.cli.demo import PRIVATE
from airloom.cli.main import main


def test_the_demo_runs_from_model_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--requests", "8", "--out", "demo"]) == 0
    said = capsys.readouterr().out
    for title in ("UE only", "cloud only", "best single split", "Airloom"):
        assert f"\n{title}" in said
    folder = tmp_path / "demo"
    assert (folder / "report.html").is_file()
    assert (folder / "latency.png").is_file()

    # The terminal and the report show the same figures.
    assert main(["report", "demo", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["headline"] in said
    assert [s["results"] + sum(s["errors"].values()) for s in summary["schemes"]] == [8] * 4
    # Trained weights, and every scheme the same pictures: the same answers.
    accuracies = {s["accuracy"]["value"] for s in summary["schemes"]}
    assert len(accuracies) == 1
    assert accuracies.pop() >= 0.6

    # The command that it ends with does what it says.
    assert main(["plan", "demo/profile.json", "demo/topology.yaml", "--json", "-", *shlex.split(PRIVATE)]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["stops"][0] >= 20


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
