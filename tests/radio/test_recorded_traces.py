"""Rate traces recorded in the field, where a folder of them is given: AIRLOOM_TRACES=DIR."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airloom.core.topology import Link
from airloom.radio.link import link_model
from airloom.radio.replay import read_rate_trace

FOLDER = Path(os.environ.get("AIRLOOM_TRACES", "shared/data/traces"))


@pytest.mark.long
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no recorded traces: set AIRLOOM_TRACES to a folder of them")
def test_every_recorded_trace_replays() -> None:
    paths = sorted(p for p in FOLDER.rglob("*trace*") if p.is_file())
    assert paths
    for path in paths:
        rate = read_rate_trace(path)
        loop = rate.nbytes_between(0.0, rate.period_s)
        assert rate.finish_s(0.0, loop) <= rate.period_s * (1 + 1e-9)
        assert 1e5 < rate.mean_rate_bps() < 5e9, path
        model = link_model(Link(src="a", dst="b", rate_bps=1.0, trace=str(path)))
        assert 0 < model.expected_transfer_s(400_000) < 60, path
