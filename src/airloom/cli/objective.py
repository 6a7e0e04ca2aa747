"""The options that say what a plan is to be good at, the same for every command that has them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.config.run import RunConfig
    from airloom.core.objective import Objective
    from airloom.core.topology import Topology


def add_objective_arguments(parser: argparse.ArgumentParser, beside: str = "") -> None:
    """`--minimize`, `--require` and `--solver`; `beside` ends their help."""
    parser.add_argument(
        "--minimize",
        metavar="TERM",
        action="append",
        default=[],
        help="what to make small: latency (the default), energy, bytes or money; of some devices or roles alone "
        f"(energy@ue,gnb), with a weight (energy=0.2); may be repeated{beside}",
    )
    parser.add_argument(
        "--require",
        metavar="BOUND",
        action="append",
        default=[],
        help=f"what every request must keep: 'latency<=120ms', 'energy@ue<=0.5 J', 'bytes<=2 MiB', 'money<=0.001'; "
        f"may be repeated{beside}",
    )
    parser.add_argument(
        "--solver",
        metavar="NAME",
        help="exact (the default: keeps every bound that can be kept, with a proof), convex (HiveMind's, cannot "
        f"promise bounds) or linear (a weighted sum){beside}",
    )


def objective_of(args: argparse.Namespace, topology: Topology) -> Objective | None:
    """The objective that the options make; None is the least latency.

    Raises:
        ConfigError: what is no term, bound or solver, and names that the topology lacks; names the option.
    """
    from airloom.config.objective import check_objective, parse_objective

    objective = parse_objective(args.minimize, args.require, args.solver)
    check_objective(objective, topology)
    return objective


def run_objective(args: argparse.Namespace, config: RunConfig, topology: Topology) -> Objective | None:
    """The objective of a run file, what the options say in place of its own.

    Raises:
        ConfigError: as of `objective_of`.
    """
    import msgspec

    from airloom.config.objective import Places, check_objective, parse_objective

    given = parse_objective(args.minimize, args.require, args.solver)
    own = config.objective
    if own is None or given is None:
        objective = given or own
    else:
        objective = msgspec.structs.replace(
            own,
            **({"minimize": given.minimize} if args.minimize else {}),
            **({"require": given.require} if args.require else {}),
            **({"solver": given.solver} if args.solver else {}),
        )
    places = Places(
        "--minimize" if args.minimize else f"{args.config}: $.minimize",
        "--require" if args.require else f"{args.config}: $.require",
    )
    check_objective(objective, topology, places=places)
    return objective
