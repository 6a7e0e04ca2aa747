"""Which way an attempt goes, and its start and end: by the table, by a pinned plan, or here alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from airloom.engine.config import HostConfig
from airloom.engine.jobs import Jobs
from airloom.engine.layout import Layout
from airloom.engine.messages import Frame, FrameKind, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.passages import Passages
from airloom.engine.peers import Peers
from airloom.engine.pinned import Pinned
from airloom.engine.post import Post
from airloom.engine.tasks import Tasks
from airloom.engine.wave import Wave


@dataclass(frozen=True, slots=True)
class Route:
    """How an attempt goes.

    Attributes:
        hosts: that it may touch beside the source; none where the source runs everything.
        predicted_s: until the result is back.
        stop: the cut at which the source hands over, None where a plan decides.
        note: why it is not the way the user asked for.
        excess: how far, relative to its bound, the request is expected to go over the objective's bounds.
    """

    mode: Literal["table", "pinned", "local"]
    hosts: tuple[str, ...] = ()
    predicted_s: float = 0.0
    stop: int | None = None
    layout: Layout | None = field(default=None, repr=False)
    note: str = ""
    excess: float = 0.0

    @property
    def known_s(self) -> float | None:
        return self.predicted_s if np.isfinite(self.predicted_s) else None


class Located(Protocol):
    """An attempt, as far as its way goes."""

    @property
    def route(self) -> Route: ...


class Attempts:
    """Starts attempts of this source's requests and ends what is left of them."""

    def __init__(
        self, config: HostConfig, peers: Peers, wave: Wave, pinned: Pinned, tasks: Tasks, jobs: Jobs, post: Post,
        passages: Passages, outbox: Outbox,
    ) -> None:  # fmt: skip
        self._config, self._peers, self._wave, self._pinned = config, peers, wave, pinned
        self._tasks, self._jobs, self._post = tasks, jobs, post
        self._passages, self._out = passages, outbox

    def route(self) -> Route:
        """The way that holds now."""
        layout, here, last = self._pinned.layout, self._config.device, self._config.num_operators
        note = ""
        if layout is not None:
            down = sorted(layout.devices - self._peers.up)
            if not down:
                hosts = tuple(sorted(layout.devices - {here}))
                return Route("pinned", hosts, layout.plan.predicted_s, layout=layout)
            note = f"pinned plan needs {', '.join(down)}, down now"
            if self._config.pinned_fallback == "self":
                return Route("local", (), self._wave.own_s(0, last), last, note=note)
        choice = self._wave.choose(0)
        stop = None if choice is None else choice.stop
        predicted_s = self._wave.predicted_s(0)
        if choice is None or choice.onward is None:
            excess = 0.0 if choice is None else choice.excess
            return Route("table", (), predicted_s, stop, note=note, excess=excess)
        return Route("table", self._peers.downstream, predicted_s, stop, note=note)

    def ask(self) -> int | None:
        """Ask for the wave that a request is to wait for; None where it need not wait for any."""
        if not self._config.wave.per_request or (self._pinned.layout is not None):
            return None
        return self._wave.ask()

    def allowance(self, elapsed_s: float) -> tuple[float, ...]:
        """What is left of every bound of a request that was submitted `elapsed_s` ago."""
        return self._wave.allowance(elapsed_s)

    def own(self, route: Route | None) -> Route | None:
        """The source's own run, None where the model does not fit it."""
        last = self._config.num_operators
        if not self._wave.can_run(0, last):
            return None
        if route is not None:
            return route
        return Route("local", (), self._wave.own_s(0, last), last)

    def own_s(self) -> float | None:
        """Seconds of the source's own run."""
        last = self._config.num_operators
        return self._wave.own_s(0, last) if self._wave.can_run(0, last) else None

    def start(self, frame: Frame, parcel: Parcel, route: Route) -> None:
        if route.layout is not None:
            self._pinned.begin(frame, parcel, route.layout)
        elif route.hosts:
            self._tasks.accept(frame, parcel)
        else:
            self._tasks.run_whole(frame, parcel, route.excess)

    def is_here(self, request: int, attempt: int, tried: Located) -> bool:
        """Whether the attempt waits for this host's own executor, and may still take another way."""
        return tried.route.mode != "pinned" and self._jobs.holds(self._config.index, request, attempt)

    def end(self, request: int, *, still_wanted: bool) -> None:
        """The request has its outcome: stop what others still do for it."""
        source = self._config.index
        passage = self._passages.known(source, request)
        self._jobs.abandon(source, request)
        self._pinned.forget(source, request)
        if passage is None:
            return
        passage.cancelled = True
        if still_wanted:
            frame = Frame(kind=FrameKind.CANCEL, source=source, request=request)
            for host in sorted(passage.onward.keys() & self._peers.up):
                self._post.send(host, frame, Parcel())
