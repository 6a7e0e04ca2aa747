"""A request and its tries as values: what each may still bring, and what has come of it.

A result comes in one frame, or, by a pinned plan, in as many parts as stages make outputs; it counts once
all of them are here. Parts of different tries are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from airloom.engine.attempts import Route
from airloom.engine.messages import Frame, Parcel


class Result(NamedTuple):
    """A result that came: of which attempt, what is missing, and its accuracy where that can be said."""

    attempt: int
    parcel: Parcel
    missing_ppm: int
    accuracy: float | None


class Whole(NamedTuple):
    """All outputs of one try, and the worst that the frames which brought them say of what was lost."""

    parcel: Parcel
    missing_ppm: int
    drop_bp: int


@dataclass(slots=True)
class Try:
    """One attempt: the way it took, whether it may still bring a result, and whether it should have.

    Attributes:
        ahead: requests that were under way before it.
    """

    route: Route
    began_s: float
    ahead: int
    alive: bool = True
    overdue: bool = False
    parts: dict[int, tuple[Frame, Parcel]] = field(default_factory=dict)

    def take(self, frame: Frame, parcel: Parcel, outputs: tuple[int, ...]) -> Whole | str | None:
        """What came of this try: the whole result, None while parts are lacking, or a line why it is refused.

        `outputs` are the tensors that a result holds, none where it does not come back here.
        """
        layout = self.route.layout
        if (layout is None) != (frame.transfer < 0):
            return "not a result of its attempt"
        if layout is None:
            if parcel.tensors != outputs:
                return "not the model's outputs"
            return Whole(parcel, frame.missing_ppm, frame.drop_bp)
        if frame.transfer not in layout.into[""] or (outputs and parcel.tensors != layout.tensors[frame.transfer]):
            return "not a result of its attempt"
        self.parts[frame.transfer] = (frame, parcel)
        if len(self.parts) < len(layout.into[""]):
            return None
        parts = self.parts.values()
        held = {id: data for _, part in parts for id, data in zip(part.tensors, part.data, strict=True)}
        gaps = tuple(gap for _, part in parts for gap in part.missing if gap.tensor in outputs)
        whole = Parcel(outputs, tuple(held[id] for id in outputs), gaps)
        return Whole(whole, max(one.missing_ppm for one, _ in parts), max(one.drop_bp for one, _ in parts))


@dataclass(slots=True)
class Request:
    """A request that has no outcome yet.

    Attributes:
        remote: how many of its tries went over the network.
        local: the source runs it, or did.
        stranded: there is no way at present, and the source cannot run it.
        spare: the best result that is below the floor.
        held_for: number of the wave that it waits for.
    """

    id: int
    parcel: Parcel
    submitted_s: float
    deadline_s: float
    asked_s: float
    tries: list[Try] = field(default_factory=list)
    remote: int = 0
    local: bool = False
    stranded: bool = False
    last_error: str = ""
    spare: Result | None = None
    held_for: int | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a try may still bring a result, however late."""
        return any(tried.alive for tried in self.tries)

    @property
    def is_on_time(self) -> bool:
        """Whether a try may still bring a result that is not overdue."""
        return any(tried.alive and not tried.overdue for tried in self.tries)

    def keep(self, result: Result) -> None:
        """Keep a result below the floor, unless a better one is kept already."""
        value = -1.0 if result.accuracy is None else result.accuracy
        if self.spare is None or value > (self.spare.accuracy or -1.0):
            self.spare = result
