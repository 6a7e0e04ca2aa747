"""Every command's help has examples, and the examples are right."""

from __future__ import annotations

import re
import shlex

import pytest

from airloom.cli.main import COMMANDS, build_parser, load


def examples(text: str) -> list[list[str]]:
    """The arguments of each `  airloom ...` line; a backslash at the end continues it."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip() for line in joined.splitlines() if re.match(r"\s+airloom ", line)]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name: str) -> None:
    command = load(name)
    found = examples(command.EPILOG)
    assert any(argv[0] == name for argv in found), "an example of the command itself"
    for argv in found:
        assert "|" not in argv
        args = build_parser(argv[0]).parse_args(argv[1:])
        assert args is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole(name: str) -> None:
    command = load(name)
    assert command.HELP
    assert "\n" not in command.HELP
    assert command.HELP[0].islower()
    text = build_parser(name).format_help()
    assert command.EPILOG.strip() in text
    for action in build_parser(name)._actions:
        assert action.help, f"{name}: {action.dest} has no help"
