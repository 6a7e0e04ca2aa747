"""`airloom certs` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airloom.cli.main import main


@pytest.mark.parametrize("words", [["--hosts", "ue", "../x"], ["--hosts", "ca"], ["--hosts", "ue", "--days", "0"]])
def test_what_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["certs", str(tmp_path / "certs"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_each_host_and_of_the_operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certs", str(tmp_path / "certs"), "--hosts", "ue", "mec"]) == 0
    names = {path.name for path in (tmp_path / "certs").iterdir()}
    assert names == {f"{host}.{end}" for host in ("ca", "ue", "mec", "operator") for end in ("pem", "key")}
    assert "keep" in capsys.readouterr().out
