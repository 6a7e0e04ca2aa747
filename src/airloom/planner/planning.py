"""From a solution to a plan that can be printed, checked, written to a file and run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airloom.core.coding import parse_coding
from airloom.core.objective import Objective
from airloom.core.plan import Alternative, Hop, Plan, PlanCost, Slice, Stage, Transfer
from airloom.core.problem import HopCost, Option, Problem
from airloom.core.profile import Profile
from airloom.core.topology import Power, Topology
from airloom.errors import ConfigError
from airloom.planner.baselines import baselines
from airloom.planner.chain import Solution, solve
from airloom.planner.chain import runner_ups as next_best
from airloom.planner.check import check_plan
from airloom.planner.objective.assignment import as_planned, assignment_costs, counted, fastest_options
from airloom.planner.objective.vectors import metrics_of
from airloom.units import format_bytes

__all__ = [
    "check_plan",
    "costs_under",
    "limits",
    "make_plan",
    "predicted_j",
    "price_plan",
    "roles_of",
    "usual_costs",
]


def make_plan(
    problem: Problem,
    solution: Solution,
    topology: Topology,
    profile: Profile,
    *,
    runner_ups: int = 3,
    options: Sequence[Option | None] | None = None,
) -> Plan:
    """The plan of an assignment, with what it should take and what lost to it.

    Args:
        problem: prices; `problem.hosts` names the chain.
        solution: the optimum, or any other assignment, such as a baseline's.
        profile: names the tensors that cross each cut; one written by hand may leave them out, and
            then stages and transfers name none.
        runner_ups: how many of the best other assignments to put beside it.
        options: for each hop how it carries its cut, None where nothing crosses it; those that take
            least time where none are given.
    """
    carried_by = fastest_options(problem, solution.stops) if options is None else options
    chain = tuple(host.device for host in problem.hosts)
    crossings = {p: way for p, _, way in _crossings(problem, solution.stops, carried_by)}
    ids = tuple(cut.tensors for cut in profile.cuts)
    stages: list[Stage] = []
    transfers: list[Transfer] = []
    start, at, sender = 0, 0, ""  # the cut, where its live set is, and the stage that made it
    for p, (host, stop) in enumerate(zip(problem.hosts, solution.stops, strict=True)):
        if stop == start:
            continue
        carried = crossings.get(at, ()) if p > at else ()
        stage = Stage(
            id=f"s{len(stages)}",
            device=host.device,
            start=start,
            stop=stop,
            inputs=ids[start],
            outputs=ids[stop],
            predicted_s=host.stage_s(start, stop) + _decoding_s(carried) + _coding_s(crossings.get(p, ())),
        )
        transfers.append(
            Transfer(
                src=sender,
                dst=stage.id,
                slices=_slices(ids[start]),
                route=tuple(
                    _forward(problem.hops[at + k], option)
                    for k, option in enumerate(_uncoded(carried, coded_by_stage=bool(sender)))
                ),
                coding=carried[0].coding if carried else "raw",
                accuracy_drop=sum(option.accuracy_drop for option in carried),
            )
        )
        stages.append(stage)
        start, at, sender = stop, p, stage.id
    back = tuple(_back(problem, q) for q in range(at - 1, -1, -1)) if problem.result_returns else ()
    transfers.append(Transfer(src=sender, dst="", slices=_slices(ids[-1]), route=back))
    predicted = None
    if problem.clean_accuracy is not None:
        predicted = problem.clean_accuracy - sum(transfer.accuracy_drop for transfer in transfers)
    return Plan(
        model=problem.model,
        graph_digest=problem.graph_digest,
        problem_digest=problem.digest,
        chain=chain,
        stops=solution.stops,
        stages=tuple(stages),
        transfers=tuple(transfers),
        predicted_s=solution.seconds,
        predicted_j=predicted_j(problem, solution.stops, topology, carried_by),
        alternatives=_alternatives(problem, solution, runner_ups),
        limits=limits(stages, transfers),
        min_accuracy=problem.min_accuracy,
        clean_accuracy=problem.clean_accuracy,
        predicted_accuracy=predicted,
        notes=pruning_notes(problem, profile, stages, transfers),
        costs=usual_costs(problem, solution.stops, carried_by, topology),
    )


def _slices(tensors: tuple[int, ...]) -> tuple[Slice, ...]:
    return tuple(Slice(tensor=tensor) for tensor in tensors)


def _crossings(
    problem: Problem, stops: tuple[int, ...], options: Sequence[Option | None]
) -> list[tuple[int, int, tuple[Option, ...]]]:
    """The hops `p..q-1` of every transfer of a cut, and how each of them carries it."""
    found = []
    for p, q in problem.crossings(stops):
        way = tuple(option for option in options[p:q] if option is not None)
        if len(way) != q - p:
            raise ValueError(f"no option for each of the hops {p}..{q - 1} that a cut crosses")
        found.append((p, q, way))
    return found


# Stages code what they send and decode what they get, so that is their time and not the link's. A source that
# runs nothing has no stage: what coding its input takes stays with the first hop.


def _coding_s(route: Sequence[Option]) -> float:
    return route[0].code_s if route else 0.0


def _decoding_s(route: Sequence[Option]) -> float:
    return route[-1].decode_s if route else 0.0


def _uncoded(route: Sequence[Option], *, coded_by_stage: bool) -> list[Option]:
    """A route without what the stages at its ends bear."""
    last = len(route) - 1
    return [
        msgspec.structs.replace(
            option,
            code_s=0.0 if coded_by_stage and k == 0 else option.code_s,
            decode_s=option.decode_s if k < last else 0.0,
        )
        for k, option in enumerate(route)
    ]


def _forward(hop: HopCost, option: Option) -> Hop:
    return Hop(
        src=hop.src,
        dst=hop.dst,
        nbytes=option.nbytes,
        predicted_s=option.total_s,
        mcs=option.mcs,
        tolerable=option.tolerable,
        rounds=option.rounds,
        missing=option.missing,
    )


def _back(problem: Problem, p: int) -> Hop:
    hop = problem.hops[p]
    return Hop(src=hop.dst, dst=hop.src, nbytes=hop.back.nbytes, predicted_s=hop.back.total_s, mcs=hop.back.mcs)


def pruning_notes(
    problem: Problem, profile: Profile, stages: Sequence[Stage], transfers: Sequence[Transfer]
) -> tuple[str, ...]:
    """What pruning adds over cutting after the pooling that makes it possible, a line for each pruned transfer."""
    starts = {stage.id: stage.start for stage in stages}
    hops = {(hop.src, hop.dst): hop for hop in problem.hops}
    notes = []
    for transfer in transfers:
        coding = parse_coding(transfer.coding)
        if coding.prune == "none" or not transfer.route:
            continue
        cut, first = starts[transfer.dst], transfer.route[0]
        after = _pooled(profile, cut)
        if after is None:
            notes.append(f"cut {cut}, pruned, carries {format_bytes(first.nbytes)}: no later cut carries less raw")
            continue
        plain = msgspec.structs.replace(coding, prune="none")
        options = hops[first.src, first.dst].options[after]
        # The same coding without the pruning, where it was measured there; else as it is.
        same = [o for o in options if o.coding == plain.name] or [o for o in options if o.coding == "raw"]
        beside = min(same, key=lambda option: option.total_s)
        saved = beside.nbytes - first.nbytes
        verdict = (
            f"pruning saves {format_bytes(saved)} over cutting there"
            if saved > 0
            else f"cutting there carries {format_bytes(-saved)} less, {after - cut} operators later"
        )
        notes.append(
            f"cut {cut}, pruned, carries {format_bytes(first.nbytes)}; cut {after}, after the pooling, "
            f"{format_bytes(beside.nbytes)} as {beside.coding}: {verdict}"
        )
    return tuple(notes)


def _pooled(profile: Profile, cut: int) -> int | None:
    """The next cut that carries less than `cut` does: after the pooling that follows it, if there is one."""
    here = profile.cuts[cut].nbytes
    return next((k for k in range(cut + 1, profile.num_operators) if profile.cuts[k].nbytes < here), None)


def _alternatives(problem: Problem, solution: Solution, count: int) -> tuple[Alternative, ...]:
    """The baselines that are possible, then the runner-ups."""
    lost = [
        Alternative(stops=baseline.stops, predicted_s=baseline.seconds, scheme=name)
        for name, baseline in baselines(problem).items()
        if baseline is not None
    ]
    # An assignment that is not the optimum finds the optimum among those beside it.
    best = Alternative(stops=solution.stops, predicted_s=solution.seconds)
    others = (solve(problem), *next_best(problem, count)) if count > 0 else ()
    beside = [Alternative(stops=s.stops, predicted_s=s.seconds) for s in others if s.stops != best.stops]
    return (*lost, *beside[:count])


def limits(stages: Sequence[Stage], transfers: Sequence[Transfer]) -> tuple[str, ...]:
    """Devices and links (`src->dst`) by their share of the latency, the largest first."""
    share: dict[str, float] = {}
    for stage in stages:
        share[stage.device] = share.get(stage.device, 0.0) + stage.predicted_s
    for transfer in transfers:
        for hop in transfer.route:
            name = f"{hop.src}->{hop.dst}"
            share[name] = share.get(name, 0.0) + hop.predicted_s
    # Sorting is stable: of equals the one further upstream.
    return tuple(sorted((name for name, s in share.items() if s > 0), key=lambda name: -share[name]))


def predicted_j(
    problem: Problem, stops: tuple[int, ...], topology: Topology, options: Sequence[Option | None] | None = None
) -> float | None:
    """Joules that one request costs all devices, the metric `energy` of objectives; None without power models.

    What devices draw when idle is spent anyway and left out.

    Args:
        options: as of `make_plan`.
    """
    if all(topology.device(host.device).power == Power() for host in problem.hosts):
        return None
    carried_by = fastest_options(problem, stops) if options is None else options
    return assignment_costs(problem, stops, carried_by, counted("energy"), roles_of(topology))["energy"]


def usual_costs(
    problem: Problem, stops: tuple[int, ...], options: Sequence[Option | None], topology: Topology
) -> tuple[PlanCost, ...]:
    """Latency, and energy where power is known: what a plan says of itself whatever it was to be good at."""
    joules = predicted_j(problem, stops, topology, options)
    seconds = assignment_costs(problem, stops, options, counted("latency"), roles_of(topology))["latency"]
    return (PlanCost("latency", seconds), *(() if joules is None else (PlanCost("energy", joules),)))


def costs_under(
    problem: Problem,
    stops: tuple[int, ...],
    options: Sequence[Option | None],
    objective: Objective,
    topology: Topology,
) -> tuple[PlanCost, ...]:
    """What an assignment costs in the metrics of `objective`, its hops carrying their cuts in `options`."""
    bounds = {bound.name: bound.limit for bound in objective.require}
    costs = assignment_costs(problem, stops, options, metrics_of(objective), roles_of(topology))
    return tuple(PlanCost(name, cost, bounds.get(name)) for name, cost in costs.items())


def roles_of(topology: Topology) -> dict[str, str]:
    """Role by device id, as objectives need them."""
    return {device.id: device.role for device in topology.devices}


def price_plan(plan: Plan, problem: Problem) -> float:
    """Seconds of a chain plan under the prices of `problem`, which may have moved since; infinity if it cannot be.

    Raises:
        ConfigError: the plan is of another chain, or of stages side by side.
    """
    chain = tuple(host.device for host in problem.hosts)
    if plan.chain != chain or len(plan.stops) != len(chain):
        raise ConfigError(
            f"the plan is for {' '.join(plan.chain) or 'no chain'}, prices are for {' '.join(chain)}: plan again"
        )
    seconds = problem.chain_s(plan.stops)
    if plan.objective is None or seconds == float("inf"):
        return seconds
    # Under an objective cuts need not travel the fastest way.
    options = as_planned(problem, plan)
    return assignment_costs(problem, plan.stops, options, counted("latency"), {})["latency"]
