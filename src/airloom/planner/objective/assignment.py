"""What a given assignment costs in any metric, its hops carrying their cuts in given ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from airloom.core.objective import Metric, named
from airloom.core.plan import Plan
from airloom.core.problem import HopCost, Option, Problem, best_crossing
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


def as_planned(problem: Problem, plan: Plan) -> tuple[Option | None, ...]:
    """For each hop the option that carries its cut as `plan` has it, under prices that may have moved since.

    A coding or MCS that is no longer there is replaced by what takes least time.
    """
    found = list(fastest_options(problem, plan.stops))
    sent = {(hop.src, hop.dst): (transfer.coding, hop.mcs) for transfer in plan.transfers if transfer.dst
            for hop in transfer.route}  # fmt: skip
    for p, q in problem.crossings(plan.stops):
        cut, hops = plan.stops[p], problem.hops[p:q]
        kept = [_carrying(hop, cut, *sent.get((hop.src, hop.dst), ("raw", None))) for hop in hops]
        if all(hop.options[cut] for hop in kept):
            found[p:q] = best_crossing(kept, cut)
    return tuple(found)


def _carrying(hop: HopCost, cut: int, coding: str, mcs: int | None) -> HopCost:
    """The hop with only one way to carry one cut; with no way where it is not among its options."""

    def only(rows: Sequence[tuple[Option, ...]]) -> tuple[tuple[Option, ...], ...]:
        if not rows:
            return ()
        same = tuple(option for option in rows[cut] if (option.coding, option.mcs) == (coding, mcs))
        return tuple(same if k == cut else () for k in range(len(rows)))

    return dataclasses.replace(hop, options=only(hop.options), relayed=only(hop.relayed))


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
