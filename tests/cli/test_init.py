"""`airloom init` writes files that load, and never over others."""

from __future__ import annotations

from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.config import load_run, load_topology


def test_the_files_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert main(["init", str(folder)]) == 0
    topology = load_topology(folder / "topology.yaml")
    assert (topology.source, topology.sink) == ("ue", "cloud")
    assert [d.id for d in topology.devices] == ["ue", "gnb", "mec", "cloud"]
    run = load_run(folder / "run.yaml")
    assert run.model == "resnet20"
    assert len(run.changes) == 1
    assert "airloom run" in capsys.readouterr().out
    assert all(line.count("\t") == 0 for line in (folder / "run.yaml").read_text().splitlines())


@pytest.mark.parametrize("name", ["topology.yaml", "run.yaml"])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert name in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
