"""Reading traces: JSON lines, strict, but a host that was killed may leave its last line short."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from airloom.core.trace import Event
from airloom.core.value import SCHEMA_VERSION
from airloom.errors import ConfigError
from airloom.files import read_bytes

_DECODER = msgspec.json.Decoder(Event)


class Trace(list[Event]):
    """Events in order of time; `truncated` counts last lines that a killed host left short."""

    truncated: int = 0


def _decode(line: bytes, where: str) -> Event:
    try:
        event = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise ConfigError(f"not an event of a trace: {error}", where=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not JSON, as every line of a trace is: {error}", where=where) from None
    if event.kind == "trace" and (found := event.data.get("schema", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise ConfigError(f"schema {found!r}, this airloom reads {SCHEMA_VERSION}: run it again", where=where)
    return event


def trace_files(paths: Iterable[Path]) -> list[Path]:
    """The `.jsonl` files among `paths` and in the folders among them, sorted."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.rglob("*.jsonl"))
        elif path.exists():
            files.append(path)
        else:
            raise ConfigError("no such file or folder", where=str(path))
    return files


def read_trace(paths: Iterable[Path | str] | Path | str) -> Trace:
    """The events of trace files, and of the trace files in folders, merged in order of time.

    A line that is not an event raises `ConfigError` naming file and line, except a last line without
    its end of line: a host was killed while it wrote; the line is left out and counted in `truncated`.
    """
    given = [paths] if isinstance(paths, Path | str) else list(paths)
    trace = Trace()
    for path in trace_files(Path(p) for p in given):
        data = read_bytes(path)
        lines = data.split(b"\n")
        # Whole files end in a newline, so the last piece is empty.
        last = lines.pop()
        trace.extend(_decode(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())
        if last.strip():
            try:
                trace.append(_decode(last, f"{path}:{len(lines) + 1}"))
            except ConfigError:
                trace.truncated += 1
    trace.sort(key=lambda event: event.at_s)
    return trace
