"""`airloom elastic` and its actions: help, examples, complaints."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from airloom.cli import elastic
from airloom.cli.main import Parser, build_parser, main


@pytest.mark.parametrize("action", elastic.ACTIONS)
def test_help_and_examples_of_each_action(action: str) -> None:
    parser = elastic.build_action(action, Parser(prog=f"airloom elastic {action}"))
    assert parser.description
    assert "\n" not in parser.description
    for option in parser._actions:
        assert option.help, f"{option.dest} has no help"
    assert parser.epilog is not None
    examples = re.findall(r"^ +airloom (elastic .+)$", re.sub(r"\\\n\s*", " ", parser.epilog), re.MULTILINE)
    assert any(line.startswith(f"elastic {action} ") for line in examples), "an example of the action itself"
    for line in examples:
        args = build_parser("elastic").parse_args(shlex.split(line, comments=True)[1:])
        assert args.action in elastic.ACTIONS


@pytest.mark.parametrize("action", elastic.ACTIONS)
def test_help_says_what_the_action_takes(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["elastic", action, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: airloom elastic {action} ")
    assert elastic.load(action).EPILOG.strip() in shown


def test_an_action_runs_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(elastic.load("keys"), "run", lambda args: asked.append(args.action) or 3)
    example = re.findall(r"^ +airloom (elastic keys .+)$", elastic.load("keys").EPILOG, re.MULTILINE)[0]
    assert main(shlex.split(example, comments=True)) == 3
    assert asked == ["keys"]


def test_only_the_action_that_was_asked_for_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in elastic.ACTIONS.values():
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit):
        main(["elastic", "keys", "--help"])
    assert "airloom.cli.elastic_keys" in sys.modules
    assert "airloom.cli.elastic_table" not in sys.modules


@pytest.mark.parametrize("argv", [[], ["fold"], ["keys", "--nonsense"]])
def test_what_is_no_action(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["elastic", *argv])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
