"""What people do without Airloom: everything on the UE, everything in the cloud, one split between the two."""

from __future__ import annotations

from airloom.core.problem import Problem
from airloom.planner.chain import Solution

# What a plan, a trace and a report call them.
TITLES = {"ue-only": "UE only", "cloud-only": "cloud only", "single-split": "best single split"}


def _priced(problem: Problem, stops: tuple[int, ...]) -> Solution | None:
    seconds = problem.chain_s(stops)
    return Solution(stops, seconds) if seconds != float("inf") else None


def ue_only(problem: Problem) -> Solution | None:
    """The source runs everything; None where it lacks the memory."""
    return _priced(problem, (problem.num_operators,) * len(problem.hosts))


def cloud_only(problem: Problem) -> Solution | None:
    """The sink runs everything, the others forward; None where a limit (memory, privacy) forbids it."""
    return _priced(problem, (0,) * (len(problem.hosts) - 1) + (problem.num_operators,))


def single_splits(problem: Problem) -> list[Solution]:
    """All splits between source and sink that are possible, the others forward; everything on one of the two counts."""
    last, between = problem.num_operators, len(problem.hosts) - 1
    return [s for cut in range(last + 1) if (s := _priced(problem, (cut,) * between + (last,))) is not None]


def best_single_split(problem: Problem) -> Solution | None:
    """The fastest of all splits between source and sink (Neurosurgeon); None where none is possible."""
    # Of equals the latest cut, as everywhere: less is transferred.
    return min(single_splits(problem), key=lambda s: (s.seconds, -s.stops[0]), default=None)


def baselines(problem: Problem) -> dict[str, Solution | None]:
    """All of them, by the names of `TITLES`."""
    return {
        "ue-only": ue_only(problem),
        "cloud-only": cloud_only(problem),
        "single-split": best_single_split(problem),
    }
