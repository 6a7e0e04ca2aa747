"""`airloom elastic`: networks that run at several depths: train one, measure it, pack it for delivery."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

HELP = "networks that run at several depths: train one, measure it, pack it for delivery"
EPILOG = """\
examples:
  airloom elastic train resnet20 --data train.npz --policy coml-0.5 --out elastic.safetensors
  airloom elastic table resnet20 --weights elastic.safetensors --data test.npz --out table.json
  airloom elastic keys publisher
  airloom elastic pack resnet20 --weights elastic.safetensors --table table.json --key publisher.key --out public

The options of an action: airloom elastic ACTION --help. What it is all for: docs/progressive.md.
"""

# The actions in the order in which a user meets them. Each module has HELP (a line), EPILOG, add_arguments(parser)
# and run(args) -> exit code, as a command has; only the one that is asked for is imported.
ACTIONS = {
    "train": ("airloom.cli.elastic_train", "train a network so that it runs at every depth"),
    "table": ("airloom.cli.elastic_table", "measure accuracy, bytes and latency of every depth and precision"),
    "keys": ("airloom.cli.elastic_keys", "make the keys that sign and check what is delivered"),
    "pack": ("airloom.cli.elastic_pack", "write the folder that is delivered: manifest and chunks"),
}


def load(action: str) -> ModuleType:
    """The module of `action`."""
    return import_module(ACTIONS[action][0])


def build_action(action: str, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """`parser` with the arguments and texts of `action`; imports its module."""
    module = load(action)
    parser.description, parser.epilog = module.HELP, module.EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    class Action(type(parser)):  # type: ignore[misc]  # whichever parser it is, it complains in its own way
        """Takes its arguments from its module when it is asked for."""

        def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
            build_action(self.prog.rpartition(" ")[2], self)
            return super().parse_known_args(args, namespace)

    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=Action, help=f"one of {', '.join(ACTIONS)}"
    )
    for name, (_, text) in ACTIONS.items():
        actions.add_parser(name, help=text, allow_abbrev=False)


def run(args: argparse.Namespace) -> int:
    return int(load(args.action).run(args) or 0)
