"""When a host says upstream what it would cost from here on, and to whom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from airloom.engine.config import HostConfig
from airloom.engine.decision import Said
from airloom.engine.events import SendSplitCost
from airloom.engine.lookahead import LookAhead
from airloom.engine.messages import SplitCost
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers

WAVE_TIMER = "wave"


class Speaking:
    """The host's own messages.

    Args:
        each: whether every host upstream is told something of its own.

    Attributes:
        number: of the wave that the next message belongs to.
        sink: index of the host that it started from.
    """

    def __init__(
        self, config: HostConfig, peers: Peers, outbox: Outbox, graph: bytes, ahead: LookAhead, *, each: bool = False
    ) -> None:
        self._config, self._peers, self._out, self._graph, self._ahead = config, peers, outbox, graph, ahead
        self._policy = config.wave
        self.number, self.sink = 0, config.index
        self._update = 0
        self._each = each
        self._said: dict[str, Said] = {}  # what was said last, and to whom; under "" where all hear the same
        self._said_at_s = -np.inf
        self._started: dict[int, int] = {}

    def own_accord(self, say: Callable[[str], Said]) -> None:
        """Something has moved: speak if the message changed enough, now or as soon as that is allowed."""
        children = self._peers.children
        if not self._policy.spontaneous or not children:
            return
        asked = children if self._each else children[:1]
        if not any(self._is_news(child, say(child)) for child in asked):
            return
        due_s = self._said_at_s + self._policy.min_interval_s
        if self._out.now_s < due_s:
            self._out.start_timer(due_s, WAVE_TIMER)
            return
        self.at_once(say)

    def at_once(self, say: Callable[[str], Said], source: int = -1) -> None:
        """Speak in any case: to everybody upstream, or to those on the way to the host `source`."""
        children = self._peers.children
        if source >= 0:
            children = self._peers.children_toward(self._config.topology.devices[source].id)
        if not children:
            return
        self._update += 1
        here = self._config.index
        if source < 0:
            self._said.clear()
        for child in children:
            said = say(child)
            if source < 0 or self._each:
                self._said[child if self._each else ""] = said
            message = SplitCost(
                here, self.sink, self.number, self._graph, said.cost_s, self._update, source, said.labels, said.loss
            )
            self._out.add(SendSplitCost(child, message))
        self._said_at_s = self._out.now_s
        self._ahead.said(self._out.now_s)

    def _is_news(self, child: str, said: Said) -> bool:
        last = self._said.get(child if self._each else "")
        return last is None or _differs(said, last, self._policy.cost_change)

    def next_wave(self, source: int = -1) -> None:
        """This host, the end of the chain, starts another wave."""
        # The clock keeps a restarted end from counting below what was heard of it before.
        self.number = max(self.number + 1, int(self._out.now_s * 1e3))
        self.sink = self._config.index
        self._started[source] = self.number

    def has_started(self, number: int, source: int) -> bool:
        """Whether a wave of at least this number is on its way to `source` already."""
        return number > 0 and max(self._started.get(source, -1), self._started.get(-1, -1)) >= number


def _differs(new: Said, old: Said, change: float) -> bool:
    if new is old:
        return False
    if _changed(new.cost_s, old.cost_s, change) or len(new.labels) != len(old.labels):
        return True
    if list(map(len, new.labels)) != list(map(len, old.labels)):
        return True
    return bool(new.labels) and _changed(np.concatenate(new.labels), np.concatenate(old.labels), change)


def _changed(new: NDArray[np.float32], old: NDArray[np.float32], change: float) -> bool:
    finite = np.isfinite(new)
    if not (finite == np.isfinite(old)).all():
        return True
    return bool((np.abs(new[finite] - old[finite]) > change * np.maximum(old[finite], 1e-9)).any())
