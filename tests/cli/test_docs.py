"""The documentation's examples are true."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import airloom
from airloom.cli.main import COMMANDS, build_parser
from airloom.config import load_run, load_topology
from airloom.core.coding import Coding
from airloom.core.depth import Block, DepthOrder
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.progressive import Configuration, DepthTable
from airloom.core.run import Phase, RunRecord, SchemeRecord
from airloom.core.simulated import LinkBandwidth, MetricTally, SchemeTally, SimulationRecord, Span
from airloom.core.tolerance import (
    Curve,
    CutTolerance,
    ErrorPoint,
    LayerTolerance,
    MapOrder,
    Tolerance,
    TunedWeights,
)
from airloom.core.trace import Event, Kind
from airloom.files import read_value
from airloom.report.beside import Beside, Pair, SchemeBeside

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOLERANCE = (Tolerance, CutTolerance, LayerTolerance, MapOrder, TunedWeights, ErrorPoint, Curve, Coding)
PROGRESSIVE = (DepthTable, Block, DepthOrder, Configuration)
SIMULATION = (SimulationRecord, SchemeTally, MetricTally, Span, LinkBandwidth)
FORMATS = (ROOT / "docs" / "formats.md").read_text()


def block(section: str, language: str) -> str:
    """The first code block of that language under a heading of docs/formats.md."""
    text = FORMATS[FORMATS.index(f"## {section}") :]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_a_profile_by_hand_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from airloom.cli.main import main

    (tmp_path / "profile.json").write_text(block("Profile", "json"))
    (tmp_path / "topology.yaml").write_text(block("Topology", "yaml"))
    assert read_value(tmp_path / "profile.json", Profile).num_operators == 3
    plan = tmp_path / "plan.json"
    assert main(["plan", str(tmp_path / "profile.json"), str(tmp_path / "topology.yaml"), "--json", str(plan)]) == 0
    assert read_value(plan, Plan).model == "by-hand"
    again = ["plan", str(tmp_path / "profile.json"), str(tmp_path / "topology.yaml"), "--dry-run", str(plan)]
    assert main(again) == 0
    capsys.readouterr()


def test_a_tolerance_profile_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "tolerance.json").write_text(block("Tolerance", "json"))
    [entry] = read_value(tmp_path / "tolerance.json", Tolerance).cuts
    assert entry.coding.name == "structured+neighbours"


def test_a_table_of_configurations_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(block("Table of configurations", "json"))
    table = read_value(tmp_path / "table.json", DepthTable)
    assert [row.name for row in table.configurations] == ["1/bits-4", "2/bits-4"]
    assert table.order.kept(1) == (0,)


def test_the_run_file_loads(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(block("Topology", "yaml"))
    (tmp_path / "run.yaml").write_text(block("Run file", "yaml"))
    run = load_run(tmp_path / "run.yaml")
    assert [c.at_s for c in run.changes] == [5.0, 8.0]


def test_the_topology_of_two_machines_loads(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "two-machines.md").read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "topology.yaml").write_text(found.group(1))
    assert [d.id for d in load_topology(tmp_path / "topology.yaml").devices] == ["ue", "server"]


def test_the_trace_line_decodes() -> None:
    line = next(line for line in FORMATS.splitlines() if line.startswith('    {"at_s"'))
    event = msgspec.json.decode(line.strip(), type=Event)
    assert json.loads(line)["kind"] == event.kind == "stage"


@pytest.mark.parametrize(("type_", "section"), [(Profile, "Profile"), (Plan, "Plan"), (RunRecord, "Run folder"),
                                               (SchemeRecord, "Run folder"), (Phase, "Run folder"),
                                               *((type_, "Run folder") for type_ in SIMULATION),
                                               *((type_, "Side by side") for type_ in (Beside, SchemeBeside, Pair)),
                                               *((type_, "Tolerance") for type_ in TOLERANCE),
                                               *((type_, "Table of conf") for type_ in PROGRESSIVE)])  # fmt: skip
def test_every_key_is_described(type_: type[msgspec.Struct], section: str) -> None:
    text = FORMATS[FORMATS.index(f"## {section}") :]
    text = text[: text.find("\n## ", 4)]
    for key in type_.__struct_fields__:
        assert f"`{key}`" in text or f'"{key}"' in text or key == "schema", f"{key} of {type_.__name__}"


def test_every_kind_of_event_is_described() -> None:
    for kind in get_args(Kind):
        assert f"| `{kind}` |" in FORMATS


def commands(text: str) -> list[list[str]]:
    """Lines of code that call airloom, as arguments."""
    lines = re.findall(r"^\s{4,}airloom (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_of_the_pages_parse(page: Path) -> None:
    for argv in commands(page.read_text()):
        if argv[0] in COMMANDS and "COMMAND" not in argv:
            build_parser(argv[0]).parse_args(argv[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http") and "docs/images/" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "getting-started.md"], ids=lambda p: p.name)
def test_python_examples_use_public_names(page: Path) -> None:
    used = {name for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
            for name in re.findall(r"airloom\.(\w+)", code)}  # fmt: skip
    assert used
    assert used <= set(airloom.__all__)


def test_cli_page_is_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_cli.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
