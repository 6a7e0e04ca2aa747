"""airloom run SCENARIO: a network in time, in real processes for a while, and the same in virtual time beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.comparison import Scheme, Setting
    from airloom.config.scenario import ScenarioFile
    from airloom.core.forecast import ForecastPolicy
    from airloom.core.scenario import Scenario

SECONDS = 20.0
IN_FLIGHT = 8  # tasks come by the clock, whether or not the last one has its result
#: Where in the run folder the rate traces of its links are.
LINKS = "links"
#: Where in the run folder the same in virtual time goes.
SIMULATED = "simulated"
_OWN = ("load", "seconds", "seed", "beside_simulation")


def add_scenario_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that only scenarios have."""
    group = parser.add_argument_group("scenarios")
    group.add_argument("--load", choices=("low", "mid", "high"), help="of other users; in place of the scenario's")
    group.add_argument("--seconds", metavar="TIME", help=f"in which tasks come, by the clock ({SECONDS:g} s)")
    group.add_argument("--seed", type=int, metavar="N", help="of the network; in place of the scenario's")
    group.add_argument(
        "--beside-simulation", action="store_true", default=None,
        help="simulate the same and put both side by side",
    )  # fmt: skip


def scenario_file(args: argparse.Namespace) -> ScenarioFile | None:
    """The scenario that `args.config` is; None where it is a run file.

    Raises:
        ConfigError: an option of scenarios for a run file.
    """
    from airloom.config.scenario import is_scenario, load_scenario
    from airloom.errors import ConfigError

    if is_scenario(args.config):
        if args.plan is not None:
            raise ConfigError("a scenario's plans follow its network: leave it out", where="--plan")
        if args.seed is not None and args.seed < 0:
            raise ConfigError(f"must be at least 0, got {args.seed}", where="--seed")
        return load_scenario(args.config, load=args.load)
    for name in _OWN:
        if getattr(args, name) is not None:
            raise ConfigError("is of scenarios: this is a run file", where=f"--{name.replace('_', '-')}")
    return None


def seconds_of(args: argparse.Namespace, scenario: Scenario) -> float:
    """For how long tasks come: a scenario's own duration where that is shorter."""
    from airloom import units
    from airloom.errors import ConfigError

    if args.seconds is None:
        return min(SECONDS, scenario.duration_s or SECONDS)
    seconds = units.parse_duration(args.seconds, where="--seconds")
    if not 0.0 < seconds <= 3600.0:
        raise ConfigError(f"above 0 and at most an hour, got {args.seconds}", where="--seconds")
    return seconds


def forecast_for(args: argparse.Namespace, scenario: Scenario) -> ForecastPolicy | None:
    """How hosts look ahead: as the option says, else the scenario.

    Raises:
        ConfigError: the scenario's hosts know what comes, as no real ones do.
    """
    from airloom.cli.ahead import forecast_of
    from airloom.errors import ConfigError

    given = forecast_of(args)
    if given is not None:
        return given
    if scenario.forecast.is_perfect:
        raise ConfigError(
            "perfect: only a simulation knows what comes; give --forecast last, ewma, autoregressive or kalman",
            where="forecast",
        )
    return scenario.forecast.policy


def remove_links(folder: Path) -> None:
    """Of a run that failed no rate traces stay behind, and no folder that holds nothing else."""
    import shutil

    links = folder / LINKS
    if links.is_dir() and not (folder / "run.json").exists():
        shutil.rmtree(links)
        if not any(folder.iterdir()):
            folder.rmdir()


def simulate_beside(
    args: argparse.Namespace, setting: Setting, scenario: Scenario, scheme: Scheme, seconds: float, *, count: int | None
) -> Path:
    """The same scenario in virtual time, hosts learning of rates from their traffic as real ones do; its folder."""
    import msgspec

    from airloom.cli.terminal import Progress
    from airloom.playing.play import Play
    from airloom.playing.simulated import play_simulated

    options = setting.options
    there = {(link.src, link.dst) for link in setting.topology.links}
    priced = options.priced(setting.topology)
    own = {(link.src, link.dst): link for link in scenario.topology.links}
    # The same links without their recorded rates: the scenario plays those itself.
    links = tuple(
        msgspec.structs.replace(link, trace=own[link.src, link.dst].trace, rate_bps=own[link.src, link.dst].rate_bps)
        for link in priced.links
    )
    left_out = tuple(link for link in scenario.topology.links if (link.src, link.dst) not in there)
    topology = msgspec.structs.replace(priced, links=(*links, *left_out))
    folder: Path = args.out / SIMULATED
    with Progress("simulating the same"):
        play_simulated(
            Play(
                msgspec.structs.replace(scenario, topology=topology),
                setting.profiles,
                schemes=(scheme.name,),
                contract=options.contract,
                seconds=seconds,
                requests=count,
                seed=args.seed,
                reports="traffic",
                objective=options.objective,
                forecast=options.forecast,
                ask_wave_s=options.ask_wave_s,
                private_operators=options.private_operators,
                result_returns=options.result_returns,
                repair_rounds=options.repair_rounds,
                max_in_flight=options.in_flight,
            ),
            folder=folder,
            title=f"{scenario.name}, {scenario.load} load",
        )
    return folder
