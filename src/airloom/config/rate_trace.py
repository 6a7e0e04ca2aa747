"""A file of rates that a link follows over time, as rows; `airloom.radio.replay` acts it out.

A trace is text, one row a line: the second from which a rate holds, white space or a comma, the
rate in Mbit/s. Blank lines and lines that begin with `#` are skipped. Of two rows of one second
(recorders stutter) the later counts.
"""

from __future__ import annotations

import math
from pathlib import Path

from airloom.errors import ConfigError


def parse_rate_trace(text: str, *, where: str) -> tuple[list[float], list[float]]:
    """Seconds and bit/s of each row; ConfigError names the line."""
    seconds: list[float] = []
    rates: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.replace(",", " ").split()
        if not fields or fields[0].startswith("#"):
            continue
        place = f"{where}, line {number}"
        try:
            second, rate = (float(f) for f in fields)
        except ValueError:
            raise ConfigError(f"expected `second Mbit/s`, got {line.strip()!r}", where=place) from None
        if not math.isfinite(second) or (seconds and second < seconds[-1]):
            raise ConfigError(f"seconds must not descend, got {fields[0]}", where=place)
        if not (math.isfinite(rate) and rate >= 0):
            raise ConfigError(f"a rate must be a number of Mbit/s from 0 up, got {fields[1]}", where=place)
        if seconds and second == seconds[-1]:
            rates.pop()
        else:
            seconds.append(second)
        rates.append(rate * 1e6)
    if not any(rates):
        raise ConfigError("a trace needs at least one row with a rate above 0", where=where)
    return seconds, rates


def read_rate_rows(path: Path) -> tuple[list[float], list[float]]:
    """Seconds and bit/s of each row of the file at `path`.

    Raises:
        ConfigError: it cannot be read, or is no trace; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("a rate trace is text: `second Mbit/s` rows", where=str(path)) from None
    return parse_rate_trace(text, where=str(path))
