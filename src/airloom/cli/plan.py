"""`airloom plan`: where each operator should run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.contract import add_contract_arguments, contract_of
from airloom.cli.network_options import conditions_of, kept_operators
from airloom.cli.objective import add_objective_arguments, objective_of
from airloom.cli.plan_modes import add_mode_arguments, modes_of
from airloom.cli.plan_progressive import add_progressive_arguments, is_progressive, run_progressive

if TYPE_CHECKING:
    from airloom.core.plan import Plan

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
  airloom plan examples/resnet18.json examples/progressive.yaml --model-size-on-ue examples/progressive_table.json
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
    add_progressive_arguments(parser)
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
    if is_progressive(args):
        return run_progressive(args)
    from airloom.cli.plan_table import describe
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
