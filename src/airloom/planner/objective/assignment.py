"""What a given assignment costs in any metric, its hops carrying their cuts in given ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airloom.core.objective import Metric, named
from airloom.core.problem import Option, Problem, best_crossing
from airloom.planner.objective.vectors import Counted, elapsed_of, option_costs, rates_of

#: Every device counts.
ALL: Counted = {"latency": ("latency", ()), "energy": ("energy", ())}


def counted(metric: Metric, devices: tuple[str, ...] = ()) -> Counted:
    """One metric, over some devices or roles; over all where none are named."""
    return {named(metric, devices): (metric, devices)}


def fastest_options(problem: Problem, stops: Sequence[int]) -> tuple[Option | None, ...]:
    """For each hop the option that takes least time, one coding for hops in a row; None where nothing crosses."""
    found: list[Option | None] = [None] * len(problem.hops)
    for p, q in problem.crossings(tuple(stops)):
        found[p:q] = best_crossing(problem.hops[p:q], stops[p])
    return tuple(found)


def assignment_costs(
    problem: Problem,
    stops: Sequence[int],
    options: Sequence[Option | None],
    metrics: Counted,
    roles: Mapping[str, str],
) -> dict[str, float]:
    """By name, what one request costs: stages, hops, and the result's way back over every hop that is crossed.

    Args:
        options: for each hop, as from `fastest_options` or `Outcome.options`.
        roles: of every device of the topology, by id.
    """
    total = dict.fromkeys(metrics, 0.0)
    start = 0
    for host, stop in zip(problem.hosts, stops, strict=True):
        rates = rates_of(host, metrics, roles)
        if host.haul is not None and stop > start:
            elapsed = elapsed_of(host, rates, metrics, roles)
            stage = elapsed[:, stop] - elapsed[:, start] + rates * host.constant_s
        else:
            stage = rates * host.stage_s(start, stop)
        for name, share in zip(metrics, stage.tolist(), strict=True):
            total[name] += share
        start = stop
    for p, option in enumerate(options):
        if option is None:
            continue
        here, there = problem.hosts[p], problem.hosts[p + 1]
        onward = option_costs(option, here, there, metrics, roles)
        back = option_costs(problem.hops[p].back, there, here, metrics, roles)
        for name, ahead, home in zip(metrics, onward, back, strict=True):
            total[name] += ahead + home
    return total
