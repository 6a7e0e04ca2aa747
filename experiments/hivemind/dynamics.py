"""Figs. 6 and 15 to 17, and every scheme on a network that moves: simulated, every figure modelled.

All schemes of a comparison have the same draw of the network. Airloom's plans are made as it would make them: a wave
of split costs for each task, which the task waits for (`replan="task"`); beside it, of the network as it is at that
moment and at no cost (`"ideal"`), as the paper reckons. Seeds are networks of their own; where a figure has several,
its least and its greatest value stand beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from setting import HERE, LOADS, profile, scenario

from airloom.config.scenario import load_scenario
from airloom.core.forecast import ForecastPolicy
from airloom.core.scenario import Forecast, Scenario
from airloom.core.simulated import SchemeTally
from airloom.core.trace import Event
from airloom.playing.crowd import with_ues
from airloom.playing.play import Play, Replan
from airloom.playing.simulated import play_simulated
from airloom.radio.cell.network import ScenarioNetwork
from airloom.report.trace import read_trace

SPIKE_S = 0.1
SCHEMES = ("ue-only", "cloud-only", "single-split", "airloom")
ERRORS = (0.0, 0.02, 0.05, 0.08, 0.1, 0.13, 0.17, 0.2, 0.25, 0.3)


@dataclass(frozen=True)
class Effort:
    """How much is simulated.

    Attributes:
        seeds: networks.
        tasks: of each network and setting.
        seconds: of the network with cells, for each load and scheme.
        ues: how many contend.
    """

    seeds: int
    tasks: int
    seconds: float
    ues: tuple[int, ...] = (1, 5, 20)


QUICK, FULL = Effort(seeds=3, tasks=600, seconds=20.0), Effort(seeds=10, tasks=4000, seconds=120.0)


def all_figures(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """{"figure_6", "figure_15", "figure_16", "figure_17", "under_dynamics", "many_ues"}: see each function."""
    return {
        "figure_6": figure_6(effort, data),
        "figure_15": figure_15(effort),
        "figure_16": figure_16(effort, data),
        "figure_17": figure_17(effort, data),
        "under_dynamics": under_dynamics(effort),
        "many_ues": many_ues(effort),
    }


# --- links that fade ----------------------------------------------------------------------------


def figure_6(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """Total latency over time without prediction: {"links": {network: {"coherence_s", "series", "rates", ...}}}.

    By network ("synthetic", and "recorded" where there are traces):

        {"coherence_s": float, "latencies": [[submitted s, latency s], ...],
         "rates": {"ue->mec1": [Mbit/s of tick 0, 1, ...], ...} over the same time, "seconds": float,
         "tally": a row as of figure 16}
    """
    return {}


def figure_16(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """Spikes with and without prediction, by network, coherence time in ms ("10", "50") and way to predict.

    Each row is

        {"tasks": int, "spikes": int, "share": of tasks, "left": spikes over those of "none", "left_min", "left_max":
         over seeds, "mean_s", "p50_s", "p95_s", "p99_s", "max_s", "planning_s": floats}

    with rows "none", "perfect", "last", "ewma", "autoregressive", "kalman"; the learned ones under "when=beyond",
    "when=within" and "when=always" as {"last": {"beyond": row, ...}, ...}.
    """
    return {}


def figure_17(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """By network, at a coherence time of 50 ms: {"none": row, "errors": [...], "rows": [row, ...], "pays_up_to": error}.

    A row is that of figure 16. "pays_up_to" is the relative error at which the median latency is that without
    prediction; None where it never is.
    """
    return {}


# --- a network with cells -----------------------------------------------------------------------


def figure_15(effort: Effort) -> dict[str, Any]:
    """A handover that makes the route a hop longer.

        {"at_s": of the handover, "before": {"route": [...], "operators": {host: mean count}, "mean_s": float},
         "after": {...}, "more_s": float, "latencies": [[submitted s, latency s, {host: operators}], ...],
         "law": {"draws": int, "differing": int}}

    The law: what the hosts of the part of the route that stays would do with a task, for every cut it may come at.
    """
    return {}


def under_dynamics(effort: Effort) -> dict[str, Any]:
    """By load: {"low": {"ue-only": row, "cloud-only": row, "single-split": row, "airloom": row (a wave for each task),
    "airloom-ideal": row, "off_cloud": 1 - airloom's mean over the cloud's, "off_single": ..., "lower": {"mean": bool,
    "p95": bool}}, ...} with rows {"tasks", "mean_s", "mean_min_s", "mean_max_s", "p50_s", "p95_s"}.
    """
    return {}


def many_ues(effort: Effort) -> dict[str, Any]:
    """By number of UEs at mid load, as `under_dynamics`."""
    return {}
