"""Figs. 11 to 14: a network that holds still during a task. Every figure is a plan's, modelled from measured profiles.

That a simulated request takes what its plan says on such a network is a law that the tests hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from setting import LOADS, Draw, draws, faster, profile, scenario, without_limits

from airloom.core.objective import Objective, Term
from airloom.core.problem import Problem
from airloom.core.scenario import Load
from airloom.planner.baselines import cloud_only, single_splits, ue_only
from airloom.planner.chain import solve
from airloom.planner.modes import Modes
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.planning import roles_of
from airloom.planner.training import Training

SCHEMES = ("ue-only", "cloud-only", "single-split", "airloom")
#: What they are called for people.
LABELS = {"ue-only": "UE only", "cloud-only": "cloud only", "single-split": "single split", "airloom": "Airloom"}
#: What the paper sums in training: UE and IAB hosts.
UE_AND_IAB = Objective(minimize=(Term(metric="energy", devices=("ue", "gnb")),))
#: Labels of a batch are one int64 each.
LABEL_NBYTES = 8
#: How fast IAB hosts are beside their class.
IAB_FACTORS = (1.0, 0.5, 0.2, 0.1, 0.05)
MODELS = ("resnet18", "vgg11", "rcnn")
#: Fig. 14's factors, and the roles they are of.
FACTORS, TIERS = (0.1, 0.5, 1.0, 2.0, 10.0, 20.0), {"IAB": "gnb", "core": "mec", "cloud": "cloud"}


def latencies(problem: Problem) -> dict[str, float]:
    """Seconds of a request under each scheme."""
    alone, cloud, splits = ue_only(problem), cloud_only(problem), single_splits(problem)
    return {
        "ue-only": alone.seconds if alone else float("inf"),
        "cloud-only": cloud.seconds if cloud else float("inf"),
        "single-split": min((split.seconds for split in splits), default=float("inf")),
        "airloom": solve(problem).seconds,
    }


def energies(draw: Draw) -> dict[str, float]:
    """Joules of UE and IAB hosts for a step of training under each scheme."""
    model = draw.profiles[""]
    # A profile that was measured without training gets backward times modelled from the forward ones.
    modes = Modes(training=Training(labels_nbytes=LABEL_NBYTES * model.batch, modelled=not model.optimizer))
    problem, roles = draw.problem(modes), roles_of(draw.topology)
    priced = vectors(problem, UE_AND_IAB, roles)

    def cost(stops: Iterable[Sequence[int]]) -> float:
        return min((float(priced.priced(s)[0][0]) for s in stops), default=float("inf"))

    alone, cloud = ue_only(problem), cloud_only(problem)
    return {
        "ue-only": cost([alone.stops] if alone else []),
        "cloud-only": cost([cloud.stops] if cloud else []),
        "single-split": cost([split.stops for split in single_splits(problem)]),
        "airloom": solve_objective(problem, UE_AND_IAB, roles).value,
    }


def trials(name: str, load: Load, model: str, count: int, cost: Callable[[Draw], dict[str, float]]) -> dict[str, Any]:
    """What every scheme costs on the same draws."""
    rows = [cost(draw) for draw in draws(scenario(name, load), profile(model), count, seed=1)]
    found: dict[str, Any] = {}
    for scheme in SCHEMES:
        values = np.array([row[scheme] for row in rows])
        found[scheme] = {
            "mean": float(values.mean()), "p50": float(np.median(values)), "p95": float(np.quantile(values, 0.95)),
            "values": [float(f"{v:.4g}") for v in values],
        }  # fmt: skip
    best = np.array([min(row[s] for s in SCHEMES[:-1]) for row in rows])
    own = np.array([row["airloom"] for row in rows])
    found["worse_than_best_baseline"] = int((own > best * (1 + 1e-9)).sum())
    found["trials"] = count
    return found


def latency(draw: Draw) -> dict[str, float]:
    return latencies(draw.problem())


def figures_11_and_12(count: int) -> dict[str, Any]:
    """Latency of inference and energy of training, by network and load."""
    return {
        name: {
            load: {
                "inference_s": trials(name, load, "resnet18", count, latency),
                "training_j": trials(name, load, "resnet18-train", max(20, count // 5), energies),
            }
            for load in LOADS
        }
        for name in ("mmwave_iab", "sub6")
    }


def by_speed(count: int) -> dict[str, Any]:
    """What Airloom takes off the baselines' mean latency with IAB hosts slower than their class, by load and factor."""
    found: dict[str, Any] = {}
    for load in LOADS:
        sample = list(draws(scenario("mmwave_iab", load), profile("resnet18"), count, seed=1))
        for times in IAB_FACTORS:
            rows = [latencies(draw.problem(topology=faster(draw.topology, "gnb", times))) for draw in sample]
            mean = {scheme: float(np.mean([row[scheme] for row in rows])) for scheme in SCHEMES}
            found.setdefault(load, {})[str(times)] = mean
    return found


def figure_13(count: int) -> dict[str, Any]:
    """Relative efficiency: cost of the UE alone over the scheme's, the mean over draws and loads.

    Inference in seconds; training in joules of UE and IAB hosts, one picture a step, backward times modelled. UEs
    have memory for all (VGG11's weights and gradients are more than a Raspberry Pi's 1 GiB).
    """
    found: dict[str, Any] = {}
    for model in MODELS:
        for task, cost, number in (("inference", latency, count), ("training", energies, max(5, count // 5))):
            rows = [
                cost(replace(draw, topology=without_limits(draw.topology)))
                for load in LOADS
                for draw in draws(scenario("mmwave_iab", load), profile(model), number, seed=2)
            ]
            found.setdefault(model, {})[task] = {
                scheme: float(np.mean([row["ue-only"] / row[scheme] for row in rows])) for scheme in SCHEMES
            }
    return found


def figure_14(count: int, load: Load = "mid") -> dict[str, Any]:
    """Mean latency with the hosts of one tier faster or slower."""
    found: dict[str, Any] = {}
    sample = list(draws(scenario("mmwave_iab", load), profile("resnet18"), count, seed=3))
    for tier, role in TIERS.items():
        for times in FACTORS:
            rows = [latencies(draw.problem(topology=faster(draw.topology, role, times))) for draw in sample]
            found.setdefault(tier, {})[str(times)] = {
                scheme: float(np.mean([row[scheme] for row in rows])) for scheme in SCHEMES
            }
    return found
