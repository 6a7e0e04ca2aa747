"""`airloom simulate SCENARIO` and what `airloom report` makes of it: whole commands, without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.files import write_value

SCENARIO = """\
name: two cells
model: toy
profile: toy.json
seed: 3
duration: 20 s
deadline: 2 s
tasks: {every: 250 ms}
coherence: 50 ms
area: [700 m, 300 m]
topology:
  source: ue
  sink: cloud
  devices:
    - {id: ue, role: ue, speed: 0.05, power: {busy: 3 W, radio_per_bit: 100 nJ, source: assumed}}
    - {id: a, role: gnb, speed: 0.5}
    - {id: b, role: gnb, speed: 0.5}
    - {id: cloud, role: cloud}
  links:
    - {from: a, to: cloud, rate: 50 Mbit/s, delay: 5 ms, both: true}
    - {from: b, to: cloud, rate: 50 Mbit/s, delay: 5 ms, both: true}
cell:
  capacity: 60 Mbit/s
  delay: 1 ms
  radio: {carrier: 3.5 GHz, bandwidth: 40 MHz, scs: 30 kHz}
  background: {users: 2, rate: 8 Mbit/s}
cells:
  - {device: a, at: [100 m, 100 m]}
  - {device: b, at: [500 m, 100 m]}
ues:
  - {id: ue, path: [[60 m, 100 m], [540 m, 100 m]], speed: 200 km/h}
links:
  - {link: a->cloud, kind: wired, background: {users: 3, rate: 6 Mbit/s}, both: true, label: A,
     published: [20 Mbit/s, 5 Mbit/s]}
"""
RUN = """\
model: toy
topology: topology.yaml
profile: toy.json
"""
TOPOLOGY = """\
source: ue
sink: mec
devices: [{id: ue, role: ue, speed: 0.1}, {id: mec, role: mec}]
links: [{from: ue, to: mec, rate: 10 Mbit/s, both: true}]
"""
PROFILE = Profile(
    model="toy",
    device="this",
    graph_digest="sha256:1",
    operators=tuple(OperatorCost(name=f"op{k}", compute_s=0.002) for k in range(4)),
    cuts=tuple(CutSize(tensor_nbytes=(n,)) for n in (20_000, 6_536, 3_768, 1_384, 40)),
    output_nbytes=(40,),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    (tmp_path / "run.yaml").write_text(RUN)
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    write_value(tmp_path / "toy.json", PROFILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_schemes_of_a_scenario_and_the_report_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "scenario.yaml", "--scheme", "all", "--out", "sim"]) == 0
    said = capsys.readouterr().out
    assert "toy over two cells: 1 UE, mid load, " in said
    for words in ("UE only", "cloud only", "single split", "Airloom's mean latency is", "80/80", "published"):
        assert words in said
    assert "20.0 Mbit/s ± 5.00 Mbit/s" in said
    assert "Every figure is modelled, but for what is called published." in said
    assert "modelled: ue: 20 times as slow as the profile's machine" in said
    assert main(["report", "sim"]) == 0
    assert "placement over time" in Path("sim/report.html").read_text().lower()
    assert "UE bandwidth, modelled" in capsys.readouterr().out


def test_options_stand_in_place_of_what_the_scenario_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--ues",
        "3",
        "--seconds",
        "5s",
        "--load",
        "high",
        "--seed",
        "9",
        "--replan",
        "task",
        "--trace",
        "requests",
    ]
    assert main(["simulate", "scenario.yaml", *given, "--interval", "500ms", "--json", "--out", "sim"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ues"], found["load"], found["seed"], found["replan"]) == (3, "high", 9, "task")
    assert found["schemes"][0]["requests"] == pytest.approx(30, abs=2)
    assert found["schemes"][0]["planning_s"] > 0.005
    lines = [line for file in Path("sim/traces/airloom").iterdir() for line in file.read_text().splitlines()]
    kinds = {json.loads(line)["kind"] for line in lines}
    assert "send" not in kinds
    assert "stage" in kinds


def test_requests_end_a_run_and_none_leaves_no_traces(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "scenario.yaml", "--requests", "7", "--trace", "none", "--out", "sim"]) == 0
    assert "7/7" in capsys.readouterr().out
    assert not (place / "sim" / "traces").exists()
    assert main(["report", "sim"]) == 2
    assert "simulated without traces: simulation.json has its figures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--ues", "0"], "--ues: at least one UE, got 0"),
        (["--requests", "0"], "--requests: at least one request, got 0"),
        (["--seconds", "0s"], "--seconds: no time to simulate"),
        (["--seconds", "=-3s"], "--seconds"),
        (["--seed", "-1"], "--seed: must be at least 0, got -1"),
        (["--scheme", "best"], "--scheme: no scheme 'best': there are ue-only, cloud-only, single-split, airloom, all"),
        (["--topology", "topology.yaml"], "--topology: is not of scenarios"),
        (["--pin"], "--pin: is not of scenarios"),
        (["--set", "link=a->x,rate=1 Mbit/s"], "--set"),
    ],
)
def test_bad_options_are_one_line(place: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str) -> None:
    assert main(["simulate", "scenario.yaml", *given, "--out", "sim"]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.err.count("\n") == 1
    assert not (place / "sim").exists()


def test_options_of_scenarios_are_none_of_run_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "run.yaml", "--ues", "3"]) == 2
    assert "--ues: is of scenarios: this is a run file" in capsys.readouterr().err
    assert main(["run", "run.yaml", "--seconds", "3s"]) == 2
    assert "--seconds: is of scenarios: this is a run file" in capsys.readouterr().err


def test_a_run_file_is_simulated_as_before(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "run.yaml", "--requests", "5", "--out", "sim"]) == 0
    assert "toy: " in capsys.readouterr().out


def test_two_simulations_side_by_side(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("1", "2"):
        main(["simulate", "scenario.yaml", "--requests", "20", "--seed", seed, "--out", f"sim{seed}"])
    capsys.readouterr()
    assert main(["report", "sim1", "sim2"]) == 0
    said = capsys.readouterr().out
    assert "simulated, first" in said
    assert "mean latency" in said
    page = Path("sim1/beside.html").read_text()
    assert "side by side" in page
    assert main(["report", "sim1", "sim2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests_lost"] == 0
    assert {pair["what"] for pair in found["schemes"][0]["figures"]} >= {"p50 latency", "p95 latency", "mean latency"}
    assert main(["report", "sim1", "sim2", "--png", "x"]) == 2
    assert "--png: is of one run" in capsys.readouterr().err


def test_a_run_of_a_scenario_that_fails_leaves_no_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (place / "fast.yaml").write_text(SCENARIO.replace("model: toy\nprofile: toy.json", "model: no_such_model"))
    assert main(["run", "fast.yaml", "--seconds", "2s", "--out", "run"]) == 2
    assert "no_such_model" in capsys.readouterr().err
    assert not (place / "run").exists()


def test_bounds_of_a_scenario_are_counted_in_the_terminal_the_page_and_pictures(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--minimize", "energy", "--require", "latency<=45ms", "--scheme", "ue-only", "--scheme", "airloom"]
    assert main(["simulate", "scenario.yaml", *asked, "--seconds", "4s", "--out", "sim"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"latency .*<= 45\.0 ms +0 of 16", said)  # a UE alone takes 160 ms
    assert re.search(r"latency .*<= 45\.0 ms +16 of 16", said)
    assert main(["report", "sim", "--png", "pictures", "--json"]) == 0
    alone, airloom = json.loads(capsys.readouterr().out)["schemes"]
    tallies = json.loads(Path("sim/simulation.json").read_text())["schemes"]
    for scheme, tally in zip((alone, airloom), tallies, strict=True):
        assert [cost["name"] for cost in scheme["costs"]] == ["energy", "latency"]
        assert scheme["costs"][0]["mean"] == {"value": tally["costs"][0]["mean"], "basis": "modelled"}
        assert sum(tally["energy_j"].values()) == pytest.approx(tally["costs"][0]["mean"])
        assert scheme["p95_s"]["value"] == pytest.approx(tally["quantiles_s"][95], rel=0.0011)
    assert sorted(path.name for path in Path("pictures").iterdir()) == ["latency.png", "plan.png"]


def test_a_topology_in_place_of_a_scenario_is_told_apart(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "topology.yaml"]) == 2
    assert "topology.yaml: this is a topology: name it in a run file or a scenario" in capsys.readouterr().err
