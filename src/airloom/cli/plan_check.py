"""`airloom plan --dry-run`: whether a plan can run on a topology, and keeps its bounds there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.contract import contract_of
from airloom.cli.objective import objective_of
from airloom.cli.plan_modes import modes_of

if TYPE_CHECKING:
    from airloom.core.objective import Objective
    from airloom.core.plan import Plan
    from airloom.core.profile import Profile
    from airloom.core.topology import Topology


def dry_run(args: argparse.Namespace, topology: Topology, profile: Profile) -> int:
    """Every mistake on a line of its own; what to do about them ends the last."""
    import sys

    from airloom.core.plan import Plan
    from airloom.files import read_value
    from airloom.planner.check import check_plan

    path: Path = args.dry_run
    plan = read_value(path, Plan)
    objective = _demanded(args, plan, topology)
    mistakes = check_plan(plan, topology, profile)
    unchecked = ""
    if not mistakes and objective is not None and objective.require:
        broken, unchecked = _broken(args, plan, objective, topology, profile)
        mistakes += broken
    if mistakes:
        options = _kept(args) + _written(objective)
        again = f"mend it, or plan again: `airloom plan {args.profile} {args.topology}{options} --json {path}`"
        lines = [*mistakes, f"{len(mistakes)} mistakes: {again}"] if len(mistakes) > 1 else [f"{mistakes[0]}: {again}"]
        for line in lines:
            print(f"airloom: {path}: {line}", file=sys.stderr)
        return 2
    kept = "" if objective is None or not objective.require else unchecked or "; its bounds are kept"
    stages = "1 stage" if len(plan.stages) == 1 else f"{len(plan.stages)} stages"
    print(f"{path}: {stages} of {plan.model} can run on {' '.join(plan.chain) or topology.name}{kept}")
    return 0


def _kept(args: argparse.Namespace) -> str:
    """The options that say for what the check was, so that planning again is for the same."""
    import shlex

    parts = [] if args.keep_on_ue == "0" else ["--keep-on-ue", args.keep_on_ue]
    parts += [part for change in args.set for part in ("--set", change)]
    return f" {shlex.join(parts)}" if parts else ""


def _written(objective: Objective | None) -> str:
    """The options that make an objective."""
    import shlex

    if objective is None:
        return ""
    parts = [part for term in objective.minimize for part in ("--minimize", term.text)]
    parts += [part for bound in objective.require for part in ("--require", bound.text)]
    return f" {shlex.join(parts)}" + (f" --solver {objective.solver}" if objective.solver != "exact" else "")


def _demanded(args: argparse.Namespace, plan: Plan, topology: Topology) -> Objective | None:
    """What a plan that is checked must keep: what the options say, or else what it was made under."""
    from airloom.config.objective import Places, check_objective

    given = objective_of(args, topology)
    if given is None:
        place = f"{args.dry_run}: $.objective"
        check_objective(plan.objective, topology, places=Places(f"{place}.minimize", f"{place}.require"))
    return given or plan.objective


def _broken(
    args: argparse.Namespace, plan: Plan, objective: Objective, topology: Topology, profile: Profile
) -> tuple[tuple[str, ...], str]:
    """The bounds that the plan breaks as the network is; and why they could not be checked, where they could not."""
    from airloom.cli.network_options import conditions_of, kept_operators
    from airloom.engine.radios import radio_choices
    from airloom.planner.deciding import broken_bounds
    from airloom.planner.inputs import load_profiles
    from airloom.planner.modes import Pricer
    from airloom.planner.pricing import FRAMED, PAYLOAD_ONLY

    contract = contract_of(args)
    if not plan.stops:
        return (), "; bounds were not checked: its stages stand side by side"
    if contract is None and any(transfer.coding != "raw" for transfer in plan.transfers):
        return (), "; bounds were not checked: its codings need --tolerance"
    conditions = conditions_of(args.set, topology)
    modes = modes_of(args)
    price = Pricer(
        topology,
        load_profiles(topology, profile),
        conditions=conditions,
        framing=PAYLOAD_ONLY if args.no_framing else FRAMED,
        private_operators=kept_operators(args.keep_on_ue, profile),
        result_returns=not args.no_result_back and modes.training is None,
        contract=contract,
        choices=radio_choices(topology, conditions),
        modes=modes,
    )
    return broken_bounds(plan, price(plan.chain), objective, topology), ""
