"""docs/progressive.md: its commands, run one after the other, do what it shows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airloom.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "progressive.md").read_text()
#: What the page calls its server, and what differs from run to run: keys, times and what follows from them.
SERVER = "http://127.0.0.1:8080"
VARIES = re.compile(r"ed25519:\S+|[\d.]+ (?:us|ms|s)\b|[\d.]+ [kMG]bit/s|architecture-\w+")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-]*\w)")


def commands(heading: str) -> list[tuple[list[str], str]]:
    """Every command of the page's section, and the block of text that follows before the next, "" for none."""
    section = PAGE[PAGE.index(f"\n## {heading}\n") + 1 :]
    section = section[: section.find("\n## ")]
    _, *parts = re.split(r"^    airloom ", section, flags=re.MULTILINE)
    found = []
    for part in parts:
        block = re.search(r"```text\n(.*?)```", part, re.DOTALL)
        found.append((shlex.split(part.splitlines()[0]), block.group(1) if block else ""))
    return found


@contextmanager
def served(argv: list[str]) -> Iterator[str]:
    """`airloom serve-model` on a free port: its address."""
    argv = [*argv[: argv.index("--port")], "--port", "0", "--json"]
    server = subprocess.Popen(
        [sys.executable, "-m", "airloom.cli.main", *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
    finally:
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()


def compare(came: str, shown: str, command: str) -> None:
    """The same words, and numbers that differ by what another processor's arithmetic may do to a sample or two.

    Such a sample may also move a star.
    """
    came, shown = (VARIES.sub("~", " ".join(text.replace("*", "").split())) for text in (came, shown))
    assert NUMBER.sub("#", came) == NUMBER.sub("#", shown), command
    pairs = zip(NUMBER.findall(came), NUMBER.findall(shown), strict=True)
    far = [(a, b) for a, b in pairs if abs(float(a) - float(b)) > max(1.0, 0.02 * float(b))]
    assert not far, command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_the_commands_print_what_the_page_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = commands("From a network to a client")
    names = [" ".join(argv[: 2 if argv[0] == "elastic" else 1]) for argv, _ in steps]
    assert names == ["elastic table", "elastic keys", "elastic pack", "serve-model", "fetch-model", "fetch-model"]

    def run(argv: list[str], shown: str, url: str = "") -> None:
        assert main([word.replace(SERVER, url) for word in argv]) == 0, argv
        out = capsys.readouterr().out
        if shown:
            compare(out.replace(url, SERVER) if url else out, shown, " ".join(argv))

    *before, (serve, _), first, second = steps
    for argv, shown in before:
        run(argv, shown)
    with served(serve) as url:
        run(*first, url)
        run(*second, url)
    assert (folder / "table.png").stat().st_size > 10_000

    [(argv, shown)] = commands("Where it runs meanwhile")
    run(argv, shown)
