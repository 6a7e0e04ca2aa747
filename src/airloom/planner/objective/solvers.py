"""The solvers of an objective, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airloom.core.objective import Objective, Solver
from airloom.core.problem import Problem
from airloom.planner.objective.convex import solve_convex
from airloom.planner.objective.exact import solve_exact
from airloom.planner.objective.linear import solve_linear
from airloom.planner.objective.outcome import Outcome
from airloom.planner.objective.vectors import VectorProblem, vectors


def solve_objective(problem: Problem, objective: Objective, roles: Mapping[str, str], *, gap: float = 0.0) -> Outcome:
    """The assignment that `objective` asks for, by its solver.

    Args:
        roles: role of every device of the topology, by id.
        gap: relative distance to the optimum that will do; only the exact solver heeds it.

    Raises:
        ConfigError: the objective counts devices that there are none of.
        Unreachable: (exact only) no assignment meets every bound; carries the closest one. The others
            answer with what they have and `Outcome.meets`.
        Infeasible: memory and privacy leave no assignment at all.
    """
    return SOLVERS[objective.solver](vectors(problem, objective, roles), gap)


#: By the name that an objective gives.
SOLVERS: Mapping[Solver, Callable[[VectorProblem, float], Outcome]] = {
    "exact": solve_exact,
    "convex": solve_convex,
    "linear": solve_linear,
}
