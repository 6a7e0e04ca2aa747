"""airloom simulate: the same hosts as a run, in virtual time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.ahead import add_ahead_arguments, forecast_of, hold_of
from airloom.cli.contract import add_contract_arguments, run_contract
from airloom.cli.objective import add_objective_arguments, run_objective
from airloom.cli.simulate_scenario import add_scenario_arguments, run_scenario, scenario_options

if TYPE_CHECKING:
    from airloom.config.run import RunConfig
    from airloom.core.plan import Plan
    from airloom.core.profile import Profile
    from airloom.core.topology import Conditions, Topology
    from airloom.report.summary import Summary

HELP = "run the hosts of a topology or a scenario in virtual time, on modelled links"
EPILOG = """\
examples:
  airloom simulate examples/loss_tolerant_run.yaml --requests 100 --out sim/
  airloom simulate examples/loss_tolerant_run.yaml --min-accuracy 0.9 --set 'link=ue->gnb,loss=40 %' --json
  airloom simulate --topology examples/line4.yaml --profile examples/figure2_profile.json --out sim/
  airloom simulate examples/scenarios/mmwave_iab.yaml --scheme all --load high --seconds 60s
  airloom simulate examples/scenarios/mmwave_iab.yaml --ues 100 --trace requests --json

Takes a run file, a topology and a profile, or a scenario (docs/scenarios.md): a network that moves.
The engine of the hosts is the one that `airloom run` runs; links, 5G radios included, and compute
times are models, and every figure is marked so. With a profile it needs no torch. The run folder is
like that of a run: `airloom report DIR` shows it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", type=Path, nargs="?", metavar="FILE.yaml", help="a run file, as of `airloom run`, or a scenario"
    )
    parser.add_argument("--topology", type=Path, metavar="FILE", help="without a run file, or in place of its")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="without a run file, or in place of its")
    add_contract_arguments(parser, "; in place of the run file's")
    add_objective_arguments(parser, "; in place of the run file's")
    add_ahead_arguments(parser)
    parser.add_argument("--requests", type=int, metavar="N", help="in place of the run file's (100 without one)")
    parser.add_argument(
        "--interval", metavar="TIME", help="between two requests, 50 ms; twice the predicted latency by default"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the losses; the same seed gives the same trace")
    parser.add_argument(
        "--pin", action="store_true", help="pin the plan, in place of letting every host follow its own table"
    )
    parser.add_argument(
        "--set",
        metavar="CHANGE",
        action="append",
        default=[],
        help="simulate a changed network, as of `airloom plan`; may be repeated",
    )
    add_scenario_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("airloom-sim"), metavar="DIR", help="the run folder")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom import units
    from airloom.cli.network_options import conditions_of
    from airloom.cli.terminal import Progress, emit_json
    from airloom.config import load_topology
    from airloom.config.scenario import is_scenario
    from airloom.core.speed import with_class_factors
    from airloom.errors import ConfigError
    from airloom.report.folder import read_run
    from airloom.simulating import Pretence, simulate_run, with_conditions

    if args.config is not None and is_scenario(args.config):
        return run_scenario(args)
    if given := scenario_options(args):
        raise ConfigError("is of scenarios: this is a run file", where=f"--{given[0]}")
    config = _config(args)
    if config.requests < 1:
        raise ConfigError(f"at least one request, got {config.requests}", where="--requests")
    if config.seed < 0:
        raise ConfigError(f"must be at least 0, got {config.seed}", where="--seed")
    every_s = None if args.interval is None else units.parse_seconds(args.interval, where="--interval")
    if every_s == 0.0:
        raise ConfigError("requests that all come at once have no latency of their own", where="--interval")
    contract, _ = run_contract(args, config)
    topology = load_topology(Path(config.topology), result_returns=config.result_returns)
    conditions: Conditions = conditions_of(args.set, topology)
    profiles = _profiles(config, topology)
    topology = with_conditions(with_class_factors(topology, profiles), conditions)
    with Progress("simulating"):
        _, plan = simulate_run(
            Pretence(
                topology,
                profiles,
                contract=contract,
                requests=config.requests,
                interval_s=every_s,
                deadline_s=config.deadline_s,
                follow="plan" if args.pin else "tables",
                private_operators=config.private_operators,
                result_returns=config.result_returns,
                changes=config.changes,
                repair_rounds=config.repair_rounds,
                seed=config.seed,
                objective=run_objective(args, config, topology),
                forecast=forecast_of(args),
                ask_wave_s=hold_of(args),
            ),
            folder=args.out,
        )
        summary = read_run([args.out]).summary()
    if args.json:
        emit_json(summary)
    else:
        _print(summary, plan, args.out)
    return 0 if summary.schemes[0].results == config.requests else 1


def _config(args: argparse.Namespace) -> RunConfig:
    """The run file, with what the options say in place of its own; or what they say alone."""
    import msgspec

    from airloom.config import load_run
    from airloom.config.run import RunConfig
    from airloom.errors import ConfigError

    given = {
        "topology": None if args.topology is None else str(args.topology),
        "profile": None if args.profile is None else str(args.profile),
        "requests": args.requests,
        "seed": args.seed,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if args.config is not None:
        return msgspec.structs.replace(load_run(args.config), **chosen)
    if args.topology is None or args.profile is None:
        raise ConfigError("give a run file, or --topology and --profile")
    return RunConfig(model="", **{"requests": 100, **chosen})


def _profiles(config: RunConfig, topology: Topology) -> dict[str, Profile]:
    """Those that are named; what has none is measured, which needs the model."""
    from airloom.planner.inputs import load_profile, load_profiles, own_profiles

    if config.profile:
        return load_profiles(topology, load_profile(Path(config.profile)))
    from airloom import api
    from airloom.cli.terminal import Progress

    with Progress(f"capturing {config.model}"):
        captured = api.capture(config.model, **dict[str, Any](config.options))
    with Progress(f"measuring {config.model}"):
        return {"": api.profile(captured), **own_profiles(topology)}


def _print(summary: Summary, plan: Plan, folder: Path) -> None:
    from airloom.cli.costs import run_costs_table
    from airloom.cli.plan_table import accuracy_line
    from airloom.cli.report import accuracy_tables, predictions_table, summary_table
    from airloom.units import format_seconds

    parts = ", ".join(f"{stage.device} {stage.start}..{stage.stop - 1}" for stage in plan.stages)
    print(f"{plan.model}: {parts}; {format_seconds(plan.predicted_s)} planned")
    if plan.predicted_accuracy is not None:
        print(accuracy_line(plan))
    tables = (summary_table, predictions_table, run_costs_table, accuracy_tables)
    for text in (show(summary) for show in tables):
        if text:
            print(f"\n{text}")
    scheme = summary.schemes[0]
    if scheme.note:
        print(f"\n{scheme.note}")
    if scheme.errors:
        ended = ", ".join(f"{count} {name}" for name, count in scheme.errors.items())
        print(f"\nrequests without a result: {ended}")
    print(f"\nSimulated: every number is modelled.\nwrote {folder}: `airloom report {folder}` shows it")
