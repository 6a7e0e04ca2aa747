"""The engine's timers on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from airloom.runtime.motion import REAL, Motion

Key = tuple[object, ...]


class Timers:
    """Calls `fire(key)` at the time set for `key`; there is one timer for each key."""

    def __init__(self, fire: Callable[[Key], None], motion: Motion = REAL) -> None:
        self._fire, self._motion = fire, motion
        self._handles: dict[Key, asyncio.TimerHandle] = {}

    def start(self, key: Key, at_s: float) -> None:
        """Fire at `at_s` of the emulation's clock, and no more when this timer was set to."""
        self.stop(key)
        self._handles[key] = self._motion.call_at(at_s, self._due, key)

    def stop(self, key: Key) -> None:
        """Don't fire; a timer that is not set is ignored."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Stop all timers."""
        for key in tuple(self._handles):
            self.stop(key)

    def _due(self, key: Key) -> None:
        del self._handles[key]
        self._fire(key)
