"""HiveMind's non-linear weights (Eq. 12): a bounded metric hardly counts on an edge until it nears its bound.

An edge of the paper's graph is a host's stage with the transfer into it; phi_j is what it costs in
metric j. Best-effort metrics count linearly, bounded ones by W(phi) = -1 / (phi - bound), and an edge
that reaches a bound costs infinity. That acts on single edges: of a path of several edges, each below
the bound, the sum may exceed it. `Outcome.meets` says how it came out; the exact solver promises it.

The cost of an edge does not separate into its start and its stop, so a host looks at all of its stages,
O(L^2), as in the paper's Algorithm 1.

In raw units Eq. 12 adds J to 1/s, and answers change with the unit. Here, unless `literal`, both parts
are without unit: the best-effort sum over its own least value, and `SHARE` times x / (1 - x), where
x = phi / bound. That is the paper's W times `SHARE` and the bound, less what an edge that costs nothing
would pay, so that an assignment is not charged for the number of its edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats
from airloom.errors import Infeasible
from airloom.planner.objective.grid import Path
from airloom.planner.objective.linear import least_value
from airloom.planner.objective.outcome import Outcome, outcome
from airloom.planner.objective.vectors import VectorProblem

#: What an edge at half of a bound costs, over the least value of the best-effort sum.
SHARE = 0.01


def solve_convex(problem: VectorProblem, gap: float = 0.0, *, share: float = SHARE, literal: bool = False) -> Outcome:
    """The path of least sum of edge costs.

    Args:
        gap: not heeded; the sum is minimised exactly, but it is another one than was asked for.
        share: what an edge at half of a bound costs, over the least value of the best-effort sum.
        literal: Eq. 12 as printed, in s, J, bytes and money.

    Raises:
        Infeasible: every path has an edge that reaches a bound, or memory and privacy leave no path.
    """
    value = 1.0 if literal else least_value(problem)  # where there is no path at all this says so
    hosts, last = len(problem.hosts), problem.num_operators
    # Per host, [L+1] the least from the moment it stops at a cut, and to which host and way that leads.
    beyond: list[Floats] = [np.zeros(0)] * hosts
    arrival: dict[tuple[int, int], Floats] = {}
    decided: dict[tuple[int, int], tuple[Cuts, Cuts]] = {}  # for each cut handed over, the way and the stop
    for q in range(hosts - 1, -1, -1):
        beyond[q] = np.full(last + 1, np.inf)
        for crossing in problem.crossings[q]:
            np.minimum(beyond[q], arrival[q, crossing.dst], out=beyond[q])
        beyond[q][: problem.hosts[q].min_stop] = np.inf
        beyond[q][last] = 0.0
        stages, allowed = _stages(problem, q)
        if q == 0:
            edges = _edge_costs(problem, stages, value, share, literal)
            first = np.where(allowed, edges + beyond[0], np.inf)[0]
        for p in range(q) if not problem.relays else range(max(q - 1, 0), q):
            best = np.full(last + 1, np.inf)
            ways, stops = np.zeros(last + 1, dtype=np.intp), np.zeros(last + 1, dtype=np.intp)
            for way, carried in enumerate(problem.crossing(p, q).costs):
                barred = np.isinf(carried[0])
                phi = stages + np.where(barred, 0.0, carried)[:, :, None]
                total = np.where(
                    allowed & ~barred[:, None], _edge_costs(problem, phi, value, share, literal) + beyond[q], np.inf
                )
                stop = last - total[:, ::-1].argmin(axis=1)
                found = total[np.arange(last + 1), stop]
                better = found < best
                best, ways, stops = (
                    np.where(better, found, best),
                    np.where(better, way, ways),
                    np.where(better, stop, stops),
                )
            arrival[p, q], decided[p, q] = best, (ways, stops)
    if not np.isfinite(first).any():
        raise Infeasible(
            "every path has a stage that alone, with the transfer into it, reaches a bound: relax it, or take the "
            "exact solver, which names the closest plan"
        )
    path = _follow(problem, int(last - first[::-1].argmin()), arrival, decided)
    return outcome(problem, path.stops, path.ways, None)


def _stages(problem: VectorProblem, q: int) -> tuple[Floats, NDArray[np.bool_]]:
    """`[M, L+1, L+1]` cost of the stages of host q by start and stop, and which of them are allowed."""
    host, last = problem.hosts[q], problem.num_operators
    cuts = np.arange(last + 1)
    elapsed = problem.elapsed[q]
    runs = elapsed[:, None, :] - elapsed[:, :, None] + problem.constant[q][:, None, None]
    stays = cuts[None, :] == cuts[:, None]
    allowed = (cuts[None, :] > cuts[:, None]) & (cuts[None, :] <= host.last_stop[:, None])
    if problem.relays or q == 0:
        allowed |= stays
    return np.where(stays, 0.0, runs), allowed


def _edge_costs(problem: VectorProblem, phi: Floats, value: float, share: float, literal: bool) -> Floats:
    """`[L+1, L+1]` of edges that cost `phi`, `[M, L+1, L+1]`."""
    total: Floats = np.tensordot(problem.weights / value, phi, axes=1)
    for cost, bound in zip(phi, problem.bounds, strict=True):
        if np.isinf(bound):
            continue
        over = cost >= bound
        room = np.where(over, 1.0, bound - cost)
        total = total + np.where(over, np.inf, 1.0 / room if literal else share * cost / room)
    return total


def _follow(
    problem: VectorProblem,
    stop: int,
    arrival: dict[tuple[int, int], Floats],
    decided: dict[tuple[int, int], tuple[Cuts, Cuts]],
) -> Path:
    p, stops, taken = 0, [stop], []
    while stop < problem.num_operators:
        q = min((crossing.dst for crossing in problem.crossings[p]), key=lambda q: float(arrival[p, q][stop]))
        ways, onward = decided[p, q]
        taken.append(int(ways[stop]))
        stops += [stop] * (q - p - 1)
        p, stop = q, int(onward[stop])
        stops.append(stop)
    stops += [stop] * (len(problem.hosts) - len(stops))
    return Path(tuple(stops), tuple(taken))
