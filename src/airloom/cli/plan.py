"""`airloom plan`: where each operator should run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.contract import add_contract_arguments, contract_of
from airloom.cli.objective import add_objective_arguments, objective_of
from airloom.cli.plan_modes import add_mode_arguments, modes_of, parts_table

if TYPE_CHECKING:
    from airloom.core.plan import Hop, Plan
    from airloom.core.problem import Problem
    from airloom.core.profile import Profile
    from airloom.core.topology import Conditions, Topology

HELP = "find where each operator of a model should run on a topology"

EPILOG = """\
example:
  airloom plan examples/figure2_profile.json examples/figure2.yaml --no-framing
  airloom plan examples/figure2_profile.json examples/figure2.yaml --no-framing --set 'link=mec->cloud,rate=5 Mbit/s'
  airloom plan examples/figure2_profile.json examples/line4.yaml --json plan.json
  airloom plan examples/resnet20.json examples/loss_tolerant.yaml --tolerance examples/tolerance.json --min-accuracy .88
  airloom plan examples/resnet20.json examples/hivemind_mmwave_iab.yaml --train modelled
  airloom plan examples/resnet20.json examples/hivemind_mmwave_iab.yaml --parameters-to cloud --every 10
  airloom plan examples/resnet20.json examples/hivemind_mmwave_iab.yaml --route ue,gnb2,gnb3,gnb4,gnb6,core7,core8,cloud
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", type=Path, help="profile of the model, from `airloom profile` or written by hand")
    parser.add_argument("topology", type=Path, help="devices and links (YAML)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the plan as JSON; - for standard output, and nothing else"
    )
    parser.add_argument("--dry-run", metavar="PLAN", type=Path, help="check this plan against profile and topology")
    parser.add_argument(
        "--keep-on-ue",
        metavar="K",
        default="0",
        help="keep the first K operators, or all up to the one of this name, on the source",
    )
    parser.add_argument(
        "--runner-ups", metavar="N", type=int, default=3, help="how many of the next best plans to show"
    )
    add_contract_arguments(parser)
    add_objective_arguments(parser)
    add_mode_arguments(parser)
    parser.add_argument("--no-result-back", action="store_true", help="the result stays where it is made")
    parser.add_argument("--no-framing", action="store_true", help="count payload bytes only, as papers do")
    parser.add_argument(
        "--set",
        metavar="CHANGE",
        action="append",
        default=[],
        help="plan for a changed network: 'link=mec->cloud,rate=5 Mbit/s' (also delay, loss, up, both; snr "
        "of a 5G radio) or 'device=mec,load=2'; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    from airloom.config import load_topology
    from airloom.core.speed import with_class_factors
    from airloom.engine.radios import adapted_choices, radio_choices
    from airloom.errors import ConfigError
    from airloom.planner.decide import decide
    from airloom.planner.deciding import UnreachablePlan
    from airloom.planner.inputs import load_profile, load_profiles
    from airloom.planner.pricing import FRAMED, PAYLOAD_ONLY

    returns = not args.no_result_back
    if args.runner_ups < 0:
        raise ConfigError(f"must not be negative, got {args.runner_ups}", where="--runner-ups")
    profile = load_profile(args.profile)
    topology = load_topology(args.topology, result_returns=returns)
    profiles = load_profiles(topology, profile)
    topology = with_class_factors(topology, profiles)
    if args.dry_run is not None:
        from airloom.cli.plan_check import dry_run

        return dry_run(args, topology, profile)
    conditions = conditions_of(args.set, topology)
    objective = objective_of(args, topology)
    try:
        plan, problem = decide(
            topology,
            profiles,
            conditions=conditions,
            framing=PAYLOAD_ONLY if args.no_framing else FRAMED,
            private_operators=kept_operators(args.keep_on_ue, profile),
            result_returns=returns,
            contract=contract_of(args),
            choices=radio_choices(topology, conditions),
            adapted=adapted_choices(topology, conditions),
            runner_ups=args.runner_ups,
            objective=objective,
            modes=modes_of(args),
        )
    except UnreachablePlan as error:
        _write(args.json, error.plan)
        raise
    if args.json == "-":
        _write("-", plan)
        return _verdict(plan)
    _write(args.json, plan)  # before anything is said: whoever listens may leave (head)
    print(describe(plan, problem, topology, profile))
    if args.json:
        print(f"\nwritten to {args.json}")
    return _verdict(plan)


def _write(target: str | None, plan: Plan) -> None:
    """The plan as JSON to a file, to standard output where that is `-`, nowhere where there is no target."""
    if target == "-":
        from airloom.cli.terminal import emit_json

        emit_json(plan)
    elif target:
        from airloom.files import write_value

        write_value(Path(target), plan)


def _verdict(plan: Plan) -> int:
    """0, or 1 and a line where the solver that was asked for breaks bounds."""
    import sys

    from airloom.cli.costs import broken

    bounds = broken(plan)
    if not bounds:
        return 0
    print(f"airloom: the plan breaks {bounds}: plan with --solver exact, or allow more", file=sys.stderr)
    return 1


def conditions_of(texts: list[str], topology: Topology) -> Conditions:
    """What the changes of `--set` come to together."""
    from airloom.config import merged, parse_change
    from airloom.config.changes import check_names
    from airloom.core.topology import Conditions

    conditions = Conditions()
    for text in texts:
        change = parse_change(text, where="--set")
        check_names(change, topology, where="--set")
        conditions = merged(conditions, change)
    return conditions


def kept_operators(text: str, profile: Profile) -> int:
    """How many operators stay on the source: a number, or up to an operator's name."""
    from airloom.errors import ConfigError

    names = [op.name for op in profile.operators]
    if text in names:
        return names.index(text) + 1
    if not text.isdecimal() or int(text) > len(names):
        raise ConfigError(f"expected 0..{len(names)} or an operator's name, got {text!r}", where="--keep-on-ue")
    return int(text)


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
