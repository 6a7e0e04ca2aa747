"""What agents learned, round by round, and what that would have cost over a network.

Scores are measured: the learning is real. Seconds, joules and bytes are modelled: they are those of the plan. Every
figure says which it is by the field it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from airloom.core.value import SCHEMA_VERSION, Basis, Value
from airloom.federate.cost import RoundCost, RoundPlans
from airloom.federate.qmix import QMIXRun
from airloom.federate.rounds import FederatedRun

Method = Literal["fedavg", "qmix"]


class Spent(Value, frozen=True):
    """What the rounds so far have cost: the slowest agent's seconds, all agents' joules and bytes."""

    seconds: float
    joules: float
    nbytes: float


NOTHING = Spent(seconds=0.0, joules=0.0, nbytes=0.0)


class Point(Value, frozen=True):
    """After `round` rounds: the score, and what was spent under either plan."""

    round: int
    score: float
    aware: Spent
    standard: Spent


class Learned(Value, frozen=True):
    """A run of collaborative learning.

    Attributes:
        what: what the scores are: "accuracy" on test examples (0 to 1), or "mean return" of greedy agents.
        before: the score before the first round, where it was taken.
        points: in order of the rounds.
        plans: what a round costs, with the parameters' way in the plan (`aware`) and without (`standard`).
        seed: of examples, batches, games and first weights.
    """

    method: Method
    what: str
    points: tuple[Point, ...]
    plans: RoundPlans
    before: float | None = None
    seed: int = 0
    score_basis: Basis = "measured"
    cost_basis: Basis = "modelled"
    schema: int = SCHEMA_VERSION


def learned_rounds(run: FederatedRun, plans: RoundPlans, *, seed: int) -> Learned:
    """A federated run with what its rounds cost; client k is the agent at place k of `plans`, counted round and round
    where there are more clients than places."""
    points: list[Point] = []
    aware, standard = NOTHING, NOTHING
    for score in run.scores:
        aware = _after(aware, plans.aware, score.participants)
        standard = _after(standard, plans.standard, score.participants)
        points.append(Point(round=score.round, score=score.accuracy, aware=aware, standard=standard))
    return Learned(method="fedavg", what="accuracy", points=tuple(points), plans=plans, before=run.before, seed=seed)


def learned_agents(run: QMIXRun, plans: RoundPlans, *, agents: int, seed: int) -> Learned:
    """A run of QMIX with what its rounds cost: agents learn once an episode, and merge every `plans.steps` times."""
    points: list[Point] = []
    aware, standard = NOTHING, NOTHING
    done = 0
    first = run.settings.episodes - len(run.losses)  # episodes played before there was a batch to learn from
    for score in run.scores:
        rounds = max(0, score.episode - first) // plans.steps
        while done < rounds:
            aware, standard = (
                _after(spent, cost, range(agents)) for spent, cost in ((aware, plans.aware), (standard, plans.standard))
            )
            done += 1
        points.append(Point(round=rounds, score=score.mean_return, aware=aware, standard=standard))
    return Learned(method="qmix", what="mean return", points=tuple(points), plans=plans, seed=seed)


def _after(spent: Spent, cost: RoundCost, participants: Sequence[int]) -> Spent:
    """`spent` after one more round of those participants, which wait for each other."""
    agents = [cost.agents[k % len(cost.agents)] for k in participants]
    return Spent(
        seconds=spent.seconds + max(agent.cost("latency") for agent in agents),
        joules=spent.joules + sum(agent.cost("energy") for agent in agents),
        nbytes=spent.nbytes + sum(agent.cost("bytes") for agent in agents),
    )
