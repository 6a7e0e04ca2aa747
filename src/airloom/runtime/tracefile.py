"""Writing a trace: one event a line, buffered, whole lines only."""

from __future__ import annotations

from pathlib import Path

import msgspec

import airloom
from airloom.core.trace import Event
from airloom.core.value import SCHEMA_VERSION

_BUFFER_BYTES = 64 * 1024


class TraceWriter:
    """Appends events to `path`; a host that comes back writes on where it was killed."""

    def __init__(self, path: Path, host: str, *, now_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _drop_cut_line(path)
        self._file = path.open("ab", buffering=0)
        self._lines = bytearray()
        data = {"schema": SCHEMA_VERSION, "clock": "monotonic", "airloom": airloom.__version__}
        self.write(Event(at_s=now_s, host=host, kind="trace", data=data))
        self.flush()

    def write(self, event: Event) -> None:
        """Take one event; it is on disk after `flush`."""
        line = {k: v for k in event.__struct_fields__ if (v := getattr(event, k)) is not None}
        self._lines += msgspec.json.encode(line)
        self._lines += b"\n"
        if len(self._lines) >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was taken to the operating system."""
        if self._lines:
            self._file.write(self._lines)
            self._lines = bytearray()

    def close(self) -> None:
        self.flush()
        self._file.close()


def _drop_cut_line(path: Path) -> None:
    """A host that was killed may have left half a line; what follows it would be unreadable."""
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
