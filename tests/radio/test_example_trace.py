"""The example topology with a replayed rate: its trace is what its script writes, its rate the mean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airloom.config import load_topology
from airloom.radio.link import link_model

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_trace_is_what_its_script_writes() -> None:
    made = subprocess.run(
        [sys.executable, str(EXAMPLES / "traces/street.py")], capture_output=True, text=True, check=True
    ).stdout
    assert made == (EXAMPLES / "traces/street.txt").read_text()


def test_the_link_replays_it_and_states_its_mean() -> None:
    link = load_topology(EXAMPLES / "street.yaml").link("ue", "gnb")
    model = link_model(link)
    assert model.queue.schedule.mean_rate_bps() == pytest.approx(link.rate_bps, rel=0.01)
    assert model.queue.schedule.rate_bps(9.0) == 10.2e6
    assert model.expected_loss == 0.01
