"""Exact optimum over all multi-splits of a chain of hosts, and the plans that come next.

The solver folds `wave.step` from the sink to the source and follows the tables back down: the
same function that each host of a running network applies to the message it gets.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from airloom.core.problem import HopCost, Problem
from airloom.core.profile import weights_nbytes
from airloom.errors import Infeasible
from airloom.planner.wave import Floats, Table, arrivals, step, stop_costs
from airloom.units import format_bytes

_SECOND_LOOK = 16


@dataclass(frozen=True)
class Solution:
    """An assignment of operators to the hosts of a chain.

    Attributes:
        stops: for each host, the cut at which it stops; it runs what lies between its
            predecessor's stop and its own. Different stops are different assignments.
        seconds: `Problem.chain_s(stops)`.
    """

    stops: tuple[int, ...]
    seconds: float


def fold(problem: Problem) -> list[tuple[Floats, Table]]:
    """Message and table of every host, source first."""
    told: list[tuple[Floats, Table]] = []
    message: Floats | None = None
    hops: tuple[HopCost | None, ...] = (*problem.hops, None)
    for host, hop in zip(reversed(problem.hosts), reversed(hops), strict=True):
        message, table = step(host, hop, message)
        told.append((message, table))
    told.reverse()
    return told


def follow(tables: list[Table], start: int = 0) -> tuple[int, ...]:
    """The stops that the tables lead to from the cut `start`."""
    stops: list[int] = []
    for table in tables:
        start = table.stop_at(start)
        stops.append(start)
    return tuple(stops)


def solve(problem: Problem) -> Solution:
    """The assignment of least latency; of equals the one whose hosts, from the source on, run the most.

    Raises:
        Infeasible: the limits leave no assignment; names the device that lacks the fewest bytes.
    """
    if problem.is_coded:
        return _ranked(problem, 0)[0]
    told = fold(problem)
    if not np.isfinite(told[0][0][0]):
        raise infeasible(problem)
    stops = follow([table for _, table in told])
    return Solution(stops, problem.chain_s(stops))


def runner_ups(problem: Problem, k: int) -> tuple[Solution, ...]:
    """The `k` best assignments after the optimum, cheapest first; fewer where there are fewer."""
    return _ranked(problem, k)[1:]


def _ranked(problem: Problem, k: int) -> tuple[Solution, ...]:
    """The optimum and the `k` best assignments after it.

    Where cuts may be coded, the wave prices each hop by itself, as if every host decoded; one coding
    for all hops of a transfer moves the sums a little, so a few more assignments are priced whole.
    """
    if not problem.is_coded:
        return _cheapest(problem, k)
    found = _cheapest(problem, k + _SECOND_LOOK)
    return tuple(sorted(found, key=lambda solution: solution.seconds)[: k + 1])


def _cheapest(problem: Problem, k: int) -> tuple[Solution, ...]:
    """The optimum and the `k` best assignments after it, each hop priced by itself.

    Exact (Lawler 1972): what is left after an assignment is taken out is divided by the first
    host that decides differently, and the best of each part costs one pass over the cuts.
    """
    told = fold(problem)
    tables = [table for _, table in told]
    tails = [
        arrivals(host, hop, told[p + 1][0] if hop is not None else None)
        for p, (host, hop) in enumerate(zip(problem.hosts, (*problem.hops, None), strict=True))
    ]
    best = float(told[0][0][0])
    if not np.isfinite(best):
        raise infeasible(problem)
    # seconds, stops, the host that decided differently, the stops it had to leave out
    queue = [(best, follow(tables), 0, frozenset[int]())]
    found: list[Solution] = []
    while queue and len(found) <= k:
        _, stops, first, left_out = heapq.heappop(queue)
        found.append(Solution(stops, problem.chain_s(stops)))
        spent, start = 0.0, 0
        for p, (host, stop) in enumerate(zip(problem.hosts, stops, strict=True)):
            if start == problem.num_operators:
                break  # the result has turned back: nothing is left to decide
            if p >= first:
                barred = (left_out if p == first else frozenset()) | {stop}
                costs = stop_costs(host, tails[p], start)
                costs[list(barred)] = np.inf
                # Of equals the latest, as in the tables.
                other = len(costs) - 1 - int(np.argmin(costs[::-1]))
                if np.isfinite(costs[other]):
                    rest = (*stops[:p], other, *follow(tables[p + 1 :], other))
                    heapq.heappush(queue, (spent + float(costs[other]), rest, p, barred))
            spent += host.stage_s(start, stop)
            if stop < problem.num_operators:
                spent += float(problem.hops[p].cost_s[stop])
            start = stop
    return tuple(found)


def infeasible(problem: Problem) -> Infeasible:
    """The error that names the device which lacks the fewest bytes for a plan to exist."""
    source = problem.hosts[0]
    if source.min_stop and source.memory_bytes is None and source.last_stop[0] == 0:
        return Infeasible(
            f"{source.device} must keep {source.min_stop} operators and may run none: keep none there, or let it "
            "run them",
            device=source.device,
        )
    told = fold(problem)
    reachable = np.zeros(problem.num_operators + 1, dtype=bool)  # cuts that hosts upstream can deliver
    reachable[0] = True
    nearest: tuple[int, str, int, int] | None = None  # bytes short, device, start, stop
    for p, (host, hop) in enumerate(zip(problem.hosts, (*problem.hops, None), strict=True)):
        tail = arrivals(host, hop, told[p + 1][0] if hop is not None else None)
        starts: list[int] = np.flatnonzero(reachable).tolist()
        if host.memory_bytes is not None and problem.weights:
            stops: list[int] = np.flatnonzero(np.isfinite(tail)).tolist()
            for stop in stops:
                # Of the stages that end here the shortest needs the least.
                start = max((cut for cut in starts if cut < stop), default=None)
                if start is None:
                    continue
                short = weights_nbytes(problem.weights, start, stop) - host.memory_bytes
                if short > 0 and (nearest is None or short < nearest[0]):
                    nearest = (short, host.device, start, stop)
        if hop is not None:
            onward = np.zeros_like(reachable)
            for start in starts:
                onward[start : host.last_stop[start] + 1] = True
            onward[: host.min_stop] = False
            reachable = onward & np.isfinite(hop.cost_s)
    if nearest is None:
        names = ", ".join(host.device for host in problem.hosts)
        return Infeasible(f"no host of {names} may run the model and no other way leads on: let one of them compute")
    short, device, start, stop = nearest
    need = weights_nbytes(problem.weights, start, stop)
    kept = next((h for h in problem.hosts if h.device == device), problem.hosts[0]).min_stop
    remedy = f"give it {format_bytes(short)} more, add a host or prune the model"
    if kept:
        remedy += f", or keep fewer than {kept} operators there"
    return Infeasible(
        f"{device} needs {format_bytes(need)} for the {problem.held} of operators {start}..{stop - 1}, "
        f"has {format_bytes(need - short)}: {remedy}",
        device=device,
        short_bytes=short,
    )
