"""`airloom profile`: what a model costs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.capture import add_model_arguments, parse_options

if TYPE_CHECKING:
    from airloom.core.profile import Profile

HELP = "measure a model on this machine and write a profile to plan from"
EPILOG = """\
examples:
  airloom profile resnet20 --out profile.json
  airloom profile resnet20 --device phone --factor 8 --out phone.json
  airloom profile vgg11 --option width=16 --seconds 2 --json
  airloom profile resnet20 --train sgd --momentum 0.9 --batch 8 --out training.json

Run it on each kind of device, or measure one and let a topology's `factor` model the others.
Close what else keeps the machine busy. The profile holds for this batch and number of threads.
MODEL is what `airloom capture` takes, the folder of an artifact included.
"""

# Operators shown without --all.
_MAX_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the profile (profile.json; none with --json unless named)"
    )
    parser.add_argument("--device", default="this", metavar="NAME", help="what to call the device in the profile")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's threads (1)")
    parser.add_argument("--torch-device", default="cpu", metavar="DEVICE", help="cpu, cuda, cuda:1 (cpu)")
    parser.add_argument(
        "--factor", type=float, metavar="F", help="model a device that takes F times as long as this one"
    )
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="measure for about this long (10)")
    parser.add_argument(
        "--train", choices=("sgd", "adam", "adamw"), metavar="OPTIMIZER",
        help="of training with sgd, adam or adamw: gradients, updates and what the optimiser keeps, too",
    )  # fmt: skip
    parser.add_argument("--momentum", type=float, default=0.0, metavar="M", help="of --train sgd, which keeps it (0)")
    parser.add_argument(
        "--loss", choices=("cross_entropy", "mse"), default="cross_entropy", help="of --train (cross_entropy)"
    )
    parser.add_argument("--all", action="store_true", help="show every operator")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import Progress
    from airloom.errors import ConfigError
    from airloom.nn.executor import StageExecutor
    from airloom.nn.measure import check_asked, check_factor, measure, scaled
    from airloom.nn.models import load_captured

    check_asked(args.device, args.seconds)  # before minutes of measuring
    if args.factor is not None:
        check_factor(args.factor)
    if args.train is not None:
        return _train(args)
    if args.momentum:
        raise ConfigError("is of training: add --train sgd", where="--momentum")
    with Progress(f"capturing {args.model}"):
        captured = load_captured(
            args.model,
            batch=args.batch,
            weights=args.weights,
            inputs=args.input,
            options=parse_options(args.option),
        )
    executor = StageExecutor(captured, torch_device=args.torch_device, threads=args.threads)
    with Progress(f"measuring {captured.graph.model}") as progress:

        def passed(done: int, total: int) -> None:
            progress.total = total
            progress.advance(note="passes")

        profile = measure(executor, device_name=args.device, seconds_budget=args.seconds, progress=passed)
    if args.factor is not None:
        profile = scaled(profile, args.factor, args.device)
    return _written(args, profile)


def _train(args: argparse.Namespace) -> int:
    """Measure training."""
    from airloom.cli.terminal import Progress
    from airloom.core.training import TrainingSpec
    from airloom.nn.measure import scaled
    from airloom.nn.training.loss import label_form
    from airloom.nn.training.measure import measure_training
    from airloom.nn.training.models import capture_for_training

    with Progress(f"capturing {args.model}"):
        captured = capture_for_training(
            args.model, batch=args.batch, weights=args.weights, inputs=args.input, options=parse_options(args.option)
        )
    shape, dtype = label_form(captured.graph, args.loss)
    spec = TrainingSpec(
        optimizer=args.train, momentum=args.momentum, loss=args.loss, label_shape=shape, label_dtype=dtype
    )
    with Progress(f"measuring {captured.graph.model}") as progress:

        def passed(done: int, total: int) -> None:
            progress.total = total
            progress.advance(note="passes")

        profile = measure_training(
            captured, spec, device_name=args.device, torch_device=args.torch_device, threads=args.threads,
            seconds_budget=args.seconds, progress=passed,
        )  # fmt: skip
    return _written(args, profile if args.factor is None else scaled(profile, args.factor, args.device))


def _written(args: argparse.Namespace, profile: Profile) -> int:
    from airloom.cli.terminal import emit_json
    from airloom.files import write_value

    out = args.out if args.out is not None or args.json else Path("profile.json")
    if out is not None:
        write_value(out, profile)
    if args.json:
        emit_json(profile)
        return 0
    print(describe(profile, every_operator=args.all))
    print(f"wrote {out}")
    return 0


def describe(profile: Profile, *, every_operator: bool = False) -> str:
    """Where the time goes, as text."""
    from airloom.cli.terminal import table
    from airloom.engine.training.times import backward_s
    from airloom.units import format_bytes, format_percent, format_seconds

    machine, whole_s = profile.machine, profile.stage_s(0, profile.num_operators)
    macs = sum(op.macs for op in profile.operators)
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    lines = [
        f"{profile.model} on {profile.device} ({profile.basis}): {format_seconds(whole_s)} for a batch of "
        f"{profile.batch}, {macs / whole_s / 1e9:.3g} G multiply-accumulates/s",
        f"{machine.cpu}, {machine.cores} cores, {threads}, torch {machine.torch} on "
        f"{machine.torch_device}, Python {machine.python}",
        f"a stage takes {format_seconds(profile.stage_constant_s)} and {profile.stage_scale:.3g} times the sum of its "
        "operators"
        + (
            ""
            if profile.stage_error is None
            else f"; median error {format_percent(profile.stage_error)} on other stages"
        ),
        "",
    ]
    if profile.optimizer:
        back_s, weights = backward_s(profile, 0, profile.num_operators), profile.weights
        kept, trained = sum(w.state_nbytes for w in weights), sum(w.nbytes for w in weights if w.trained)
        lines.insert(
            -1,
            f"training with {profile.optimizer}: {format_seconds(back_s)} back, updates included; "
            f"{format_bytes(trained)} of weights, {format_bytes(kept)} kept for them",
        )
    order = sorted(range(profile.num_operators), key=lambda k: -profile.operators[k].compute_s)
    shown = sorted(order) if every_operator else order[:_MAX_ROWS]
    total = sum(op.compute_s for op in profile.operators)
    rows: list[list[Any]] = []
    for k in shown:
        op = profile.operators[k]
        rows.append(
            [
                k,
                op.name,
                format_seconds(op.compute_s),
                f"± {format_seconds(op.spread_s / 2)}",
                format_percent(op.compute_s / total) if total else "–",
                f"{op.macs / 1e6:.4g} M" if op.macs else "–",
            ]
        )
    lines.append(table(rows, ["#", "operator", "time", "spread", "share", "MACs"], "rlrrrr"))
    if len(rows) < profile.num_operators:
        lines.append(f"the {len(rows)} slowest of {profile.num_operators} operators: --all shows the rest")
    return "\n".join(lines)
