"""What a solver of an objective answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airloom.core.plan import PlanCost
from airloom.core.problem import Floats, Option
from airloom.errors import Infeasible
from airloom.planner.chain import Solution
from airloom.planner.objective.vectors import VectorProblem

__all__ = ["Outcome", "Unreachable", "outcome"]


@dataclass(frozen=True)
class Outcome:
    """An assignment, how its hops carry their cuts, and what it costs in every metric of the objective.

    Attributes:
        solution: stops, and the seconds of a request under `options`.
        ways: of each transfer, in the order of `VectorProblem.transfers`.
        options: for each hop of the chain how it carries its cut, None where nothing crosses it.
        names: of the metrics, as `core.objective.named` has them.
        costs: `[M]`.
        bounds: `[M]`, infinity where there is none.
        value: the weighted sum of the best-effort metrics.
        gap: proven bound on (value - optimum) / value over all assignments that meet the bounds; None where
            the solver proves none.
        meets: whether every bound is met.
    """

    solution: Solution
    ways: tuple[int, ...]
    options: tuple[Option | None, ...]
    names: tuple[str, ...]
    costs: Floats
    bounds: Floats
    value: float
    gap: float | None
    meets: bool

    @property
    def excess(self) -> float:
        """The largest cost over its bound."""
        return float((self.costs / self.bounds).max(initial=0.0))

    @property
    def plan_costs(self) -> tuple[PlanCost, ...]:
        """As a plan carries them."""
        return tuple(
            PlanCost(name=name, predicted=float(cost), limit=float(bound) if bound < float("inf") else None)
            for name, cost, bound in zip(self.names, self.costs, self.bounds, strict=True)
        )


class Unreachable(Infeasible):
    """No assignment meets every bound of the objective.

    Attributes:
        closest: the assignment whose largest cost over its bound is least.
    """

    def __init__(self, message: str, closest: Outcome) -> None:
        super().__init__(message)
        self.closest = closest


def outcome(
    problem: VectorProblem, stops: Sequence[int], ways: Sequence[int] | None = None, gap: float | None = None
) -> Outcome:
    """The outcome of an assignment; without `ways` those of `VectorProblem.priced`."""
    costs, taken = problem.priced(stops, ways)
    options = problem.options(stops, taken)
    return Outcome(
        solution=Solution(tuple(int(stop) for stop in stops), seconds(problem, stops, options)),
        ways=taken,
        options=options,
        names=problem.names,
        costs=costs,
        bounds=problem.bounds,
        value=problem.value(costs),
        gap=gap,
        meets=problem.meets(costs),
    )


def seconds(problem: VectorProblem, stops: Sequence[int], options: Sequence[Option | None]) -> float:
    """Of one request of an assignment whose hops carry their cuts in `options`."""
    total, start = 0.0, 0
    for host, stop in zip(problem.hosts, stops, strict=True):
        total += host.stage_s(start, int(stop))
        start = int(stop)
    for hop, option in zip(problem.problem.hops, options, strict=True):
        if option is not None:
            total += option.total_s + hop.back.total_s
    return total
