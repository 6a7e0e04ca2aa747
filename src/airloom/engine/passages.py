"""What a host remembers of requests that passed it: enough to drop duplicates, to pass on a
cancellation, and to tell the source when a neighbour goes down with its task."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from airloom.engine.messages import Frame

_MOST_WAYS = 64
Mark = tuple[int, int, int, int]  # kind, attempt, cut, transfer


@dataclass(slots=True)
class Passage:
    """One request of one source, as seen from this host.

    Attributes:
        at_s: when it was last heard of.
        onward: the last task that went to each neighbour.
        answered: whether a result has come back through here since.
        came_from: by attempt, the neighbour that handed it over by its table; results go back the same way.
    """

    at_s: float
    marks: set[Mark] = field(default_factory=set)
    onward: dict[str, Frame] = field(default_factory=dict)
    answered: bool = False
    jobs: set[int] = field(default_factory=set)
    cancelled: bool = False
    came_from: dict[int, str] = field(default_factory=dict)

    def keep_way(self, attempt: int, came_from: str) -> None:
        """Remember where the task of an attempt came from; of a few attempts."""
        if len(self.came_from) < _MOST_WAYS:
            self.came_from[attempt] = came_from


class Passages:
    """The most recent requests, bounded in number, in marks each, and in age.

    Nothing depends on this memory but economy: without it a duplicate costs a stage run twice,
    and the source drops the second result.
    """

    def __init__(self, *, memory_s: float, max_requests: int = 2048, max_marks: int = 256) -> None:
        self._memory_s, self._max_requests, self._max_marks = memory_s, max_requests, max_marks
        self._known: OrderedDict[tuple[int, int], Passage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def at(self, source: int, request: int, now_s: float) -> Passage:
        """The passage of this request, new where none is remembered."""
        key = (source, request)
        passage = self._known.get(key)
        if passage is None or (now_s - passage.at_s > self._memory_s and not passage.jobs):
            passage = self._known[key] = Passage(now_s)
            self._known.move_to_end(key)
            if len(self._known) > self._max_requests:
                self._known.popitem(last=False)
        passage.at_s = now_s
        return passage

    def known(self, source: int, request: int) -> Passage | None:
        return self._known.get((source, request))

    def is_new(self, passage: Passage, mark: Mark) -> bool:
        """Whether `mark` is seen for the first time; it is remembered."""
        if mark in passage.marks:
            return False
        if len(passage.marks) < self._max_marks:
            passage.marks.add(mark)
        return True

    def lost_with(self, host: str) -> list[Frame]:
        """Tasks that went to `host` and that nothing has come back for; they are named once."""
        lost = []
        for passage in self._known.values():
            frame = passage.onward.pop(host, None)
            if frame is not None and not passage.answered and not passage.cancelled:
                lost.append(frame)
        return lost

    def forget_source(self, source: int) -> None:
        """A source that went away may number its requests from the start again."""
        for key in [key for key in self._known if key[0] == source]:
            del self._known[key]
