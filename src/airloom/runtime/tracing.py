"""Where a host's trace events go: counted by kind, to whoever listens, and to a file that is never far behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from airloom.core.trace import Event
from airloom.runtime.tracefile import TraceWriter

_FLUSH_S = 0.5


class Tracing:
    """Takes the events of one host; `counters` gets event_KIND of each."""

    def __init__(self, counters: Counter[str], listener: Callable[[Event], None] | None) -> None:
        self._counters, self._listener = counters, listener
        self._writer: TraceWriter | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self, path: Path, host: str, *, now_s: float) -> None:
        """Append events to the file at `path` from now on; needs a running loop."""
        self._writer = TraceWriter(path, host, now_s=now_s)
        self._flush(asyncio.get_running_loop(), self._writer)

    def emit(self, event: Event) -> None:
        self._counters[f"event_{event.kind}"] += 1
        if self._writer is not None:
            self._writer.write(event)
        if self._listener is not None:
            self._listener(event)

    def close(self) -> None:
        """What was taken is in the file; safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self, loop: asyncio.AbstractEventLoop, writer: TraceWriter) -> None:
        writer.flush()
        self._timer = loop.call_later(_FLUSH_S, self._flush, loop, writer)
