"""docs/objectives.md: its commands do what it shows, its files load."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.config import load_run, parse_topology

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objectives.md").read_text()


def commands() -> list[tuple[str, str]]:
    """Every command, and the block of text that follows before the next one, "" for none."""
    _, *parts = re.split(r"^    airloom ", PAGE, flags=re.MULTILINE)
    found = []
    for part in parts:
        block = re.search(r"```text\n(.*?)```", part, re.DOTALL)
        found.append((part.splitlines()[0], block.group(1) if block else ""))
    return found


def test_the_commands_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    shown = 0
    for command, block in commands():
        code = main(shlex.split(command))
        out, err = capsys.readouterr()
        err = "".join(line for line in err.splitlines(keepends=True) if not line.endswith(" ...\n"))  # slow machines
        came = (out + err).strip().splitlines()
        assert (code == 0) == (err == ""), command
        if not block:
            continue
        shown += 1
        expected = block.strip().splitlines()
        if command.startswith("simulate"):
            # How many bytes hosts say to each other is no promise of this page.
            came, expected = (lines[lines.index("", 4) + 1 :] for lines in (came, expected))
        assert came == expected, command
    assert shown == 4


def test_a_plan_that_is_pinned_for_its_bounds_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    run = ["simulate", "examples/objectives_run.yaml", "--requests", "2"]
    two = [f"--require={bound}" for bound in ("latency<=50ms", "energy<=2 J")]
    for bounds, pinned in ((two, False), ([*two, "--require=bytes<=3 MiB"], True)):
        assert main([*run, *bounds, "--out", str(tmp_path / str(pinned))]) == 0
        assert ("more than 2 bounds: planned under the objective" in capsys.readouterr().out) == pinned


def test_the_files_load(tmp_path: Path) -> None:
    topology, run = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    ends = "source: ue\nsink: cloud\nlinks: [{from: ue, to: cloud, rate: 1 Mbit/s, both: true}]\n"
    ue, cloud = parse_topology(topology + ends).devices
    assert ue.power.send_w[-1] == (41e6, 4.6)
    assert cloud.price_per_s > 0
    for name in ("objectives.yaml", "resnet20.json"):
        (tmp_path / name).symlink_to(ROOT / "examples" / name)
    (tmp_path / "run.yaml").write_text(run)
    written = load_run(tmp_path / "run.yaml").objective
    assert written is not None
    # The example has the same objective.
    assert load_run(ROOT / "examples" / "objectives_run.yaml").objective == written
