"""`airloom simulate`: a run file or a topology and a profile, to a run folder, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airloom.cli.main import main
from airloom.core.coding import parse_coding
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.run import RunRecord
from airloom.core.tolerance import CutTolerance, ErrorPoint, Tolerance
from airloom.files import read_value, write_value
from airloom.planner.accuracy import fit

TOPOLOGY = """\
source: ue
sink: mec
devices: [{id: ue, role: ue, speed: 0.02}, {id: gnb, role: gnb, computes: false}, {id: mec, role: mec}]
links:
  - {from: ue, to: gnb, rate: 10 Mbit/s, delay: 5 ms, loss: 25 %}
  - {from: gnb, to: ue, rate: 50 Mbit/s, delay: 5 ms}
  - {from: gnb, to: mec, rate: 1 Gbit/s, both: true}
"""
RADIO = TOPOLOGY.replace(
    "rate: 10 Mbit/s, delay: 5 ms, loss: 25 %", "delay: 1 ms, nr: {snr: 10 dB, channel: cdl-c, prb: 10}"
)
PROFILE = Profile(
    model="toy",
    device="this",
    graph_digest="sha256:1",
    operators=tuple(OperatorCost(name=f"op{k}", compute_s=0.002) for k in range(4)),
    cuts=tuple(CutSize(tensor_nbytes=(n,)) for n in (200_000, 65_536, 32_768, 16_384, 40)),
    output_nbytes=(40,),
)


def entry(coding: str, nbytes: int, fall: float, clean: float = 0.9) -> CutTolerance:
    points = tuple(ErrorPoint(error_rate=k / 10, accuracy=max(0.1, clean - fall * (k / 10) ** 2)) for k in range(11))
    return CutTolerance(
        cut=1, coding=parse_coding(coding), pattern="burst", block_bytes=1152, nbytes=nbytes, clean=clean,
        points=points, curves=fit(points), code_s=1e-4, decode_s=1e-4,
    )  # fmt: skip


TOLERANCE = Tolerance(
    model="toy", graph_digest="sha256:1", weights_digest="", metric="top-1", clean=0.9, samples=500,
    cuts=(entry("raw", 65_536, 2.0), entry("int8+structured+neighbours", 17_000, 0.3, 0.895)),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(TOPOLOGY)
    (tmp_path / "radio.yaml").write_text(RADIO)
    write_value(tmp_path / "p.json", PROFILE)
    write_value(tmp_path / "t.json", TOLERANCE)
    (tmp_path / "run.yaml").write_text(
        "topology: net.yaml\nmodel: toy\nprofile: p.json\ntolerance: t.json\nmin_accuracy: 85 %\nrequests: 40\n"
    )
    return tmp_path


def simulated(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The summary that it prints."""
    assert main(["simulate", str(place / "run.yaml"), "--out", str(place / "out"), "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_floor_saves_time_and_is_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    p50 = {}
    for floor in ("0.85", "0.9"):
        summary = simulated(place, capsys, "--min-accuracy", floor)
        (scheme,) = summary["schemes"]
        assert summary["simulated"]
        assert scheme["results"] == 40
        found = scheme["delivered"]
        assert found["kept"]
        assert (found["below"], found["unknown"]) == (0, 0)
        assert found["predicted_least"]["value"] >= float(floor) - 1e-3
        p50[floor] = scheme["p50_s"]["value"]
        assert scheme["p50_s"]["basis"] == "modelled"
        if floor == "0.85":
            assert found["missing_mean"]["value"] > 0.1
            assert {way["coding"] for way in found["carried"]} == {"int8+structured+neighbours"}
        else:
            assert found["missing_max"]["value"] == 0.0
            assert found["repairs"]["value"] >= 1.0
            assert found["repair_nbytes"]["value"] > 1000
    assert p50["0.85"] < 0.9 * p50["0.9"]


def test_the_run_folder_is_like_that_of_a_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(place / "run.yaml"), "--out", str(place / "out")]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "floor 85.0 %" in out
    assert "Simulated: every number is modelled." in out
    record = read_value(place / "out" / "run.json", RunRecord)
    assert record.simulated
    assert record.promise is not None
    assert record.promise.min_accuracy == 0.85
    assert {file.stem for file in (place / "out" / "traces" / "airloom").glob("*.jsonl")} == {"ue", "gnb", "mec"}
    assert main(["report", str(place / "out")]) == 0
    page = (place / "out" / "report.html").read_text()
    assert "Airloom simulation report" in page
    assert "Accuracy" in page
    assert "85.0 %" in page


def test_the_same_seed_gives_the_same_trace(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = []
    for seed in ("1", "1", "2"):
        simulated(place, capsys, "--seed", seed)
        folder = place / "out" / "traces" / "airloom"
        traces.append({file.name: file.read_bytes() for file in folder.glob("*.jsonl")})
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


def test_radio_links_are_simulated_at_the_planned_mcs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = simulated(place, capsys, "--topology", str(place / "radio.yaml"))
    (scheme,) = summary["schemes"]
    (up,) = (way for way in scheme["delivered"]["carried"] if way["src"] == "ue")
    assert isinstance(up["mcs"], int)
    assert scheme["phases"][0]["error"] == pytest.approx(0.0, abs=0.1)
    better = simulated(place, capsys, "--topology", str(place / "radio.yaml"), "--set", "link=ue->gnb,snr=20 dB")
    (way,) = (way for way in better["schemes"][0]["delivered"]["carried"] if way["src"] == "ue")
    assert way["mcs"] > up["mcs"]
    assert better["schemes"][0]["p50_s"]["value"] < scheme["p50_s"]["value"]


def test_changes_of_the_network_are_phases(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (place / "run.yaml").read_text()
    (place / "run.yaml").write_text(f"{text}changes:\n  - {{at: 2 s, link: ue->gnb, loss: 60 %}}\n")
    summary = simulated(place, capsys, "--interval", "100 ms")
    phases = summary["schemes"][0]["phases"]
    assert [phase["requests"] for phase in phases] == [20, 20]
    assert phases[1]["name"] == "ue->gnb at 60.0 % loss"
    assert phases[1]["p50_s"]["value"] > phases[0]["p50_s"]["value"]


def test_without_a_run_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["simulate", "--topology", str(place / "net.yaml"), "--profile", str(place / "p.json")]
    assert main([*argv, "--requests", "5", "--out", str(place / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["schemes"][0]["results"] == 5
    assert main(["simulate", "--topology", str(place / "net.yaml")]) == 2
    assert "give a run file, or --topology and --profile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--min-accuracy", "0.95"], "cannot be had: toy reaches 0.9"),
        (["--min-accuracy", "0"], "--min-accuracy: an accuracy is above 0 and at most 1"),
        (["--min-accuracy", "88"], "--min-accuracy: an accuracy is above 0 and at most 1 (0.85 is 85 %), got 88"),
        (["--min-accuracy", "nan"], "--min-accuracy: an accuracy is above 0"),
        (["--requests", "0"], "--requests: at least one request"),
        (["--interval", "0 s"], "--interval: requests that all come at once"),
        (["--interval", "5"], "--interval"),
        (["--seed", "-1"], "--seed: must be at least 0"),
        (["--set", "device=mec,up=false"], "mec is where the model's input or result is"),
        (["--tolerance", "none.json"], "none.json: cannot read"),
    ],
)
def test_bad_input_is_one_line(place: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert main(["simulate", str(place / "run.yaml"), "--out", str(place / "new"), *words]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert says in captured.err
    assert not (place / "new").exists()


def test_a_tolerance_profile_of_another_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_value(place / "t.json", msgspec.structs.replace(TOLERANCE, graph_digest="sha256:2"))
    assert main(["simulate", str(place / "run.yaml"), "--out", str(place / "new")]) == 2
    assert "the tolerance profile is of toy" in capsys.readouterr().err
    bad = msgspec.structs.replace(TOLERANCE.cuts[0], points=(ErrorPoint(error_rate=1.5, accuracy=0.5),))
    write_value(place / "t.json", msgspec.structs.replace(TOLERANCE, cuts=(bad,)))
    assert main(["simulate", str(place / "run.yaml")]) == 2
    assert "t.json: $.cuts[0].points[0].error_rate: an error rate is a share from 0 to 1" in capsys.readouterr().err


def test_simulating_imports_neither_torch_nor_sockets(place: Path) -> None:
    code = (
        "import sys; from airloom.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'matplotlib', 'scipy', 'zenoh', 'airloom.runtime'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "simulate", str(place / "run.yaml"), "--out", str(place / "out")],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stderr.strip().splitlines()[-1] == "[]"
