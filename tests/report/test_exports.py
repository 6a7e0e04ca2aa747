"""The Perfetto trace and the PNGs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec

from airloom.report.folder import read_run
from airloom.report.perfetto import to_perfetto
from airloom.report.plots import write_plots


def test_perfetto(run_folder: Path) -> None:
    run = read_run([run_folder])
    trace = json.loads(msgspec.json.encode(to_perfetto(run)))
    events = trace["traceEvents"]
    for event in events:
        assert event["ph"] in "MXbesfCi"
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 1
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert len(names) == 16
    # A flow that starts ends, once; so does a request.
    flows = Counter((e["ph"], e["id"]) for e in events if e["ph"] in "sf")
    starts = {i for ph, i in flows if ph == "s"}
    assert starts == {i for ph, i in flows if ph == "f"}
    assert set(flows.values()) == {1}
    begun = {e["id"] for e in events if e["ph"] == "b"}
    assert begun == {e["id"] for e in events if e["ph"] == "e"}
    assert len(begun) == 160
    stages = [e for e in events if e["ph"] == "X" and e["cat"] == "stage"]
    assert len(stages) == sum(len(s.series.stages) for s in run.schemes)


def test_png(run_folder: Path, tmp_path: Path) -> None:
    written = write_plots(read_run([run_folder]), tmp_path / "png")
    assert [p.name for p in written] == ["latency.png", "plan.png", "topology.png"]
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
