"""The `airloom` command: finds the subcommand, imports that one only, and turns errors into one line.

Exit codes: 0 done; 1 it was tried and failed; 2 what was given cannot be used; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from airloom.errors import AirloomError, MissingExtra, UserError

# The subcommands in the order in which a user meets them. Each module has HELP (a line), EPILOG
# (tested examples), add_arguments(parser) and run(args) -> exit code, and imports what is heavy in run.
COMMANDS = {
    "demo": "airloom.cli.demo",
    "init": "airloom.cli.init",
    "doctor": "airloom.cli.doctor",
    "capture": "airloom.cli.capture",
    "profile": "airloom.cli.profile",
    "tolerance": "airloom.cli.tolerance",
    "plan": "airloom.cli.plan",
    "run": "airloom.cli.run",
    "simulate": "airloom.cli.simulate",
    "train": "airloom.cli.train",
    "federate": "airloom.cli.federate",
    "elastic": "airloom.cli.elastic",
    "serve-model": "airloom.cli.serve_model",
    "fetch-model": "airloom.cli.fetch_model",
    "node": "airloom.cli.node",
    "status": "airloom.cli.status",
    "certs": "airloom.cli.certs",
    "report": "airloom.cli.report",
}

# Modules that only an extra brings, and the command that brings them.
EXTRAS = {
    "torch": "pip install torch==2.13.0 'airloom[torch]'",
    "safetensors": "pip install 'airloom[torch]'",
    "starlette": "pip install 'airloom[deliver]'",
    "uvicorn": "pip install 'airloom[deliver]'",
    "httptools": "pip install 'airloom[deliver]'",
    "sionna": "pip install 'airloom[phy]'",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def load(name: str) -> ModuleType:
    """The module of subcommand `name`."""
    return import_module(COMMANDS[name])


def build_parser(name: str) -> argparse.ArgumentParser:
    """The parser of subcommand `name`; imports its module."""
    command = load(name)
    parser = Parser(
        prog=f"airloom {name}",
        description=command.HELP,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def overview() -> str:
    """What `airloom help` prints."""
    from airloom.cli.terminal import table

    rows = [(f"  {name}", load(name).HELP) for name in COMMANDS]
    return "\n".join(
        [
            "usage: airloom COMMAND [options]",
            "",
            "Cuts a neural network over a chain of hosts, runs it there, and shows what it gained.",
            "",
            table(rows, align="ll"),
            "",
            "  airloom demo                 four hosts on this machine, start to report",
            "  airloom COMMAND --help       options and an example",
            "  airloom --version",
        ]
    )


def _unknown(name: str) -> UserError:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    remedy = f"did you mean `airloom {near[0]}`?" if near else "`airloom help` lists the commands"
    return UserError(f"no command {name!r}: {remedy}")


def _joined(argv: Sequence[str]) -> list[str]:
    """`--seconds -5s` as `--seconds=-5s`: argparse takes what begins with a dash for an option; the value is refused by
    whoever reads it, with its reason."""
    found: list[str] = []
    for word in argv:
        if re.match(r"-\.?\d", word) and found and re.fullmatch(r"--[a-z][a-z0-9-]*", found[-1]):
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def dispatch(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); errors pass through."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        rest = argv[1:]
        if argv and argv[0] == "help" and rest:
            if rest[0] not in COMMANDS:
                raise _unknown(rest[0])
            build_parser(rest[0]).print_help()
        else:
            print(overview())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        from airloom import __version__

        print(f"airloom {__version__}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise _unknown(name)
    args = build_parser(name).parse_args(_joined(rest))
    return int(load(name).run(args) or 0)


def _say(error: object) -> None:
    line = " ".join(str(error).split()) or type(error).__name__
    print(f"airloom: {line}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    try:
        try:
            return dispatch(sys.argv[1:] if argv is None else argv)
        finally:
            # Here, and not at exit, so that a reader who has gone is met below.
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("airloom: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, and nothing may be said at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        _say(error)
        return 2
    except AirloomError as error:
        _say(error)
        return 1
    except ModuleNotFoundError as error:
        remedy = EXTRAS.get((error.name or "").partition(".")[0])
        if remedy is None:
            raise
        _say(MissingExtra(f"this command needs {error.name}, which is not installed: {remedy}"))
        return 2
    except OSError as error:
        # A file that cannot be read or written is the user's to mend; any other is a fault to show whole.
        if error.filename is None:
            raise
        _say(f"{error.filename}: {error.strerror}")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
