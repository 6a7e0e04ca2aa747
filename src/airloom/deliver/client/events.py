"""What happened to a model that is being fetched: one value an event, for callbacks and the command."""

from __future__ import annotations

from typing import Literal

import msgspec

from airloom.core.progressive import Configuration

#: `manifest`: it is there and verified. `target`: what is now aimed at. `bytes`: some more arrived. `usable`: calls run
#: in `configuration` from here on. `shrunk`: so asked for. `retry`: a transfer broke and is begun anew. `fault`: given
#: up, the last good configuration stays. `done`: the target is reached.
EventKind = Literal["manifest", "target", "bytes", "usable", "shrunk", "retry", "fault", "done"]


class FetchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    Attributes:
        at_s: since the model was opened.
        fetched_nbytes: that came over the link so far; what was in the cache is not counted.
        configuration: of `target`, `usable`, `shrunk`, `done`: which; else what runs now, None before the first.
        text: a line for people: what happened, of `retry` and `fault`; of `manifest`, why it may not be the newest.
        cached_nbytes: of chunks that were in the cache.
        needed_nbytes: fetched or yet to fetch, for the target.
    """

    kind: EventKind
    at_s: float
    fetched_nbytes: int = 0
    configuration: Configuration | None = None
    text: str = ""
    cached_nbytes: int = 0
    needed_nbytes: int = 0
