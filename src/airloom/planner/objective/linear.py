"""HiveMind's linear combination (Eq. 11): one weighted sum of all metrics, bounded ones too, by the O(L) wave.

It knows nothing of bounds: it may exceed them, or improve a metric that already meets its bound at the
cost of the ones to minimise. `Outcome.meets` says how it came out.
"""

from __future__ import annotations

import numpy as np

from airloom.core.problem import Floats
from airloom.errors import Infeasible
from airloom.planner.chain import solve
from airloom.planner.objective.grid import Grid, Path
from airloom.planner.objective.outcome import Outcome, outcome
from airloom.planner.objective.vectors import VectorProblem


def solve_linear(problem: VectorProblem, gap: float = 0.0, *, weights: Floats | None = None) -> Outcome:
    """The assignment of the least weighted sum of all metrics.

    Args:
        gap: not heeded; the sum is minimised exactly.
        weights: `[M]` per s, J, byte and unit of money; None takes `even_weights`.

    Raises:
        Infeasible: memory and privacy leave no assignment at all.
    """
    path = least(problem, even_weights(problem) if weights is None else weights)
    # Where nothing is bounded this is what was asked for.
    proven = weights is None and bool(np.isinf(problem.bounds).all())
    return outcome(problem, path.stops, path.ways, 0.0 if proven else None)


def even_weights(problem: VectorProblem) -> Floats:
    """`[M]` weights that do not depend on units: the best-effort sum over its own least value, and each
    bounded metric over its bound."""
    bounded = np.where(np.isfinite(problem.bounds), 1.0 / problem.bounds, 0.0)
    if not bounded.any():
        return problem.weights
    return problem.weights / least_value(problem) + bounded


def least_value(problem: VectorProblem) -> float:
    """The weighted sum of the best-effort metrics where no bound counts; 1 where that is 0."""
    path = least(problem, problem.weights)
    return problem.value(problem.cost(path.stops, path.ways)) or 1.0


def least(problem: VectorProblem, weights: Floats) -> Path:
    """The assignment of least `weights @ costs`, of equals the one with the latest stops.

    Raises:
        Infeasible: memory and privacy leave no assignment at all.
    """
    grid = Grid(problem, weights[None, :])
    fold = grid.fold(np.ones((1, 1)))
    if not np.isfinite(fold.costs[0][0, 0]):
        raise impossible(problem)
    return grid.follow(fold, 0)


def impossible(problem: VectorProblem) -> Infeasible:
    """The error of a problem without any assignment; that of `chain.solve` where it knows what is lacking."""
    try:
        solve(problem.problem)
    except Infeasible as error:
        return error
    return Infeasible("no assignment of operators to hosts is possible: let one of them compute, or add a host")
