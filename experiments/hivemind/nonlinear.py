"""Fig. 19: what it is worth to price what recurrent and collaborative models send besides their cuts.

Both are planned for the least energy of UE and IAB hosts within a bound on latency, and so is the standard split that
does not know: a recurrent module that is split once and repeated, an agent whose parameters travel unpriced. Then
both pay the same prices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from setting import LOADS, Draw, draws, profile, scenario

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Problem
from airloom.planner.collaborative import Collaboration
from airloom.planner.modes import Modes
from airloom.planner.objective.outcome import Outcome, Unreachable, outcome
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.planning import roles_of
from airloom.planner.recurrent import module_problem
from airloom.planner.training import Training

DEVICES = ("ue", "gnb")


def objective(bound_s: float) -> Objective:
    return Objective(
        minimize=(Term(metric="energy", devices=DEVICES),), require=(Bound(metric="latency", limit=bound_s),)
    )


def best(problem: Problem, asked: Objective, roles: dict[str, str]) -> Outcome:
    """The plan within the bound, or the one that comes closest to it."""
    try:
        return solve_objective(problem, asked, roles)
    except Unreachable as error:
        return error.closest


def recurrent(draw: Draw, asked: Objective) -> tuple[Outcome, Outcome]:
    """The unrolled network's plan, and that of one module repeated."""
    roles = dict(roles_of(draw.topology))
    module = module_problem(draw.topology, draw.chain, draw.profiles, conditions=draw.conditions)
    return best(draw.problem(), asked, roles), best(module, asked, roles)


def collaborative(draw: Draw, asked: Objective, every: int) -> tuple[Outcome, Outcome]:
    """An agent's step of training with its parameters' way in the plan, and with it only in the bill."""
    roles = dict(roles_of(draw.topology))
    training = Training(labels_nbytes=8 * draw.profiles[""].batch, modelled=True)
    whole = draw.problem(Modes(training=training, collaboration=Collaboration(to="cloud", every=every)))
    unaware = best(draw.problem(Modes(training=training)), asked, roles)
    return best(whole, asked, roles), outcome(vectors(whole, asked, roles), unaware.solution.stops)


def compare(pairs: list[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    """How much less energy, and time, the aware plan takes; means over all draws, and of those both keep the bound."""
    own = np.array([(a.value, a.solution.seconds, a.meets) for a, _ in pairs])
    standard = np.array([(b.value, b.solution.seconds, b.meets) for _, b in pairs])
    return {
        "draws": len(pairs),
        "energy_j": [float(own[:, 0].mean()), float(standard[:, 0].mean())],
        "latency_s": [float(own[:, 1].mean()), float(standard[:, 1].mean())],
        "keeps_bound": [int(own[:, 2].sum()), int(standard[:, 2].sum())],
        "energy_ratio": float(standard[:, 0].mean() / own[:, 0].mean()),
        "latency_ratio": float(standard[:, 1].mean() / own[:, 1].mean()),
        "different_plans": int(sum(a.solution.stops != b.solution.stops for a, b in pairs)),
    }


def figure_19(count: int, bound_s: float, every: int = 1) -> dict[str, Any]:
    """By load."""
    asked, found = objective(bound_s), dict[str, Any]()
    for load in LOADS:
        what = scenario("mmwave_iab", load)
        rnn = [recurrent(draw, asked) for draw in draws(what, profile("gru200"), count, seed=5)]
        agents = [collaborative(draw, asked, every) for draw in draws(what, profile("qmix_agent"), count, seed=6)]
        found[load] = {"recurrent": compare(rnn), "collaborative": compare(agents)}
    return found
