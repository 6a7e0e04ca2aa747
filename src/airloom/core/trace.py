"""A trace: one event a line, the same whether hosts ran or were simulated."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from airloom.core.value import Value

Kind = Literal[
    "trace",  # first line: schema, clock, who wrote it
    "submit", "result", "error",  # a request's life at its source; one outcome each
    "attempt",  # the source tries (again)
    "stage",  # operators ran on a host
    "send", "arrive",  # a message left, or was put together at, a host
    "repair",  # blocks asked for again
    "wave", "table",  # a split cost message arrived; a host's table changed
    "link", "load",  # conditions as measured
    "bound",  # nothing that a task may still spend suffices: the way that goes over its bounds least was taken
    "peer",  # a host came or went
    "drop",  # bytes refused, by reason
    "moved",  # training: weights were brought to their hosts, or home
    "condition",  # the emulated network was changed on purpose
]  # fmt: skip


class Event(Value, frozen=True):
    """One thing that happened.

    Attributes:
        at_s: CLOCK_MONOTONIC seconds at its end (virtual seconds when simulated).
        host: where.
        kind: what.
        took_s: how long it lasted, where it lasted.
        request, attempt: which request, where it belongs to one.
        data: the rest, JSON values only, by kind (docs/formats.md).
    """

    at_s: float
    host: str
    kind: Kind
    took_s: float = 0.0
    request: int | None = None
    attempt: int | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)
