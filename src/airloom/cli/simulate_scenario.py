"""airloom simulate SCENARIO: a network in time, in virtual time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.config.scenario import ScenarioFile
    from airloom.core.profile import Profile
    from airloom.core.run import RunRecord
    from airloom.core.scenario import Scenario
    from airloom.core.simulated import SimulationRecord

#: Options of run files that a scenario has another word for, or no use.
_NOT_HERE = {
    "topology": "the scenario says which",
    "pin": "a scenario's plans follow its network",
    "ask_wave": "a scenario asks for a wave at every task with --replan task",
}


def add_scenario_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that only scenarios have."""
    group = parser.add_argument_group("scenarios")
    group.add_argument("--load", choices=("low", "mid", "high"), help="of other users; in place of the scenario's")
    group.add_argument("--seconds", metavar="TIME", help="of virtual time in which tasks come, 60 s; as the scenario's")
    group.add_argument("--ues", type=int, metavar="N", help="that many UEs: copies of the source along its way")
    group.add_argument(
        "--scheme",
        action="append",
        metavar="NAME",
        help="airloom (the default), ue-only, cloud-only, single-split or all, each on the same draw of the network; "
        "baselines decide for every task; may be repeated",
    )
    group.add_argument(
        "--replan",
        choices=("task", "event", "ideal"),
        help="when Airloom plans: when conditions have moved, as `airloom run` does (event, the default); for each "
        "task, which waits for its wave of split costs; or ideal: of the network as it is, at no cost, as in papers",
    )
    group.add_argument(
        "--reports",
        choices=("scheduler", "traffic"),
        help="how hosts learn of rates: the radio's scheduler tells them (the default), or by their own traffic",
    )
    group.add_argument(
        "--trace",
        choices=("all", "requests", "none"),
        help="which events the run folder keeps (all); `requests` leaves out messages, links and waves",
    )


def scenario_options(args: argparse.Namespace) -> list[str]:
    """The options of scenarios that were given."""
    names = ("load", "seconds", "ues", "scheme", "replan", "reports", "trace")
    return [name for name in names if getattr(args, name) is not None]


def run_scenario(args: argparse.Namespace) -> int:
    """Simulate the scenario file `args.config`."""
    import signal

    from airloom import units
    from airloom.cli.ahead import forecast_of
    from airloom.cli.contract import run_contract
    from airloom.cli.objective import run_objective
    from airloom.cli.terminal import Progress, emit_json
    from airloom.errors import ConfigError
    from airloom.playing.play import Play
    from airloom.playing.simulated import play_simulated

    for option, why in _NOT_HERE.items():
        if getattr(args, option):
            raise ConfigError(f"is not of scenarios: {why}", where=f"--{option.replace('_', '-')}")
    if args.requests is not None and args.requests < 1:
        raise ConfigError(f"at least one request, got {args.requests}", where="--requests")
    if args.seed is not None and args.seed < 0:
        raise ConfigError(f"must be at least 0, got {args.seed}", where="--seed")
    seconds = None if args.seconds is None else units.parse_duration(args.seconds, where="--seconds")
    if seconds == 0.0:
        raise ConfigError("no time to simulate", where="--seconds")
    file, scenario = read_scenario(args)
    contract, _ = run_contract(args, file.run)
    play = Play(
        scenario,
        profiles_of(args, file),
        schemes=tuple(name for given in args.scheme or ["airloom"] for name in given.split(",")),
        contract=contract,
        objective=run_objective(args, file.run, scenario.topology),
        forecast=forecast_of(args),
        seconds=seconds,
        requests=args.requests,
        seed=args.seed,
        reports=args.reports or "scheduler",
        replan=args.replan or "event",
        private_operators=file.run.private_operators,
        result_returns=file.run.result_returns,
        repair_rounds=file.run.repair_rounds,
        keep=args.trace or "all",
    )
    stopped = False

    def interrupt(*_: object) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True  # the folder is closed first; a second time does not wait for that

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with Progress("simulating") as progress:

            def told(scheme: str, now_s: float, seconds: float | None, results: int) -> None:
                of = "" if seconds is None else f" of {units.format_seconds(seconds)}"
                note = f"{scheme}, {units.format_seconds(max(0.0, now_s))}{of}"
                progress.advance(results - progress.done, note=note)

            record, simulation = play_simulated(
                play, folder=args.out, title=f"{scenario.name}, {scenario.load} load", progress=told,
                stop=lambda: stopped,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    if args.json:
        emit_json(simulation)
    else:
        show(record, simulation)
        kept = (
            "`airloom report {}` shows it"
            if play.keep != "none"
            else "no traces, so no report; {}/simulation.json has it"
        )
        print(f"wrote {args.out}: {kept.format(args.out)}")
    if stopped:
        return 130
    return 0 if all(tally.results == tally.requests for tally in simulation.schemes) else 1


def read_scenario(args: argparse.Namespace) -> tuple[ScenarioFile, Scenario]:
    """The scenario file, with what options say in place of its own."""
    import msgspec

    from airloom import units
    from airloom.cli.network_options import conditions_of
    from airloom.config.scenario import load_scenario
    from airloom.playing.crowd import with_ues

    file = load_scenario(args.config, load=args.load)
    scenario = file.scenario
    if args.ues is not None:
        scenario = with_ues(scenario, args.ues)
    if getattr(args, "interval", None) is not None:
        every_s = units.parse_seconds(args.interval, where="--interval")
        scenario = msgspec.structs.replace(scenario, tasks=msgspec.structs.replace(scenario.tasks, every_s=every_s))
    if getattr(args, "set", None):
        changed = conditions_of(args.set, scenario.topology)
        scenario = msgspec.structs.replace(scenario, changes=(changed, *scenario.changes))
    return file, scenario


def profiles_of(args: argparse.Namespace, file: ScenarioFile) -> dict[str, Profile]:
    """Those that are named; what has none is measured, which needs the model."""
    from airloom.planner.inputs import load_profile, load_profiles, own_profiles

    named = getattr(args, "profile", None) or file.run.profile
    if named:
        return load_profiles(file.scenario.topology, load_profile(Path(named)))
    from airloom import api
    from airloom.cli.terminal import Progress

    with Progress(f"capturing {file.run.model}"):
        captured = api.capture(file.run.model, **dict[str, Any](file.run.options))
    with Progress(f"measuring {file.run.model}"):
        return {"": api.profile(captured), **own_profiles(file.scenario.topology)}


def show(record: RunRecord, simulation: SimulationRecord) -> None:
    """Print what a simulation came to."""
    from airloom.cli.scenario_tables import (
        bandwidth_table,
        costs_table,
        errors_lines,
        gains,
        placement_table,
        schemes_table,
        speed_line,
    )
    from airloom.playing.basis import short_notes
    from airloom.units import format_seconds

    ues = "1 UE" if simulation.ues == 1 else f"{simulation.ues} UEs"
    tick = "" if simulation.period_s is None else f", links hold still for {format_seconds(simulation.period_s)}"
    print(f"{record.model} over {simulation.scenario}: {ues}, {simulation.load} load, "
          f"{format_seconds(simulation.seconds)}, seed {simulation.seed}{tick}")  # fmt: skip
    if simulation.interrupted:
        print("Interrupted: this is what came of it until then.")
    parts = [schemes_table(simulation), gains(simulation), placement_table(simulation, record.topology)]
    parts.insert(1, costs_table(simulation))
    for text in (*parts, bandwidth_table(simulation), errors_lines(simulation)):
        if text:
            print(f"\n{text}")
    print("\nEvery figure is modelled, but for what is called published. Latency counts planning; energy and bytes are "
          "for one result. The report page names sources.")  # fmt: skip
    for note in short_notes(record.topology):
        print(f"modelled: {note}")
    print(speed_line(simulation))
