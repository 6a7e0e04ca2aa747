"""How far ahead a host looks: from its word on the costs to the moment at which a task takes its link."""

from __future__ import annotations

import math
from collections import deque


class LookAhead:
    """Mean gaps of the last tasks that left this host for the next one (HiveMind IV-F).

    A message upstream is about a task that comes later, a table about one that is here and must be run first: the
    gap from the message to the task's departure is longer than that from the decision to its departure, by the time
    until the task arrives.
    """

    def __init__(self, gaps: int) -> None:
        self._message, self._table, self._arrival = _Mean(gaps), _Mean(gaps), _Mean(gaps)
        self._said_s: float | None = None

    def said(self, now_s: float) -> None:
        """The host spoke upstream."""
        self._said_s = now_s

    def arrived(self, now_s: float) -> None:
        """A task has come."""
        if self._said_s is not None:
            self._arrival.add(max(0.0, now_s - self._said_s))

    def departed(self, decided_s: float, now_s: float) -> None:
        """A task leaves for the next host; its stop was decided at `decided_s`."""
        self._table.add(max(0.0, now_s - decided_s))
        if self._said_s is not None:
            self._message.add(max(0.0, now_s - self._said_s))

    @property
    def message_s(self) -> float:
        """Seconds ahead that a message is about; 0 before a task has passed."""
        return self._message.value

    @property
    def arrival_s(self) -> float:
        """Seconds from a message to the arrival of the task that it is about; 0 before a task has come."""
        return self._arrival.value

    @property
    def table_s(self) -> float:
        """Seconds ahead that a decision is about; 0 before a task has passed."""
        return self._table.value


class _Mean:
    def __init__(self, size: int) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        self._values.append(value)

    @property
    def value(self) -> float:
        return math.fsum(self._values) / len(self._values) if self._values else 0.0
