"""Write docs/cli.md from the commands' own parsers: `python docs/make_cli.py`; `--check` only compares."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from airloom.cli.main import COMMANDS, build_parser, load

PAGE = Path(__file__).with_name("cli.md")

HEAD = """\
# Commands

Written by `python docs/make_cli.py` from what `airloom COMMAND --help` says.

Exit codes: 0 done; 1 it was tried and failed, or something required is missing; 2 what was given cannot be
used (one line on standard error says what, where, and what to do); 130 interrupted.
"""


def options(parser: argparse.ArgumentParser) -> str:
    """The arguments of a command as a table."""
    rows = ["| argument | |", "|---|---|"]
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else None)
            shown = value if isinstance(value, str) else " ".join(value) if value else action.dest.upper()
            name += f" {shown}"
        said = (action.help or "").replace("|", "\\|").replace("%%", "%")
        rows.append(f"| `{name.replace('|', chr(92) + '|')}` | {said} |")
    return "\n".join(rows) if len(rows) > 2 else "No arguments."


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in COMMANDS:
        command = load(name)
        help_line = command.HELP[0].upper() + command.HELP[1:]
        parts.append(f"## airloom {name}\n\n{help_line}.\n\n{options(build_parser(name))}\n")
        parts.append(f"```text\n{command.EPILOG.strip()}\n```\n")
        for action in getattr(command, "ACTIONS", ()):
            own = command.build_action(action, argparse.ArgumentParser(prog=f"airloom {name} {action}"))
            help_line = own.description[0].upper() + own.description[1:]
            parts.append(f"### airloom {name} {action}\n\n{help_line}.\n\n{options(own)}\n")
            parts.append(f"```text\n{own.epilog.strip()}\n```\n")
    return "\n".join(parts)


def main() -> int:
    os.environ["COLUMNS"] = "100"
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != page():
            print("docs/cli.md is not what the commands say: run python docs/make_cli.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
