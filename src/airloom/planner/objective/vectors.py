"""From a `Problem` and an `Objective` to arrays: what every stage and every crossing costs in each metric.

A transfer crosses one hop, or, where cuts travel coded, several at once: hosts between that run
nothing pass the blob on as it came (`core.problem.best_crossing`), so one coding is chosen for all
of them. Then a `Crossing` spans several hops and hosts in between are not visited at all; without
codings every crossing is one hop, and a host may run nothing and forward.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from airloom.core.objective import Objective
from airloom.core.problem import Floats, HostCost, Option, Problem
from airloom.planner.objective.crossing import Crossing, hop_crossing
from airloom.planner.objective.dominance import keep_first_of_equals
from airloom.planner.objective.metrics import (
    Counted,
    bounds_of,
    counts,
    elapsed_of,
    known_metrics,
    metrics_of,
    option_costs,
    rates_of,
    weights_of,
)
from airloom.planner.objective.passing import passed_on

__all__ = [
    "ROUNDING",
    "Counted",
    "Crossing",
    "VectorProblem",
    "bounds_of",
    "counts",
    "elapsed_of",
    "hop_crossing",
    "known_metrics",
    "metrics_of",
    "option_costs",
    "rates_of",
    "vectors",
    "weights_of",
]

#: A bound is met where the cost is at most this much, relative, above it: what rounding does to sums.
ROUNDING = 1e-9


@dataclass(frozen=True)
class VectorProblem:
    """A chain of P hosts and L operators priced in M metrics.

    Attributes:
        names: of the metrics, best effort first.
        weights: `[M]` of the sum that is minimised, 0 where a metric is only bounded.
        bounds: `[M]`, infinity where there is none.
        hosts: memory windows and privacy are theirs.
        elapsed: per host, `[M, L+1]` costs of the operators before each cut.
        constant: per host, `[M]` of a stage that is not empty.
        crossings: by the host they leave, each to the next host; where cuts travel coded, to later hosts too.
        relays: whether a host may be visited and run nothing; False where crossings pass hosts over.
        problem: what this was made from.
    """

    names: tuple[str, ...]
    weights: Floats
    bounds: Floats
    hosts: tuple[HostCost, ...]
    elapsed: tuple[Floats, ...]
    constant: tuple[Floats, ...]
    crossings: tuple[tuple[Crossing, ...], ...]
    relays: bool
    problem: Problem

    @property
    def num_operators(self) -> int:
        return self.hosts[0].num_operators

    @functools.cached_property
    def limits(self) -> Floats:
        """`[M]` bounds with what rounding may add."""
        return self.bounds * (1.0 + ROUNDING)

    def value(self, costs: Floats) -> float:
        """The weighted sum that is minimised."""
        return float(self.weights @ costs)

    def excess(self, costs: Floats) -> float:
        """The largest cost over its bound: at most 1 where every bound is met, to rounding."""
        return float(np.max(costs / self.bounds, initial=0.0))

    def meets(self, costs: Floats) -> bool:
        return bool((costs <= self.limits).all())

    def stage(self, host: int, start: int, stop: int) -> Floats:
        """`[M]` of operators start..stop-1."""
        if stop == start:
            return np.zeros(len(self.names))
        return self.constant[host] + self.elapsed[host][:, stop] - self.elapsed[host][:, start]

    def cost(self, stops: Sequence[int], ways: Sequence[int] | None = None) -> Floats:
        """`[M]` the price of an assignment, infinity where it cannot be.

        Args:
            stops: for each host, the cut at which it stops.
            ways: of each transfer, in the order of `transfers`; None takes the ways that meet the bounds
                at the least value, or come closest to meeting them.
        """
        return self.priced(stops, ways)[0]

    def transfers(self, stops: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Hosts (p, q) between which the transfers of an assignment go: single hops, or whole crossings."""
        if self.relays:
            return tuple((p, p + 1) for p, stop in enumerate(stops[:-1]) if stop < self.num_operators)
        return self.problem.crossings(tuple(stops))

    def priced(self, stops: Sequence[int], ways: Sequence[int] | None = None) -> tuple[Floats, tuple[int, ...]]:
        """`cost`, and the ways it is the price of."""
        total, start, impossible = np.zeros(len(self.names)), 0, np.full(len(self.names), np.inf)
        for p, (host, stop) in enumerate(zip(self.hosts, stops, strict=True)):
            if stop < start or stop < host.min_stop or not host.fits(start, stop):
                return impossible, ()
            total = total + self.stage(p, start, stop)
            start = stop
        if start < self.num_operators:
            return impossible, ()
        carried = [self.crossing(p, q).costs[:, :, stops[p]] for p, q in self.transfers(stops)]
        if ways is not None:
            return sum((rows[way] for rows, way in zip(carried, ways, strict=True)), total), tuple(ways)
        sums, taken = total[None, :], np.zeros((1, 0), dtype=np.intp)
        for rows in carried:
            rows = rows[np.isfinite(rows).all(axis=1)]
            if not len(rows):
                return impossible, ()
            pairs = (sums[:, None, :] + rows[None, :, :]).reshape(-1, sums.shape[1])
            way = np.tile(np.arange(len(rows)), len(sums))
            taken = np.column_stack([np.repeat(taken, len(rows), axis=0), way])
            kept = keep_first_of_equals(pairs)
            sums, taken = pairs[kept], taken[kept]
        met = (sums <= self.limits).all(axis=1)
        score = np.where(met, sums @ self.weights, np.inf) if met.any() else (sums / self.bounds).max(axis=1)
        best = int(np.argmin(score))
        return sums[best], tuple(int(way) for way in taken[best])

    def crossing(self, src: int, dst: int) -> Crossing:
        return self.crossings[src][dst - src - 1]

    def options(self, stops: Sequence[int], ways: Sequence[int]) -> tuple[Option | None, ...]:
        """For each hop, how it carries its cut; None where nothing crosses it."""
        found: list[Option | None] = [None] * (len(self.hosts) - 1)
        for (p, q), way in zip(self.transfers(stops), ways, strict=True):
            found[p:q] = self.crossing(p, q).route(way, stops[p])
        return tuple(found)


def vectors(problem: Problem, objective: Objective, roles: Mapping[str, str]) -> VectorProblem:
    """`problem` in the metrics that `objective` names.

    Args:
        roles: of every device of the topology, so that an objective may count a role's devices.

    Raises:
        ConfigError: the objective counts devices that there are none of.
    """
    counted = known_metrics(objective, roles)
    rates = [rates_of(host, counted, roles) for host in problem.hosts]
    coded = problem.is_coded
    hosts = problem.hosts
    crossings: list[tuple[Crossing, ...]] = [
        (hop_crossing(p, hop, hosts[p], hosts[p + 1], counted, roles),) for p, hop in enumerate(problem.hops)
    ]
    crossings.append(())
    if coded:
        crossings = [near + far for near, far in zip(crossings, passed_on(problem, counted, roles), strict=True)]
    return VectorProblem(
        names=tuple(counted),
        weights=weights_of(objective),
        bounds=bounds_of(objective),
        hosts=problem.hosts,
        elapsed=tuple(elapsed_of(host, rate, counted, roles) for rate, host in zip(rates, problem.hosts, strict=True)),
        constant=tuple(rate * host.constant_s for rate, host in zip(rates, problem.hosts, strict=True)),
        crossings=tuple(crossings),
        relays=not coded,
        problem=problem,
    )
