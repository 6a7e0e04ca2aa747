"""`airloom elastic`: networks that run at several depths: train, measure, pack, keys."""

from __future__ import annotations

import argparse
from importlib import import_module
from types import ModuleType

HELP = "networks that run at several depths: train one, measure it, pack it for delivery, make keys"
EPILOG = """\
examples:
  airloom elastic train resnet20 --data cifar10.npz --order groups
  airloom elastic table resnet20 --weights elastic.safetensors --data cifar10.npz
  airloom elastic keys model
  airloom elastic pack resnet20 --weights elastic.safetensors --key model.key

`airloom elastic train --help` and so on show the options of each.
"""

# The actions in the order in which a user meets them. Each module has HELP, EPILOG, add_arguments(parser) and
# run(args) -> exit code, as commands have.
ACTIONS = {
    "train": "airloom.cli.elastic_train",
    "table": "airloom.cli.elastic_table",
    "keys": "airloom.cli.elastic_keys",
    "pack": "airloom.cli.elastic_pack",
}


def load(action: str) -> ModuleType:
    """The module of `action`."""
    return import_module(ACTIONS[action])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    for name in ACTIONS:
        module = load(name)
        action = actions.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(action)
        action.set_defaults(run_action=module.run)


def run(args: argparse.Namespace) -> int:
    result: int = args.run_action(args)
    return result
