"""The options that demand an accuracy, the same for every command that has them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.config.run import RunConfig
    from airloom.core.tolerance import Contract


def add_contract_arguments(parser: argparse.ArgumentParser, beside: str = "") -> None:
    """`--tolerance` and `--min-accuracy`; `beside` ends their help."""
    parser.add_argument(
        "--tolerance",
        type=Path,
        metavar="FILE",
        help=f"what loss costs at each cut, from `airloom tolerance`{beside}",
    )
    parser.add_argument(
        "--min-accuracy",
        type=accuracy,
        metavar="A",
        help=f"the accuracy to keep, 0.88 or '88 %%'; what it leaves room for is not sent again{beside}",
    )


def accuracy(text: str) -> float:
    """`0.88` or `88 %`; whether it can be had is for others to say."""
    number = text.strip()
    try:
        return float(number[:-1]) / 100.0 if number.endswith("%") else float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"an accuracy reads 0.88 or '88 %', got {text!r}") from None


def contract_of(args: argparse.Namespace) -> Contract | None:
    """The contract that the options make."""
    from airloom.planner import inputs

    tolerance = None if args.tolerance is None else inputs.load_tolerance(args.tolerance)
    return inputs.contract_of(tolerance, args.min_accuracy, where="--min-accuracy")


def run_contract(args: argparse.Namespace, config: RunConfig) -> tuple[Contract | None, Path | None]:
    """The contract of a run file, options in place of its own; and the folder of the tolerance profile."""
    from airloom.planner import inputs

    path = args.tolerance or (Path(config.tolerance) if config.tolerance else None)
    floor = config.min_accuracy if args.min_accuracy is None else args.min_accuracy
    tolerance = None if path is None else inputs.load_tolerance(path)
    contract = inputs.contract_of(
        tolerance, floor, where="min_accuracy" if args.min_accuracy is None else "--min-accuracy"
    )
    return contract, None if path is None else path.absolute().parent
