"""Fig. 19: what it is worth to price what recurrent and collaborative models send besides their cuts.

Both are planned for the least energy of UE and IAB hosts within a bound on latency, and so is the standard split that
does not know: a recurrent module that is split once and repeated, an agent whose parameters travel unpriced. Then
both pay the same prices. The standard split of a recurrent network may also run all of it on the UE, as it stands,
for then nothing is fed back.

Machines compare with ours as at ResNet-18, not by the operations a second of these networks: their small products
read all weights at every step, so that a Raspberry Pi is far from the 13 GFLOP/s that it has at pictures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from setting import LOADS, Draw, draws, profile, scenario
from still import LABEL_NBYTES

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Problem
from airloom.core.scenario import Load
from airloom.planner.collaborative import Collaboration, Senders
from airloom.planner.modes import Modes, Pricer
from airloom.planner.objective.outcome import Outcome, Unreachable, outcome
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.planning import roles_of
from airloom.planner.recurrent import module_problem
from airloom.planner.training import Training

DEVICES = ("ue", "gnb")
BOUND_S = 0.12
#: QMIX's own hidden size; one episode of 60 steps is a step of training; parameters are merged after each.
AGENT = "qmix-h64-b1"
#: Hidden units and episodes in a batch, and steps between merges, that the figure depends on.
AGENTS = [(hidden, batch) for hidden in (64, 256) for batch in (1, 8, 32)]
EVERY = (1, 10, 100)
#: Federated rounds: ResNet-18, batches of 8 pictures; steps of training between two merges.
ROUNDS = (1, 10, 100, 1000)


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


def recurrent(draw: Draw, asked: Objective, *, leaves: bool = False) -> tuple[Outcome, Outcome]:
    """The unrolled network's plan, and the standard one: a module repeated, or all of it on the UE.

    Args:
        leaves: the module is split or offloaded whatever that costs, so that its state is fed back at every step.
    """
    roles = dict(roles_of(draw.topology))
    whole = draw.problem()
    problem = module_problem(draw.topology, draw.chain, draw.profiles, conditions=draw.conditions)
    own = best(whole, asked, roles)
    if leaves:
        return own, best(_kept_off(problem), asked, roles)
    module = best(problem, asked, roles)
    alone = outcome(vectors(whole, asked, roles), (whole.num_operators,) * len(whole.hosts))
    # Of the two the one that keeps the bound, then the thriftier; where neither keeps it the one that comes closer.
    return own, min((module, alone), key=lambda o: (not o.meets, o.value if o.meets else o.excess))


def _kept_off(problem: Problem) -> Problem:
    """The problem with a last operator that takes the source a day."""
    source = problem.hosts[0]
    elapsed_s = source.elapsed_s.copy()
    elapsed_s[-1] += 86400.0
    return replace(problem, hosts=(replace(source, elapsed_s=elapsed_s), *problem.hosts[1:]))


def collaborative(draw: Draw, asked: Objective, every: int, senders: Senders = "stages") -> tuple[Outcome, Outcome]:
    """A step of training with the parameters' way in the plan, and with it only in the bill."""
    roles = dict(roles_of(draw.topology))
    batch = draw.profiles[""]
    training = Training(labels_nbytes=LABEL_NBYTES * batch.batch, modelled=not batch.optimizer)
    collaboration = Collaboration(to="cloud", every=every, senders=senders)
    price = Pricer(
        draw.topology, draw.profiles, conditions=draw.conditions, result_returns=False,
        modes=Modes(training=training, collaboration=collaboration),
    )  # fmt: skip
    whole = price(draw.chain)
    unaware = best(price.training(draw.chain).problem, asked, roles)
    return best(whole, asked, roles), outcome(vectors(whole, asked, roles), unaware.solution.stops)


def compare(pairs: list[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    """How much less energy, and time, the aware plan takes; means over all draws, aware first."""
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


def recurrent_by_load(count: int, bound_s: float, *, own_speed: bool = False, leaves: bool = False) -> dict[str, Any]:
    """By load; `own_speed`: machines compare by this network's operations a second."""
    model, speeds, asked = profile("gru200"), None if own_speed else profile("resnet18"), objective(bound_s)
    return {
        load: compare(
            [
                recurrent(draw, asked, leaves=leaves)
                for draw in draws(scenario("mmwave_iab", load), model, count, seed=5, speeds=speeds)
            ]
        )
        for load in LOADS
    }


def collaborative_under(
    load: Load, model: str, count: int, bound_s: float, every: int, senders: Senders = "stages"
) -> dict[str, Any]:
    asked = objective(bound_s)
    sample = draws(scenario("mmwave_iab", load), profile(model), count, seed=6, speeds=profile("resnet18"))
    return compare([collaborative(draw, asked, every, senders) for draw in sample])


def figure_19(count: int) -> dict[str, Any]:
    """By load, for both kinds of models, within 120 ms."""
    return {
        "bound_s": BOUND_S,
        "recurrent": recurrent_by_load(count, BOUND_S),
        "collaborative": {load: collaborative_under(load, AGENT, count, BOUND_S, 1) for load in LOADS},
    }


def recurrent_sensitivity(count: int) -> dict[str, Any]:
    """Without the bound, which the standard split cannot keep: with a module that leaves the UE in any case, and with
    machines that compare by this network's own operations a second."""
    free = float("inf")
    own = "machines by this network's operations a second"
    return {
        "standard may run on the UE": recurrent_by_load(count, free),
        "standard leaves the UE": recurrent_by_load(count, free, leaves=True),
        f"standard may run on the UE, {own}": recurrent_by_load(count, free, own_speed=True),
        f"standard leaves the UE, {own}": recurrent_by_load(count, free, own_speed=True, leaves=True),
    }


def collaborative_sensitivity(count: int, load: Load = "high") -> list[dict[str, Any]]:
    """Under high load by hidden units, batch, steps between merges, with and without the bound; Eq. (13) literally."""
    rows = []
    for hidden, batch in AGENTS:
        name = f"qmix-h{hidden}-b{batch}"
        for every in EVERY:
            row = _sizes(name) | {"model": f"QMIX, {hidden} hidden", "batch": batch, "every": every}
            row |= {"120 ms": collaborative_under(load, name, count, BOUND_S, every)}
            rows.append(row | {"no bound": collaborative_under(load, name, count, float("inf"), every)})
    eq13 = _sizes(AGENT) | {"model": "QMIX, 64 hidden, Eq. (13) literally", "batch": 1, "every": 1}
    rows.append(
        eq13
        | {"120 ms": collaborative_under(load, AGENT, count, BOUND_S, 1, "last")}
        | {"no bound": collaborative_under(load, AGENT, count, float("inf"), 1, "last")}
    )
    for every in ROUNDS:
        row = _sizes("resnet18-train") | {"model": "ResNet-18, federated", "batch": 8, "every": every, "120 ms": None}
        rows.append(row | {"no bound": collaborative_under(load, "resnet18-train", count, float("inf"), every)})
    return rows


def _sizes(name: str) -> dict[str, float]:
    """What weighs against what: parameters, and the input of a batch."""
    model = profile(name)
    return {"parameters_kb": sum(w.nbytes for w in model.weights) / 1e3, "input_kb": model.cuts[0].nbytes / 1e3}
