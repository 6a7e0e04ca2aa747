"""What happens to a model that is fetched: remembered, and told to whoever listens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from airloom.core.progressive import Configuration
from airloom.deliver.client.events import EventKind, FetchEvent

#: So many events are remembered.
_HISTORY = 1000


class Journal:
    """The events of one model.

    Args:
        began_s: on the monotonic clock; events are timed from then on.
        on_event: called with each; what it raises, `tell` raises.
        fetched_nbytes: says what came over the link so far.

    Attributes:
        runs: the configuration that runs, for events that are of no other.
    """

    def __init__(
        self, began_s: float, on_event: Callable[[FetchEvent], None] | None, fetched_nbytes: Callable[[], int]
    ) -> None:
        self._began_s, self._on_event, self._fetched_nbytes = began_s, on_event, fetched_nbytes
        self._history: deque[FetchEvent] = deque(maxlen=_HISTORY)
        self._needed_nbytes = self._cached_nbytes = 0
        self.runs: Configuration | None = None

    @property
    def history(self) -> tuple[FetchEvent, ...]:
        """What happened, `bytes` left out, in order; the last 1000."""
        return tuple(self._history)

    def expect(self, *, needed_nbytes: int, cached_nbytes: int) -> None:
        """What the target takes: over the link, and from the cache."""
        self._needed_nbytes, self._cached_nbytes = needed_nbytes, cached_nbytes

    def tell(self, kind: EventKind, *, configuration: Configuration | None = None, text: str = "") -> None:
        """It has happened now."""
        event = FetchEvent(
            kind=kind, at_s=time.monotonic() - self._began_s, fetched_nbytes=self._fetched_nbytes(),
            configuration=configuration or self.runs, text=text, cached_nbytes=self._cached_nbytes,
            needed_nbytes=self._needed_nbytes,
        )  # fmt: skip
        if kind != "bytes":
            self._history.append(event)
        if self._on_event is not None:
            self._on_event(event)
