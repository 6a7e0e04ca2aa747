"""A plan for a terminal: stages and hops, what lost to it, and what limits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airloom.cli.plan_modes import parts_table

if TYPE_CHECKING:
    from airloom.core.plan import Hop, Plan
    from airloom.core.problem import Problem
    from airloom.core.profile import Profile
    from airloom.core.topology import Topology


def describe(plan: Plan, problem: Problem, topology: Topology, profile: Profile) -> str:
    """The plan for a terminal: stages and hops, what it costs, what lost to it, and what limits it."""
    from airloom.cli.costs import alternatives_table, costs_table, proof
    from airloom.cli.terminal import table
    from airloom.units import format_joules, format_percent, format_seconds

    one = "step" if _is_training(plan) else "request"
    parts = [
        f"{plan.model}: {problem.num_operators} operators on {' - '.join(plan.chain)}, "
        f"{format_seconds(plan.predicted_s)} a {one} ({plan.basis})",
        table(_path_rows(plan, topology, profile), ("where", "what", "predicted", "basis"), align="llrl"),
    ]
    if plan.parts:
        parts.append(parts_table(plan))
    if plan.objective is None:
        rows = _alternative_rows(plan)
        parts.append(table(rows, ("beside it", "stages", "predicted", "costs more"), align="llrr"))
    else:
        parts.append(f"{costs_table(plan)}\n{proof(plan)}")
        if plan.alternatives:
            parts.append(alternatives_table(plan))
    if plan.predicted_accuracy is not None:
        parts.append(accuracy_line(plan))
    if plan.notes:
        parts.append("\n".join(plan.notes))
    shares = _shares(plan)
    limits = ", ".join(f"{name} ({format_percent(shares[name] / plan.predicted_s)})" for name in plan.limits[:3])
    ends = [f"limited by {limits}"] if limits else []
    if plan.chain[-1] != topology.sink:
        ends.append(f"{topology.sink} is out of reach: {plan.chain[-1]} is the end of the chain")
    if plan.predicted_j is not None and plan.objective is None:
        ends.append(f"energy {format_joules(plan.predicted_j)} a {one}, beyond idle (modelled)")
    if ends:
        parts.append("\n".join(ends))
    return "\n\n".join(parts)


#: Parts of a step that stages bear besides the forward pass.
IN_STAGES = ("backward", "moves", "parameters")


def _is_training(plan: Plan) -> bool:
    return any(part.name == "backward" for part in plan.parts)


def accuracy_line(plan: Plan) -> str:
    """What accuracy the plan should come to, and of what."""
    from airloom.units import format_percent

    said = f"accuracy {format_percent(plan.predicted_accuracy or 0.0)} (modelled)"
    if plan.clean_accuracy is not None:
        said += f", {format_percent(plan.clean_accuracy)} with nothing lost"
    if plan.min_accuracy is None:
        return f"{said}; no floor: everything that is lost is sent again"
    return f"{said}, floor {format_percent(plan.min_accuracy)}"


def protection(coding: str, hop: Hop, *, contract: bool) -> str:
    """How a hop carries its cut: coding, MCS, what may stay missing and what will."""
    from airloom.units import format_percent

    parts = [coding] if coding != "raw" or contract else []
    parts += [f"MCS {hop.mcs}"] if hop.mcs is not None else []
    if hop.tolerable > 0 and hop.missing > 0:
        parts.append(f"{format_percent(hop.missing)} missing, {format_percent(hop.tolerable)} may be")
    elif hop.tolerable > 0:
        parts.append(f"{format_percent(hop.tolerable)} may be missing")
    if hop.rounds >= 0.005:
        parts.append(f"{hop.rounds:.2f} rounds of repair")
    return ", ".join(parts)


def _path_rows(plan: Plan, topology: Topology, profile: Profile) -> list[tuple[str, ...]]:
    """Stages and hops in the order in which a request meets them."""
    from airloom.units import format_bytes, format_seconds

    stages = {stage.id: stage for stage in plan.stages}
    names = [op.name for op in profile.operators]
    rows: list[tuple[str, ...]] = []
    for transfer in plan.transfers:
        what = "result" if not transfer.dst else f"cut {stages[transfer.dst].start}"
        if _is_training(plan):
            what += " and gradients"
        for hop in transfer.route:
            contract = plan.predicted_accuracy is not None and bool(transfer.dst)
            how = protection(transfer.coding, hop, contract=contract)
            rows.append(
                (
                    f"{hop.src}->{hop.dst}",
                    ", ".join(part for part in (what, format_bytes(hop.nbytes), how) if part),
                    format_seconds(hop.predicted_s),
                    "modelled",
                )
            )
        if transfer.dst:
            stage = stages[transfer.dst]
            device = topology.device(stage.device)
            first, last = names[stage.start], names[stage.stop - 1]
            which = first if stage.stop == stage.start + 1 else f"{first} .. {last}"
            # A device with its own profile says there how its times were had.
            basis = "modelled" if device.factor != 1.0 else "from its profile" if device.profile else profile.basis
            if any(part.basis == "modelled" and part.predicted_s for part in plan.parts if part.name in IN_STAGES):
                basis = "modelled"
            rows.append(
                (stage.device, f"{_span(stage.start, stage.stop)}  {which}", format_seconds(stage.predicted_s), basis)
            )
    return rows


def _span(start: int, stop: int) -> str:
    return f"{start}" if stop == start + 1 else f"{start}..{stop - 1}"


def _alternative_rows(plan: Plan) -> list[tuple[str, ...]]:
    from airloom.cli.costs import placement
    from airloom.planner.baselines import TITLES as BASELINES
    from airloom.planner.beside import TITLES_BESIDE
    from airloom.planner.decide import LINK_ADAPTATION
    from airloom.units import format_percent, format_seconds

    titles = {**BASELINES, LINK_ADAPTATION: "MCS at 10 % BLER", **TITLES_BESIDE}
    rows: list[tuple[str, ...]] = []
    by_scheme = {other.scheme: other for other in plan.alternatives if other.scheme}
    for name, title in BASELINES.items():
        if name not in by_scheme:
            rows.append((title, "not possible within the limits", "", ""))
    runner_up = 0
    for other in plan.alternatives:
        if not other.scheme:
            runner_up += 1
        more = other.predicted_s - plan.predicted_s
        relative = f" ({format_percent(more / plan.predicted_s)})" if plan.predicted_s else ""
        rows.append(
            (
                titles[other.scheme] if other.scheme else f"runner-up {runner_up}",
                placement(other.chain or plan.chain, other.stops),
                format_seconds(other.predicted_s),
                f"{format_seconds(more)}{relative}" if more > 0 else "the same",
            )
        )
    order = {title: i for i, title in enumerate(titles.values())}
    return sorted(rows, key=lambda row: order.get(row[0], len(order)))


def _shares(plan: Plan) -> dict[str, float]:
    shares: dict[str, float] = {}
    for stage in plan.stages:
        shares[stage.device] = shares.get(stage.device, 0.0) + stage.predicted_s
    for transfer in plan.transfers:
        for hop in transfer.route:
            name = f"{hop.src}->{hop.dst}"
            shares[name] = shares.get(name, 0.0) + hop.predicted_s
    return shares
