"""airloom run: a whole topology on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.ahead import add_ahead_arguments, forecast_of, hold_of
from airloom.cli.contract import add_contract_arguments, run_contract
from airloom.cli.objective import add_objective_arguments, run_objective
from airloom.cli.run_progressive import is_delivery_plan, run_delivery
from airloom.cli.run_scenario import (
    IN_FLIGHT,
    LINKS,
    add_scenario_run_arguments,
    forecast_for,
    remove_links,
    scenario_file,
    seconds_of,
    simulate_beside,
)
from airloom.cli.slow import add_slow_argument, motion_for, slow_of

if TYPE_CHECKING:
    from airloom.deployment import Stats

HELP = "run a whole topology or a scenario on this machine, links and slow devices emulated"
EPILOG = """\
examples:
  airloom run run.yaml
  airloom run run.yaml --scheme cloud-only --requests 50 --out runs/cloud --json
  airloom run run.yaml --plan plan.json --inputs pictures.npy
  airloom run scenario.yaml --seconds 20 --beside-simulation
  airloom run scenario.yaml --seconds 8 --slow-motion auto

`airloom init` writes a run file to start from. Each host is a process; the source is this one. The
run folder holds the traces: `airloom report DIR` shows them. A scenario (docs/scenarios.md) is played
by the clock for its source alone: `airloom simulate` holds more UEs and more time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        type=Path,
        metavar="FILE.yaml",
        help="a run file: model, topology, requests, changes; or a "
        "scenario; or a plan (.json) of `airloom plan --model-size-on-ue`",
    )
    parser.add_argument(
        "--scheme",
        choices=("airloom", "ue-only", "cloud-only", "single-split"),
        help="who decides: the hosts' tables, or a baseline that is pinned (default: the run file's)",
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="pin this plan, as `airloom plan --json` wrote it")
    parser.add_argument("--requests", type=int, metavar="N", help="in place of the run file's")
    parser.add_argument("--transport", choices=("udp", "tcp"), help="in place of the run file's")
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE",
        help=".npy, or .npz with one array an input; row k is request k",
    )
    add_contract_arguments(parser, "; in place of the run file's")
    add_objective_arguments(parser, "; in place of the run file's")
    add_ahead_arguments(parser)
    add_slow_argument(parser)
    add_scenario_run_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("airloom-run"), metavar="DIR", help="the run folder")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    if is_delivery_plan(args.config):
        return run_delivery(args)
    try:
        return _run(args)
    except BaseException:
        remove_links(args.out)
        raise


def _run(args: argparse.Namespace) -> int:
    import os
    import signal
    import sys

    import msgspec

    from airloom.cli.inputs import made_up, read_arrays, rows_of
    from airloom.config import load_run, load_topology
    from airloom.core.plan import Plan
    from airloom.errors import ConfigError, ProfileMismatch
    from airloom.files import read_value

    file = scenario_file(args)
    config = load_run(args.config) if file is None else file.run
    given = {"scheme": args.scheme, "requests": args.requests, "transport": args.transport}
    config = msgspec.structs.replace(config, **{key: value for key, value in given.items() if value is not None})
    contract, tuned_folder = run_contract(args, config)
    asked_motion = slow_of(args)
    if asked_motion != 1.0 and not config.emulate:
        raise ConfigError("needs `emulate: true`: nothing else can be slowed down", where="--slow-motion")
    if config.requests < 1:
        raise ConfigError(f"at least one request, got {config.requests}", where="--requests")
    if args.plan is not None and args.scheme is not None:
        raise ConfigError("a scheme or a plan: give one of them", where="--plan")
    if config.changes and not config.emulate:
        raise ConfigError("changes need `emulate: true`: nothing else can change a link", where=str(args.config))
    # Files first, in order of what they cost to read: capturing and measuring take seconds.
    from airloom.core.speed import with_class_factors
    from airloom.planner.check import require_plan
    from airloom.planner.contract import check_contract
    from airloom.planner.inputs import check_model, load_profile, own_profiles
    from airloom.playing.crowd import with_ues

    if file is None:
        topology, alone = load_topology(Path(config.topology), result_returns=config.result_returns), None
    else:
        scenario, seconds = file.scenario, seconds_of(args, file.scenario)
        alone = with_ues(scenario, 1)
        topology = alone.topology
    objective = run_objective(args, config, topology)
    profiles = own_profiles(topology)
    if config.profile:
        profiles = {"": load_profile(Path(config.profile)), **profiles}
        slow = motion_for(asked_motion, topology, profiles, alone) if config.emulate else 1.0
    plan = None
    if args.plan is not None:
        plan = read_value(args.plan, Plan)
        require_plan(plan, topology, profiles.get(topology.source, profiles.get("")), where=str(args.plan))
        objective = objective or plan.objective
    arrays = None if args.inputs is None else read_arrays(args.inputs)
    # Ended from outside, it still takes its hosts with it and removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Hosts share this machine's cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from airloom import api, zoo
    from airloom.cli.terminal import Progress, emit_json
    from airloom.comparison import Scheme, Setting
    from airloom.deployment import DeployOptions
    from airloom.playing.real import emulated, play_real, starting_scheme
    from airloom.report.folder import read_run
    from airloom.running import run_scheme

    with Progress(f"capturing {config.model}"):
        captured = api.capture(config.model, **dict[str, Any](config.options))
    graph, notes = captured.graph, tuple[str, ...]()
    labels: list[int] = []
    check_model(profiles, graph)
    if contract is not None:
        check_contract(contract, graph.digest)
    if plan is not None and plan.graph_digest != graph.digest:
        raise ProfileMismatch(f"{args.plan} is for another model than {graph.model}: plan again")
    if arrays is not None:
        inputs = rows_of(arrays, graph, where=str(args.inputs))
    else:
        inputs, labels = made_up(graph, config.seed)
    if file is not None and len(file.scenario.ues) > 1:
        notes = (*notes, f"{len(file.scenario.ues) - 1} more UEs of the scenario are left out: the source alone asks")
    if labels and config.model in zoo.MODELS and zoo.bundled_weights(config.model) is None:
        labels = []
        notes = (
            *notes,
            f"random weights stand for trained ones, of which none are bundled for {graph.model}: no accuracy",
        )
    if not config.profile:
        with Progress(f"measuring {config.model}") as progress:

            def measured(done: int, total: int) -> None:
                progress.total = total
                progress.advance(done - progress.done)

            profiles = {"": api.profile(captured, progress=measured), **profiles}
        slow = motion_for(asked_motion, topology, profiles, alone) if config.emulate else 1.0
    options = DeployOptions(
        transport=config.transport,
        emulate=config.emulate,
        in_flight=config.in_flight if file is None else max(config.in_flight, IN_FLIGHT),
        deadline_s=config.deadline_s,
        private_operators=config.private_operators,
        result_returns=config.result_returns,
        repair_rounds=config.repair_rounds,
        congestion=config.congestion or "cubic",
        seed=config.seed,
        contract=contract,
        tuned_folder=tuned_folder,
        objective=objective,
        forecast=forecast_of(args) if file is None else forecast_for(args, file.scenario),
        ask_wave_s=hold_of(args),
        slow_motion=slow,
    )
    with Progress("measuring what a message costs here"):
        options = options.calibrated()
    if file is not None:
        scenario, topology = emulated(scenario, seconds, args.out / LINKS, seed=args.seed)
        count = args.requests if args.requests is not None else scenario.tasks.count
    topology = with_class_factors(topology, profiles)
    setting = Setting(captured, topology, profiles, options)
    if plan is not None:
        scheme = Scheme("pinned", f"plan {args.plan.name}", plan, "pinned from a file")
    elif file is not None:
        scheme = starting_scheme(config.scheme, setting, scenario)
    else:
        scheme = setting.schemes((config.scheme,))[0]
    if labels:
        labels = [labels[k % len(labels)] for k in range(config.requests)]
    with Progress("running") as progress:

        def tell(what: str, done: int, total: int) -> None:
            progress.total = total or None
            progress.advance(done - progress.done, note=what)

        classify = (lambda logits: int(logits.argmax())) if labels else None
        if file is not None:
            record, stats = play_real(
                setting, scenario, scheme, inputs, seconds, folder=args.out, seed=args.seed, count=count,
                labels=labels, classify=classify, notes=notes, progress=tell,
            )  # fmt: skip
        else:
            record, stats = run_scheme(
                setting,
                scheme,
                inputs,
                config.requests,
                folder=args.out,
                changes=config.changes,
                labels=labels,
                classify=classify,
                notes=notes,
                progress=tell,
            )
    summary = read_run([args.out]).summary()
    if file is not None and args.beside_simulation:
        return _beside(args, simulate_beside(args, setting, scenario, scheme, seconds, count=count), record.emulated)
    if args.json:
        emit_json(summary)
    else:
        _print(scheme.title, summary, stats, record.emulated, args.out)
    asked = config.requests if file is None else summary.schemes[0].requests
    return 0 if stats.outcomes.get("result", 0) == asked else 1


def _beside(args: argparse.Namespace, simulated: Path, notes: tuple[str, ...]) -> int:
    """Put the run and its simulation side by side."""
    from airloom.cli.report import show_beside
    from airloom.cli.terminal import emit_json

    found, page = show_beside(args.out, simulated, quiet=args.json)
    if args.json:
        emit_json(found)
    else:
        for note in notes:
            print(f"emulated: {note}")
        print(f"wrote {args.out}: {page.name} shows this")
    return 0 if found.requests_lost == 0 else 1


def _print(title: str, summary: Any, stats: Stats, notes: tuple[str, ...], folder: Path) -> None:
    from airloom.cli.costs import run_costs_table
    from airloom.cli.report import accuracy_tables, predictions_table, summary_table
    from airloom.cli.terminal import table
    from airloom.units import format_bytes

    print(summary_table(summary))
    predicted = predictions_table(summary)
    if predicted:
        print(f"\n{predicted}")
    costs = run_costs_table(summary)
    if costs:
        print(f"\n{costs}")
    accuracies = accuracy_tables(summary)
    if accuracies:
        print(f"\n{accuracies}")
    rows = [("throughput", f"{stats.per_s:.1f} results/s")]
    rows += [("outcomes", ", ".join(f"{count} {name}" for name, count in sorted(stats.outcomes.items())))]
    sent = sum(
        host.counters.get(f"data_sent_{kind}_bytes", 0.0)
        for host in stats.hosts.values()
        if host is not None
        for kind in ("first", "repair")
    )
    rows += [("tensors on the wire", format_bytes(sent)), ("results with missing bytes", str(stats.incomplete))]
    print(f"\n{table(rows, align='lr')}")
    for note in notes:
        print(f"emulated: {note}")
    print(f"\nwrote {folder}: `airloom report {folder}` shows it")
