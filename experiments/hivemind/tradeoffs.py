"""Fig. 18: the least of one metric under a bound on latency, by every way to decide, on the same draws.

Beside the paper's setting, in which energy and latency hardly disagree on our machines, there are settings in which
they do (`SETTINGS`), and random chains with two bounds (benchmarks/objectives.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from setting import HERE, PLAIN, Draw, draws, faster, profile, scenario, with_ue
from still import LABEL_NBYTES

from airloom.core.objective import Bound, Metric, Objective, Term
from airloom.core.problem import Problem
from airloom.core.scenario import Load
from airloom.errors import Infeasible
from airloom.planner.modes import Modes
from airloom.planner.objective.convex import solve_convex
from airloom.planner.objective.exact import solve_exact
from airloom.planner.objective.linear import even_weights, solve_linear
from airloom.planner.objective.outcome import Outcome, Unreachable
from airloom.planner.objective.vectors import VectorProblem, vectors
from airloom.planner.planning import roles_of
from airloom.planner.training import Training

UE_AND_IAB = ("ue", "gnb")
#: How much of the other metric a second of latency is worth, over `SCALE`: the sweep of fixed weights.
EXCHANGE = tuple(float(w) for w in np.geomspace(1e-3, 1e3, 25))
SCALE: dict[Metric, float] = {"energy": 1.0, "money": 1e-5}
ROUNDING = 1e-9
#: Ways whose values on every draw are kept.
KEPT = ("exact", "linear")


@dataclass(frozen=True)
class Setting:
    """What is asked for, and of which network.

    Attributes:
        bound_s: for all draws; or `between`: that share of the way from the least latency to that of the plan that is
            best in the metric alone, of each draw for itself.
        iab: how many times as fast the IAB hosts are as their class says.
    """

    name: str
    model: str = "resnet18"
    load: Load = "mid"
    ue: str = "raspberry-pi-3b+"
    metric: Metric = "energy"
    devices: tuple[str, ...] = UE_AND_IAB
    bound_s: float | None = None
    between: float = 0.5
    iab: float = 1.0
    training: bool = False


SETTINGS = (
    Setting("the paper's: ResNet-18, mid load, 120 ms", bound_s=0.12),
    Setting("VGG11, mid load, 120 ms", model="vgg11", bound_s=0.12),
    Setting("ResNet-18, high load, 200 ms", load="high", bound_s=0.2),
    Setting("ResNet-18, high load, 400 ms", load="high", bound_s=0.4),
    Setting("ResNet-18, high load, UE a Raspberry Pi 4B, 100 ms", load="high", ue="raspberry-pi-4b", bound_s=0.1),
    Setting("R-CNN, high load, UE a Raspberry Pi 4B, half-way", model="rcnn", load="high", ue="raspberry-pi-4b"),
    Setting("ResNet-18, mid load, IAB hosts a fifth as fast, 120 ms", iab=0.2, bound_s=0.12),
    Setting("the UE's own energy, ResNet-18, high load, UE a Jetson Nano, 60 ms",
            load="high", ue="jetson-nano", devices=("ue",), bound_s=0.06),
    Setting("money, ResNet-18, mid load, 120 ms", metric="money", devices=(), bound_s=0.12),
    Setting("money, VGG11, mid load, half-way", model="vgg11", metric="money", devices=()),
    Setting("a step of training ResNet-18, 8 pictures, high load, 1 s",
            model="resnet18-train", load="high", bound_s=1.0, training=True),
)  # fmt: skip
Way = Callable[[VectorProblem], Outcome]


def linear_by(weight: float) -> Way:
    """One fixed weight (Eq. 11): so much of the metric for a second."""

    def decide(priced: VectorProblem) -> Outcome:
        weights = priced.weights.copy()
        weights[list(priced.names).index("latency")] += weight
        return solve_linear(priced, weights=weights)

    return decide


def alone(metric: str) -> Way:
    """One metric and nothing else."""

    def decide(priced: VectorProblem) -> Outcome:
        weights = np.array([float(name.startswith(metric)) for name in priced.names])
        return solve_linear(priced, weights=weights)

    return decide


def ways_of(metric: Metric) -> dict[str, Way]:
    """Every way to decide but the sweep."""
    return {
        "opt. latency": alone("latency"),
        f"opt. {metric}": alone(metric),
        "exact": solve_exact,
        "convex": solve_convex,
        "convex as printed": lambda priced: solve_convex(priced, literal=True),
        "linear": solve_linear,
    }


def problems(setting: Setting, count: int) -> Iterable[tuple[Draw, Problem]]:
    what = with_ue(scenario("mmwave_iab", setting.load), setting.ue)
    for draw in draws(what, profile(setting.model), count, seed=4):
        modes = Modes(training=Training(labels_nbytes=LABEL_NBYTES * draw.profiles[""].batch))
        topology = faster(draw.topology, "gnb", setting.iab)
        yield draw, draw.problem(modes if setting.training else PLAIN, topology=topology)


def play(setting: Setting, count: int) -> dict[str, Any]:
    """What every way costs; draws on which no plan keeps the bound are counted apart."""
    term = Term(metric=setting.metric, devices=setting.devices)
    ways = ways_of(setting.metric)
    sweep = {f"{w * SCALE[setting.metric]:.3g}": linear_by(w * SCALE[setting.metric]) for w in EXCHANGE}
    tally, impossible, differ = _Tally({**ways, **sweep}), 0, 0
    wrongly = 0
    for draw, problem in problems(setting, count):
        roles = roles_of(draw.topology)

        def asked(bound_s: float, problem: Problem = problem, roles: dict[str, str] = dict(roles)) -> VectorProblem:  # noqa: B006
            return vectors(problem, Objective(minimize=(term,), require=(Bound("latency", bound_s),)), roles)

        free = asked(float("inf"))
        fast, thrifty = ways["opt. latency"](free), ways[f"opt. {setting.metric}"](free)
        least_s, most_s = fast.solution.seconds, thrifty.solution.seconds
        differ += fast.costs[0] > thrifty.costs[0] * (1 + ROUNDING)
        bound_s = setting.bound_s or least_s + setting.between * (most_s - least_s)
        try:
            solve_exact(asked(bound_s))
        except Unreachable:
            impossible += 1
            wrongly += least_s <= bound_s
            continue
        tally.add(asked(bound_s), bound_s)
    found = tally.found(list(sweep))
    return {
        "metric": setting.metric, "bound_s": setting.bound_s, "between": None if setting.bound_s else setting.between,
        "draws": count, "impossible": impossible, "impossible_though_a_plan_keeps_it": wrongly,
        "metrics_disagree": int(differ), **found,
    }  # fmt: skip


class _Tally:
    """Cost and excess of every way over the draws that some plan keeps the bound on."""

    def __init__(self, ways: dict[str, Way]) -> None:
        self.ways = ways
        self.rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}

    def add(self, priced: VectorProblem, bound_s: float) -> None:
        for name, decide in self.ways.items():
            try:
                outcome = decide(priced)
            except Infeasible:  # the paper's weight knows no path: an edge of each reaches the bound
                self.rows[name].append((float("nan"),) * 3)
                continue
            self.rows[name].append((float(outcome.costs[0]), outcome.solution.seconds, outcome.excess))

    def found(self, sweep: list[str]) -> dict[str, Any]:
        table = {name: _row(np.array(rows).reshape(-1, 3)) for name, rows in self.rows.items()}
        weights = {name: table.pop(name) for name in sweep}
        kept = {name: row for name, row in weights.items() if row["answers"] and not row["violations"]}
        best = min(kept, key=lambda name: kept[name]["cost"]) if kept else None
        for row in (*weights.values(), *(row for name, row in table.items() if name not in KEPT)):
            del row["costs"], row["latencies_s"]
        cost = table["exact"]["cost"]

        def less(other: float | None) -> float | None:
            return None if not other or cost is None else 1.0 - cost / other

        return {
            "ways": table,
            "sweep": weights,
            "best_feasible_weight": best,
            "exact_below": {
                "linear": less(table["linear"]["cost"]),
                "best feasible weight": less(kept[best]["cost"] if best else None),
            },
        }


def _row(rows: Any) -> dict[str, Any]:
    """Means over draws with an answer."""
    answered = rows[~np.isnan(rows[:, 0])]
    if not len(answered):
        return {"answers": 0, "cost": None, "latency_s": None, "latency_max_s": None, "violations": 0,
                "worst_excess": None, "costs": [], "latencies_s": []}  # fmt: skip
    cost, seconds, excess = answered.T
    return {
        "answers": len(answered),
        "cost": float(cost.mean()),
        "latency_s": float(seconds.mean()),
        "latency_max_s": float(seconds.max()),
        "violations": int((excess > 1 + ROUNDING).sum()),
        "worst_excess": float(excess.max()),
        "costs": [float(f"{c:.4g}") for c in cost],
        "latencies_s": [float(f"{s:.4g}") for s in seconds],
    }


def figure_18(count: int) -> dict[str, Any]:
    """Every setting, and the random chains."""
    return {setting.name: play(setting, count) for setting in SETTINGS}


def random_chains(count: int) -> dict[str, Any]:
    """Seeded chains of 8 hosts, 174 operators, bounds on latency and money that bind (`benchmarks/objectives.py`).

    The weights of both bounded metrics are `even_weights` times a factor, which is swept.
    """
    sys.path.append(str(HERE.parents[1] / "benchmarks"))
    import objectives

    factors = tuple(float(k) for k in np.geomspace(1e-2, 1e2, 17))

    def heavier(times: float) -> Way:
        def decide(priced: VectorProblem) -> Outcome:
            even = even_weights(priced)
            return solve_linear(priced, weights=np.where(np.isfinite(priced.bounds), times, 1.0) * even)

        return decide

    sweep = {f"{k:.3g}": heavier(k) for k in factors}
    ways: dict[str, Way] = {
        "exact": solve_exact,
        "convex": solve_convex,
        "convex as printed": lambda priced: solve_convex(priced, literal=True),
        "linear": solve_linear,
    }
    tally = _Tally({**ways, **sweep})
    for seed in range(count):
        problem = objectives.instance(seed)
        tally.add(vectors(problem, objectives.objective(problem, seed), objectives.ROLES), float("nan"))
    return {"metric": "energy", "bound_s": None, "draws": count, "impossible": 0, **tally.found(list(sweep))}
