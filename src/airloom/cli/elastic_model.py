"""Which elastic model: what the commands that take a trained one share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.capture import parse_options

if TYPE_CHECKING:
    from airloom.nn.elastic.files import ElasticRecord
    from airloom.nn.elastic.model import ElasticModel


def add_elastic_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, its weights, and what its network needs to be built."""
    parser.add_argument("model", metavar="MODEL", help="a zoo name, or package.module:factory")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE",
        help="of `airloom elastic train` (default: those bundled with MODEL; resnet20 has some)",
    )  # fmt: skip
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE:TYPE", help="an input of a factory that names none"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=NUMBER",
        help="of the network: width=8 (default: as it was trained)",
    )  # fmt: skip


def short_name(model: str) -> str:
    """What a table, an artifact and files are called after MODEL: `package.module:net` is `net`."""
    return model.rpartition(":")[2].rpartition(".")[2]


def load_chosen(args: argparse.Namespace) -> tuple[ElasticModel, ElasticRecord]:
    """The model that `add_elastic_arguments` is about, at its full depth and in eval mode.

    Raises:
        ConfigError: no such model or weights, or none are named and none bundled.
        ProfileMismatch: weights of another network.
    """
    from contextlib import ExitStack
    from importlib import resources

    from airloom import zoo
    from airloom.errors import ConfigError
    from airloom.nn.elastic.files import load_elastic
    from airloom.nn.models import load_model

    path: Path | None = args.weights
    with ExitStack() as stack:
        if path is None:
            bundled = zoo.bundled_weights(args.model, elastic=True)
            if bundled is None:
                if args.model not in zoo.MODELS:
                    load_model(args.model, inputs=args.input)  # a name that is none is the first thing to mend
                raise ConfigError(
                    f"no elastic weights are bundled for {args.model}: make some with `airloom elastic train`, "
                    "and name their file with --weights"
                )
            path = stack.enter_context(resources.as_file(bundled))
        options = parse_options(args.option) if args.option else None
        return load_elastic(path, args.model, inputs=tuple(args.input), options=options)
