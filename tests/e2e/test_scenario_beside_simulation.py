"""One scenario in real processes and in virtual time, side by side: `airloom run SCENARIO --beside-simulation`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airloom.cli.main import main

SCENARIO = """\
name: one cell
model: resnet20
seed: 2
deadline: 5 s
duration: 60 s
tasks: {every: 300 ms}
coherence: 50 ms
area: [400 m, 200 m]
topology:
  source: ue
  sink: mec
  devices:
    - {id: ue, role: ue, speed: 0.05, power: {busy: 3 W, radio_per_bit: 100 nJ, source: assumed}}
    - {id: gnb, role: gnb, computes: false}
    - {id: mec, role: mec}
  links:
    - {from: gnb, to: mec, rate: 40 Mbit/s, delay: 5 ms, both: true}
cell: {capacity: 60 Mbit/s, delay: 1 ms, radio: {carrier: 3.5 GHz, bandwidth: 40 MHz, scs: 30 kHz}}
cells:
  - {device: gnb, at: [100 m, 100 m]}
ues:
  - {id: ue, path: [[60 m, 100 m], [240 m, 100 m]], speed: 40 km/h}
links:
  - {link: gnb->mec, kind: wired, background: {users: 3, rate: 5 Mbit/s}, both: true}
"""


def test_a_scenario_runs_and_stands_beside_its_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "scenario.yaml", tmp_path / "run"
    file.write_text(SCENARIO)
    assert main(["run", str(file), "--seconds", "5s", "--beside-simulation", "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"], found["requests_lost"]) == ("real processes", "simulated", 0)
    figures = {pair["what"]: pair for pair in found["schemes"][0]["figures"]}
    assert figures["requests"]["first"]["value"] == figures["requests"]["second"]["value"] == 17
    p50 = figures["p50 latency"]
    assert (p50["first"]["basis"], p50["second"]["basis"]) == ("measured", "modelled")
    assert 0.2 < p50["second"]["value"] / p50["first"]["value"] < 2.0  # a busy machine is slower
    assert "side by side" in (out / "beside.html").read_text()
    assert (out / "simulated" / "simulation.json").is_file()
    assert found["schemes"][0]["figures"][0]["first"]["basis"] == "measured"
    # Every link that varies was replayed from a file of the run folder.
    assert {f.name for f in (out / "links").iterdir()} == {"ue-gnb.txt", "gnb-ue.txt", "gnb-mec.txt", "mec-gnb.txt"}


def test_a_scenario_with_a_faster_device_runs_in_slow_motion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "scenario.yaml", tmp_path / "run"
    file.write_text(SCENARIO.replace("{id: mec, role: mec}", "{id: mec, role: mec, speed: 2.5}"))
    line = ["run", str(file), "--seconds", "2", "--slow-motion", "auto", "--beside-simulation", "--out", str(out)]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["requests_lost"]) == ("real processes, 3 times slowed", 0)
    figures = {pair["what"]: pair for pair in found["schemes"][0]["figures"]}
    assert figures["requests"]["first"]["value"] == figures["requests"]["second"]["value"] == 7
    # As long as what is emulated takes, not three times that.
    assert abs(figures["p50 latency"]["deviation"]) < 0.5
    assert "in slow motion, 3 times" in (out / "beside.html").read_text()
    record = json.loads((out / "run.json").read_text())
    assert record["slow_motion"] == 3.0
    assert any("3 times slower" in note for note in record["emulated"])
    assert main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slow_motion"] == 3.0
