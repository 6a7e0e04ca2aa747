"""Fig. 18: least energy under a bound on latency, by three solvers and by one metric alone, on the same draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from setting import draws, profile, scenario

from airloom.core.objective import Bound, Objective, Solver, Term
from airloom.core.scenario import Load
from airloom.planner.objective.outcome import Outcome, Unreachable
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.planning import roles_of

DEVICES = ("ue", "gnb")
ENERGY, LATENCY = Term(metric="energy", devices=DEVICES), Term(metric="latency")
SOLVERS: tuple[Solver, ...] = ("exact", "convex", "linear")
#: J of energy that a second of latency is worth, for the sweep of fixed weights.
EXCHANGE = tuple(float(w) for w in np.geomspace(1e-3, 1e3, 25))


def figure_18(count: int, bound_s: float, load: Load = "mid", model: str = "resnet18") -> dict[str, Any]:
    """Energy and latency of every way to decide; draws on which no plan keeps the bound are counted apart."""
    bound = (Bound(metric="latency", limit=bound_s),)
    ways: dict[str, Objective] = {
        "opt. latency": Objective(minimize=(LATENCY,), require=(Bound("energy", float("inf"), DEVICES),)),
        "opt. energy": Objective(minimize=(ENERGY,), require=(Bound("latency", float("inf")),)),
        **{name: Objective(minimize=(ENERGY,), require=bound, solver=name) for name in SOLVERS},
    }
    weighted = {
        f"{w:.3g} J/s": Objective(minimize=(ENERGY, Term(metric="latency", weight=w)), solver="linear")
        for w in EXCHANGE
    }
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in (*ways, *weighted)}
    impossible = 0
    for draw in draws(scenario("mmwave_iab", load), profile(model), count, seed=4):
        problem, roles = draw.problem(), roles_of(draw.topology)
        try:
            exact = solve_objective(problem, ways["exact"], roles)
        except Unreachable:
            impossible += 1
            continue
        for name, objective in (*ways.items(), *weighted.items()):
            found = exact if name == "exact" else solve_objective(problem, objective, roles)
            rows[name].append(_pair(found))
    table = {name: _row(pairs, bound_s) for name, pairs in rows.items()}
    sweep = {name: table.pop(name) for name in weighted}
    kept = {name: row for name, row in sweep.items() if row["violations"] == 0}
    best = min(kept, key=lambda name: kept[name]["energy_j"]) if kept else None
    # One weight for each draw, chosen with hindsight: more than any fixed weight can do.
    pairs = np.array([rows[name] for name in weighted])  # [weights, draws, 2]
    energy = np.where(pairs[..., 1] <= bound_s, pairs[..., 0], np.inf).min(axis=0)
    return {
        "bound_s": bound_s, "draws": count, "impossible": impossible, "ways": table, "sweep": sweep,
        "best_feasible_weight": best,
        "best_weight_each_draw_j": float(energy[np.isfinite(energy)].mean()),
        "draws_no_weight_keeps": int((~np.isfinite(energy)).sum()),
    }  # fmt: skip


def _pair(found: Outcome) -> tuple[float, float]:
    names = list(found.names)
    energy = next(k for k, name in enumerate(names) if name.startswith("energy"))
    return float(found.costs[energy]), found.solution.seconds


def _row(pairs: list[tuple[float, float]], bound_s: float) -> dict[str, Any]:
    energy, seconds = np.array(pairs).T
    return {
        "energy_j": float(energy.mean()),
        "latency_s": float(seconds.mean()),
        "latency_max_s": float(seconds.max()),
        "violations": int((seconds > bound_s * (1 + 1e-9)).sum()),
        "energies_j": [round(float(e), 6) for e in energy],
        "latencies_s": [round(float(s), 6) for s in seconds],
    }
