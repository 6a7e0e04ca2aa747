"""Options of `airloom plan` beyond plain requests: training, merged parameters, the path."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.plan import Plan
    from airloom.planner.modes import Modes


def add_mode_arguments(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    training.add_argument(
        "--train",
        metavar="TIMES",
        nargs="?",
        const="measured",
        help="plan a step of training: forward, backward, gradients back, weights to where they are needed; 'modelled' "
        "takes twice the forward pass for the backward one where the profile was measured without it",
    )
    training.add_argument(
        "--from",
        metavar="PLAN",
        dest="previous",
        type=Path,
        help="the plan (JSON) that the model was trained under so far: weights that change hosts have to move",
    )
    training.add_argument(
        "--amortise", metavar="K", type=int, default=1, help="spread the move over K steps (default 1)"
    )
    training.add_argument(
        "--labels",
        metavar="BYTES",
        default="0",
        help="labels of a step, which travel with the activations to the host that finds the loss (default none: they "
        "are inputs of the graph, or there already)",
    )
    merging = parser.add_argument_group("collaborative learning")
    merging.add_argument("--parameters-to", metavar="HOST", help="where the parameters of all agents are merged")
    merging.add_argument("--every", metavar="K", type=int, default=1, help="merge every K steps (default 1)")
    merging.add_argument(
        "--parameters-from",
        choices=("stages", "last"),
        default="stages",
        help="who sends them: each host those of its stage (the default), or the host of the last operator all of them "
        "(HiveMind, Eq. 13)",
    )
    merging.add_argument("--parameters-stay", action="store_true", help="the merged parameters do not come back")
    path = parser.add_argument_group("path")
    path.add_argument(
        "--route",
        metavar="PATH",
        help="hosts in order, 'ue,gnb1,core,cloud', in place of the best path; 'any' also weighs paths that do not "
        "lead nearer to the sink at every hop, for a plan that hosts are told to follow",
    )


def modes_of(args: argparse.Namespace) -> Modes:
    """What the options ask for.

    Raises:
        ConfigError: an option that means nothing without another, or a number that cannot be; names it.
    """
    from airloom import units
    from airloom.core.plan import Plan
    from airloom.errors import ConfigError
    from airloom.files import read_value
    from airloom.planner.collaborative import Collaboration
    from airloom.planner.modes import Modes
    from airloom.planner.training import Training

    if args.train not in (None, "measured", "modelled"):
        raise ConfigError(f"measured or modelled, got {args.train!r}", where="--train")
    needs = {"--from": args.previous, "--amortise": args.amortise != 1, "--labels": args.labels != "0"}
    for name, given in needs.items():
        if given and args.train is None:
            raise ConfigError("is of training: add --train", where=name)
    if args.amortise < 1:
        raise ConfigError(f"a move is spread over at least 1 step, got {args.amortise}", where="--amortise")
    if args.amortise != 1 and args.previous is None:
        raise ConfigError("spreads the move from a plan: name that with --from", where="--amortise")
    merging = {"--every": args.every != 1, "--parameters-stay": args.parameters_stay}
    merging["--parameters-from"] = args.parameters_from != "stages"
    for name, given in merging.items():
        if given and args.parameters_to is None:
            raise ConfigError("is of parameters that are merged: add --parameters-to", where=name)
    if args.every < 1:
        raise ConfigError(f"merges are at least 1 step apart, got {args.every}", where="--every")
    training = None
    if args.train is not None:
        training = Training(
            previous=None if args.previous is None else read_value(args.previous, Plan),
            amortise=args.amortise,
            labels_nbytes=units.parse_bytes(args.labels, where="--labels"),
            modelled=args.train == "modelled",
        )
    collaboration = None
    if args.parameters_to is not None:
        collaboration = Collaboration(
            to=args.parameters_to,
            every=args.every,
            both=not args.parameters_stay,
            senders=args.parameters_from,
        )
    route: tuple[str, ...] = ()
    if args.route is not None and args.route.strip() != "any":
        route = tuple(id.strip() for id in args.route.split(","))
    return Modes(training=training, collaboration=collaboration, route=route, any_route=args.route == "any")


#: What the parts of a plan are called.
PARTS = {
    "forward": "forward pass",
    "activations": "activations on",
    "backward": "backward pass",
    "gradients": "gradients back",
    "moves": "weights that move",
    "transfers": "cuts on, result back",
    "parameters": "parameters to merge",
}


def parts_table(plan: Plan) -> str:
    """What a step is made of, a row each with its basis; "" for plain requests."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_percent, format_seconds

    if not plan.parts:
        return ""
    rows = [
        (
            PARTS.get(part.name, part.name),
            format_bytes(round(part.nbytes)) if part.nbytes else "",
            format_seconds(part.predicted_s),
            format_percent(part.predicted_s / plan.predicted_s) if plan.predicted_s else "",
            part.basis,
        )
        for part in plan.parts
    ]
    return table(rows, ("a step", "bytes", "predicted", "share", "basis"), align="lrrrl")
