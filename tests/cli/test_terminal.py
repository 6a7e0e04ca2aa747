"""Tables, progress and JSON on the terminal."""

from __future__ import annotations

import io
import json
import math
import sys
import time

import pytest

from airloom.cli import terminal
from airloom.core.topology import Link


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_table() -> None:
    text = terminal.table([["ue", 1, None], ["cloud", 20, "x"]], ["host", "n", "note"], "lrl")
    assert text == "host    n  note\nue      1\ncloud  20  x"
    assert terminal.table([]) == ""
    assert terminal.table([["a", "b"], ["c"]]) == "a  b\nc"


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.style("x", "red", Tty()) == "\x1b[31mx\x1b[0m"
    assert terminal.style("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.style("x", "red", Tty()) == "x"


def _advance(stream: io.StringIO, seconds: list[float]) -> str:
    """Advance at these times after the start; without a ticker, so that they are all."""
    now = iter([0.0, *seconds])
    with terminal.Progress("working", total=9, stream=stream, clock=lambda: next(now), tick_s=0) as progress:
        for _ in seconds:
            progress.advance(note="x")
    return stream.getvalue()


def test_progress_of_what_is_quick_is_silent() -> None:
    assert _advance(io.StringIO(), [0.1, 0.2, 0.3]) == ""
    assert _advance(Tty(), [0.1, 0.2, 0.3]) == ""


def test_progress_in_a_pipe_is_one_line() -> None:
    assert _advance(io.StringIO(), [0.5, 1.5, 2.5]) == "working ...\n"


def test_progress_on_a_terminal_moves_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = _advance(Tty(), [0.5, 1.5, 2.5])
    assert "3/9" in text
    assert text.endswith("\r\x1b[2K")
    assert "\n" not in text


def test_progress_shows_without_being_told() -> None:
    stream, later = io.StringIO(), iter([0.0])
    with terminal.Progress("busy", stream=stream, clock=lambda: next(later, 2.0), tick_s=0.001):
        deadline = time.monotonic() + 5.0
        while not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.001)
    assert stream.getvalue() == "busy ...\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.emit_json(Link(src="a", dst="b", rate_bps=math.inf))
    assert json.loads(capsys.readouterr().out)["rate_bps"] == "Infinity"
    assert sys.stdout is not None
