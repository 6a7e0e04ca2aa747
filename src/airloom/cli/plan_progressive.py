"""`airloom plan --model-size-on-ue`: how much of a model to send to the UE, when, and where requests run meanwhile."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.delivery_plan import Aim, DeliveryAsked

#: Options of other plans that say nothing about this one, by their attribute, with their default values.
_OTHERS: dict[str, tuple[str, object]] = {
    "dry_run": ("--dry-run", None), "train": ("--train", None), "previous": ("--from", None),
    "parameters_to": ("--parameters-to", None), "route": ("--route", None), "tolerance": ("--tolerance", None),
    "solver": ("--solver", None), "no_result_back": ("--no-result-back", False), "no_framing": ("--no-framing", False),
    "require": ("--require", []),
    "amortise": ("--amortise", 1), "labels": ("--labels", "0"), "runner_ups": ("--runner-ups", 3),
    "every": ("--every", 1), "parameters_from": ("--parameters-from", "stages"),
    "parameters_stay": ("--parameters-stay", False),
}  # fmt: skip
#: Options that are of this plan alone.
_OWN = {
    "requests_per_s": "--requests-per-s", "horizon": "--horizon", "deadline": "--deadline", "battery": "--battery",
    "served_from": "--served-from", "steps": "--steps",
}  # fmt: skip


def add_progressive_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a plan that sends the model."""
    group = parser.add_argument_group("a model that is sent to the UE")
    group.add_argument(
        "--model-size-on-ue",
        metavar="MODEL",
        type=Path,
        help="plan how deep and precise the model on the UE should be, and when: a table of `airloom elastic table` or "
        "an artifact of `airloom elastic pack`; see docs/progressive-plans.md",
    )
    group.add_argument("--requests-per-s", metavar="R", type=float, help="requests come evenly (default 1)")
    group.add_argument("--horizon", metavar="T", help="for how long they come, as in '60 s' (default 60 s)")
    group.add_argument("--deadline", metavar="D", help="every answer is there within, '200 ms'")
    group.add_argument("--battery", metavar="J", help="what the UE may spend on all of it, '20 J'")
    group.add_argument("--served-from", metavar="HOST", help="the device that has the model (default: the sink)")
    group.add_argument("--steps", metavar="N", type=int, help="configurations to pass through at most (default 3)")


def is_progressive(args: argparse.Namespace) -> bool:
    """Whether a plan of a delivery is asked for.

    Raises:
        ConfigError: an option of one without it, or one of another kind of plan with it.
    """
    from airloom.errors import ConfigError

    if args.model_size_on_ue is None:
        for name, option in _OWN.items():
            if getattr(args, name) is not None:
                raise ConfigError("is of a model that is sent: add --model-size-on-ue", where=option)
        return False
    for name, (option, none) in _OTHERS.items():
        if getattr(args, name) != none:
            raise ConfigError("says nothing about a model that is sent: leave it out", where=option)
    return True


def run_progressive(args: argparse.Namespace) -> int:
    """Plan, print, write."""
    import msgspec

    from airloom import api
    from airloom.cli.network_options import conditions_of, kept_operators
    from airloom.cli.progressive_tables import describe
    from airloom.cli.terminal import Progress, emit_json
    from airloom.files import write_value
    from airloom.planner.inputs import load_profile

    asked = asked_of(args)
    manifest = api.load_progressive(args.model_size_on_ue)
    profile = load_profile(args.profile)
    topology = api.load_topology(args.topology)
    with Progress("planning"):
        plan = api.plan_delivery(
            manifest,
            topology,
            profile,
            asked,
            conditions=conditions_of(args.set, topology),
            private_operators=kept_operators(args.keep_on_ue, profile),
        )
    plan = msgspec.structs.replace(
        plan,
        files={
            "model": str(args.model_size_on_ue.absolute()),
            "topology": str(args.topology.absolute()),
            "profile": str(args.profile.absolute()),
        },
    )
    if args.json == "-":
        emit_json(plan)
        return 0
    if args.json:
        write_value(Path(args.json), plan)
    print(describe(plan))
    if args.json:
        print(f"\nwritten to {args.json}")
    return 0


def asked_of(args: argparse.Namespace) -> DeliveryAsked:
    """What the options ask for.

    Raises:
        ConfigError: a quantity that is none, or something to make small that this plan does not know.
    """
    from airloom import units
    from airloom.core.delivery_plan import DeliveryAsked
    from airloom.errors import ConfigError

    aims: dict[str, Aim] = {
        "latency": "latency", "energy": "energy", "energy@ue": "energy", "accuracy": "accuracy", "error": "accuracy",
    }  # fmt: skip
    if len(args.minimize) > 1:
        raise ConfigError("a model that is sent is planned for one thing: name one", where="--minimize")
    name = args.minimize[0] if args.minimize else "latency"
    if name not in aims:
        raise ConfigError(
            f"a model that is sent is planned for latency, energy (the UE's) or error, got {name!r}", where="--minimize"
        )
    return DeliveryAsked(
        requests_per_s=1.0 if args.requests_per_s is None else args.requests_per_s,
        horizon_s=60.0 if args.horizon is None else units.parse_seconds(args.horizon, where="--horizon"),
        minimize=aims[name],
        min_accuracy=args.min_accuracy,
        deadline_s=None if args.deadline is None else units.parse_seconds(args.deadline, where="--deadline"),
        battery_j=None if args.battery is None else units.parse_joules(args.battery, where="--battery"),
        served_from=args.served_from or "",
        steps=3 if args.steps is None else args.steps,
    )
