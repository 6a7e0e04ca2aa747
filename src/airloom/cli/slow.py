"""The option that plays a network in slow motion, the same for every command that emulates one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airloom.core.profile import Profile
    from airloom.core.scenario import Scenario
    from airloom.core.topology import Topology

AUTO = "auto"


def add_slow_argument(parser: argparse.ArgumentParser) -> None:
    """`--slow-motion`."""
    parser.add_argument(
        "--slow-motion",
        metavar="K",
        help="let network and devices run K times slower than they stand for, and divide times by K: for devices that "
        "are faster than this machine; `auto` takes as much as they need",
    )


def slow_of(args: argparse.Namespace) -> float | None:
    """The factor that is asked for, 1 where none is; None for `auto`.

    Raises:
        ConfigError: no number from 1 on; names the option.
    """
    from airloom import units
    from airloom.errors import ConfigError
    from airloom.runtime.motion import SLOWEST

    if args.slow_motion is None:
        return 1.0
    if args.slow_motion == AUTO:
        return None
    slow = units.parse_number(args.slow_motion, where="--slow-motion")
    if not 1.0 <= slow <= SLOWEST:
        raise ConfigError(
            f"is `{AUTO}`, or from 1 (real time) to {SLOWEST:g}, got {args.slow_motion}", where="--slow-motion"
        )
    return slow


def motion_for(
    asked: float | None, topology: Topology, profiles: Mapping[str, Profile], scenario: Scenario | None = None
) -> float:
    """The slow motion to play in, after a look at whether this machine is fast enough for it.

    Args:
        asked: as `slow_of` has it.
        scenario: whose tasks come by the clock, one UE's of it.

    Raises:
        Infeasible: a device is faster than this machine in that motion; says which motion it takes.
    """
    import os

    from airloom.core.speed import with_class_factors
    from airloom.deployment.setup import check_speeds
    from airloom.planner.pricing import profile_of
    from airloom.runtime.motion import slow_enough

    topology = with_class_factors(topology, profiles)
    if asked is None:
        factors = [device.factor for device in topology.devices if device.computes]
        cores = 0.0
        if scenario is not None and scenario.tasks.kind != "back-to-back":
            profile = profile_of(topology.source, profiles)
            work_s = profile.stage_s(0, profile.num_operators) * max(1, profile.machine.threads)
            cores = work_s / scenario.tasks.every_s
        asked = slow_enough(min(factors, default=1.0), cores, os.cpu_count() or 1)
    check_speeds(topology, asked)
    return asked
