"""How long a split cost update takes (section IV-C3): simulated on the mmWave network, a wave for each task.

What a wave of real processes takes on one machine is measured by benchmarks/wave.py.
"""

from __future__ import annotations

from typing import Any

from setting import LOADS, profile, scenario

from airloom.playing.play import Play
from airloom.playing.simulated import play_simulated


def updates(seconds: float) -> dict[str, Any]:
    """By load: for how long a task waits for its plan (the question to the sink and the wave back), and its bytes."""
    found: dict[str, Any] = {}
    for load in LOADS:
        what = Play(
            scenario("mmwave_iab", load), {"": profile("resnet18")}, seconds=seconds, replan="task", keep="none"
        )
        _, record = play_simulated(what, folder=None)
        tally = record.schemes[0]
        found[load] = {
            "tasks": tally.results,
            "planning_s": tally.planning_s,
            "planning_nbytes": tally.planning_nbytes,
            "mean_s": tally.mean_s,
        }
    return found
