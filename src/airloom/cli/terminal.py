"""What commands print: aligned tables, progress, JSON. Plain text unless a person is watching."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def in_colour(stream: TextIO) -> bool:
    """Whether to colour `stream`: only a terminal, and not where NO_COLOR (no-color.org) is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, name: str, stream: TextIO | None = None) -> str:
    """`text` in bold, dim, red, green, yellow or cyan where `stream` (stdout) shows colour."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if in_colour(stream or sys.stdout) else text


def table(rows: Sequence[Sequence[object]], header: Sequence[str] = (), align: str = "") -> str:
    """`rows` as aligned text, without a final newline.

    Args:
        rows: cells; shown by `str`, None as nothing.
        header: titles of the columns; none if empty.
        align: a letter a column, `l` or `r`; columns beyond it follow its last letter, and
            without it the first column is on the left and the others on the right.
    """
    text = [["" if cell is None else str(cell) for cell in row] for row in rows]
    lines = [list(header), *text] if header else text
    if not lines:
        return ""
    columns = max(map(len, lines))
    align = align or "lr"
    align = (align + align[-1] * columns)[:columns]
    lines = [row + [""] * (columns - len(row)) for row in lines]
    widths = [max(len(row[k]) for row in lines) for k in range(columns)]

    def laid_out(row: list[str]) -> str:
        cells = (
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        )
        return "  ".join(cells).rstrip()

    out = [laid_out(row) for row in lines]
    if header:
        out[0] = style(out[0], "bold")
    return "\n".join(out)


def emit_json(value: Any) -> None:
    """Print a core value, or anything made of JSON values, as indented JSON on stdout."""
    from airloom.files import encode_json

    sys.stdout.write(encode_json(value).decode())


class Progress:
    """How far something is, on stderr: a line that moves on a terminal, one line in a pipe.

        with Progress("measuring", total=68) as progress:
            for op in operators:
                progress.advance(note=op.name)

    Nothing is shown of what takes less than a second; what takes longer is shown also while it does
    not call `advance`.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = 0.25,
    ) -> None:
        self.title, self.total, self.done, self.note = title, total, 0, ""
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._clock, self._tick_s = clock, tick_s
        self._began = clock()
        self._shown_at: float | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._tick_s > 0:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def _tick(self) -> None:
        while not self._over.wait(self._tick_s):
            self._show()

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """`count` more are done; `note` says what is at work."""
        self.done += count
        self.note = note or self.note
        self._show()

    def _show(self) -> None:
        with self._lock:
            now = self._clock()
            if now - self._began < 1.0:
                return
            if not self._live:
                if self._shown_at is None:
                    self._shown_at = now
                    print(f"{self.title} ...", file=self._stream, flush=True)
                return
            if self._shown_at is not None and now - self._shown_at < 0.1:
                return
            self._shown_at = now
            count = f"{self.done}/{self.total}" if self.total else f"{self.done}" if self.done else ""
            line = "  ".join(part for part in (self.title, count, f"{now - self._began:.0f} s", self.note) if part)
            self._stream.write(f"\r\x1b[2K{line[: _columns() - 1]}")
            self._stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        if self._live and self._shown_at is not None:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80
