"""Where the parts of a host leave their effects while one event is handled."""

from __future__ import annotations

from collections import Counter
from typing import Any

from airloom.core.trace import Event as TraceEvent
from airloom.core.trace import Kind
from airloom.engine.events import Effect, Emit, StartTimer, StopTimer


class Outbox:
    """Effects of the event at hand, its time, and counts of what was dropped."""

    def __init__(self, device: str) -> None:
        self.now_s = 0.0
        self.counters: Counter[str] = Counter()
        self._device = device
        self._effects: list[Effect] = []

    def open(self, now_s: float) -> None:
        self.now_s = now_s
        self._effects = []

    def take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def add(self, effect: Effect) -> None:
        self._effects.append(effect)

    def start_timer(self, at_s: float, *key: object) -> None:
        self._effects.append(StartTimer(key, at_s))

    def stop_timer(self, *key: object) -> None:
        self._effects.append(StopTimer(key))

    def emit(
        self, kind: Kind, data: dict[str, Any], request: int | None = None, attempt: int | None = None,
        took_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a trace event that ends now."""
        self._effects.append(
            Emit(
                TraceEvent(
                    at_s=self.now_s, host=self._device, kind=kind, took_s=took_s,
                    request=request, attempt=attempt, data=data,
                )
            )
        )  # fmt: skip

    def drop(self, reason: str, request: int | None = None, attempt: int | None = None, **data: Any) -> None:
        """Count and trace something refused."""
        self.counters[reason] += 1
        self.emit("drop", {"reason": reason, **data}, request, attempt)
