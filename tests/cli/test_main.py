"""The command: what it prints and with which code it ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import airloom
from airloom.cli import main as cli
from airloom.errors import DeadlineExceeded, DeploymentError, Infeasible

ROOT = Path(__file__).parents[2]


def _command(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None, code: int | None = 0) -> None:
    """`airloom plan` becomes a command that raises `error` or returns `code`."""

    def run(_: argparse.Namespace) -> int | None:
        if error is not None:
            raise error
        return code

    fake = SimpleNamespace(HELP="h", EPILOG="e", add_arguments=lambda p: p.add_argument("--x", type=int), run=run)
    monkeypatch.setattr(cli, "load", lambda name: fake)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            Infeasible("ue needs 812 MiB, has 512 MiB:\n cut earlier"),
            2,
            "airloom: ue needs 812 MiB, has 512 MiB: cut earlier",
        ),
        (DeadlineExceeded("no result within 2 s"), 1, "airloom: no result within 2 s"),
        (DeploymentError("mec did not come up"), 1, "airloom: mec did not come up"),
        (KeyboardInterrupt(), 130, "airloom: interrupted"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "pip install torch"),
        (PermissionError(13, "Permission denied", "out.json"), 2, "airloom: out.json: Permission denied"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    _command(monkeypatch, error)
    assert cli.main(["plan"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_faults_are_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ZeroDivisionError(), ModuleNotFoundError("No module named 'x'", name="x"), OSError(98, "in use")):
        _command(monkeypatch, error)
        with pytest.raises(type(error)):
            cli.main(["plan"])


def test_codes_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((0, 0), (1, 1), (None, 0)):
        _command(monkeypatch, code=given)
        assert cli.main(["plan"]) == expected


def test_options_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _command(monkeypatch)
    for argv in (["plan", "--x", "a"], ["plan", "--nope"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith("airloom plan: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(("typed", "meant"), [("repot", "report"), ("plann", "plan"), ("docter", "doctor")])
def test_the_nearest_command_is_suggested(capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    assert cli.main([typed]) == 2
    assert f"did you mean `airloom {meant}`?" in capsys.readouterr().err


def test_an_unheard_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["xyzzy"]) == 2
    assert "`airloom help`" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"airloom {airloom.__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == airloom.__version__


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed[: len(cli.COMMANDS)] == list(cli.COMMANDS)
    assert cli.main([]) == 0
    assert cli.main(["help", "report"]) == 0
    assert "usage: airloom report" in capsys.readouterr().out


def test_only_the_invoked_command_is_imported() -> None:
    code = (
        "import sys; from airloom.cli.main import main\n"
        "try: main(['report', '--help'])\n"
        "except SystemExit: pass\n"
        "mine = [m for m in sys.modules if m.startswith('airloom.cli.')]\n"
        "heavy = [m for m in ('torch', 'numpy', 'matplotlib', 'zenoh') if m in sys.modules]\n"
        "print(sorted(mine), heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['airloom.cli.main', 'airloom.cli.report'] []"


@pytest.mark.parametrize("argv", [["--version"], ["doctor"]])
def test_a_reader_that_leaves_is_no_error(argv: list[str]) -> None:
    code = f"import sys; from airloom.cli.main import main; sys.exit(main({argv!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait() == 141


def test_a_value_that_begins_with_a_dash_is_refused_for_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = str(ROOT / "examples" / "scenarios" / "handover.yaml")
    assert cli.main(["simulate", scenario, "--seconds", "-5s"]) == 2
    assert "--seconds: a time cannot be negative, got '-5s'" in capsys.readouterr().err
