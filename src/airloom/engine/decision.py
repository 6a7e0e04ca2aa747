"""A host's decision: from its own costs, its hops and what the next hosts said to its table and its own message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Floats, HostCost, Option
from airloom.engine.hops import Hop
from airloom.engine.messages import SplitCost
from airloom.planner.wave import decide_stops, every_cut


class Way(NamedTuple):
    """A next host: the hop there, and what that host said."""

    hop: Hop
    said: SplitCost


#: The hop from a host upstream to this one, as far as this one knows it; None where requests cannot come from there.
Incoming = Callable[[str], Hop | None]


class Said(NamedTuple):
    """What a host says: `SplitCost.cost_s`, `labels` and `loss`."""

    cost_s: NDArray[np.float32]
    labels: tuple[NDArray[np.float32], ...] = ()
    loss: float = 1.0


def told(costs: Floats) -> NDArray[np.float32]:
    """Costs as a message has them; what is beyond float32 is infinite."""
    with np.errstate(over="ignore"):
        return costs.astype(np.float32)


class Choice(NamedTuple):
    """What becomes of a task at this host.

    Attributes:
        stop: the cut at which it stops.
        onward: the next host; None where nothing is left to do.
        option: how the live set goes there.
        left: of each bound, what the hosts from there on may still spend.
        excess: how far, relative to its bound, the whole is expected to go over what was left: 0 where it fits.
    """

    stop: int
    onward: str | None = None
    option: Option | None = None
    left: tuple[float, ...] = ()
    excess: float = 0.0


class Decision(Protocol):
    """A table and a message, as one state of the network gives them."""

    @property
    def costs(self) -> Floats:
        """`[L+1]` of the best that can be had from each cut, what the table minimises; infinity where there is none."""

    @property
    def stops(self) -> NDArray[np.intp]:
        """`[L+1]` where to stop, for each cut to start from, nothing spent yet."""

    def seconds(self, cut: int) -> float:
        """Seconds that the best from `cut` takes; NaN where the costs do not say."""

    def choose(self, cut: int, left: tuple[float, ...], came_from: str) -> Choice | None:
        """What to do with a task that is here at `cut`; None where the limits allow no way.

        Args:
            left: of each bound of the objective, what may still be spent; () is all of it.
            came_from: the neighbour that sent it, "" where it begins here.
        """

    def message(self, child: str) -> Said:
        """What this host says to `child`."""


class Decider(Protocol):
    """How a host decides: it makes a `Decision` of what it knows.

    Attributes:
        heeds_upstream: whether a message depends on the link from the host that it is for.
    """

    heeds_upstream: bool

    def allowance(self, elapsed_s: float) -> tuple[float, ...]:
        """What is left of every bound of a request that began `elapsed_s` ago and has cost nothing else."""

    def charged(self, left: tuple[float, ...], seconds: float) -> tuple[float, ...]:
        """`left` with `seconds` taken off latency, where that is bounded; nothing falls below 0."""

    def accepts(self, message: SplitCost) -> bool:
        """Whether a message has the costs that this host reckons with."""

    def reads(self, left: tuple[float, ...]) -> bool:
        """Whether what a task says is left is of the bounds that this host keeps; () is all of them."""

    def decide(self, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> Decision: ...


class OneNumber:
    """What is common to deciders whose messages are one number for each cut."""

    heeds_upstream = False

    def __init__(self, num_operators: int) -> None:
        self._num_cuts = num_operators + 1

    def accepts(self, message: SplitCost) -> bool:
        return message.cost_s.shape == (self._num_cuts,) and not message.labels

    def reads(self, left: tuple[float, ...]) -> bool:
        return not left

    def allowance(self, elapsed_s: float) -> tuple[float, ...]:
        return ()

    def charged(self, left: tuple[float, ...], seconds: float) -> tuple[float, ...]:
        return left


class LeastLatency(OneNumber):
    """The table that brings the result back soonest."""

    def decide(self, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> Scalar:
        tails = [way.hop.cost_s + way.said.cost_s.astype(np.float64) for way in ways]
        return Scalar(host, tails, tuple(way.hop for way in ways))


class Scalar:
    """A decision by one number for each cut.

    Args:
        host: own costs, in the units of `tails`.
        tails: for each next host, `[L+1]` of the hop and all beyond it.
        in_seconds: whether the numbers are seconds.
        option: how a cut goes over a hop; None takes the fastest.
    """

    def __init__(
        self, host: HostCost, tails: Sequence[Floats], hops: tuple[Hop, ...], *, in_seconds: bool = True,
        option: Callable[[Hop, int], Option] | None = None,
    ) -> None:  # fmt: skip
        self._hops, self._in_seconds, self._option = hops, in_seconds, option
        self._pick: NDArray[np.intp] | None = None
        if not tails:
            tail = np.full(host.num_operators + 1, np.inf)
        elif len(tails) == 1:
            tail = tails[0]
        else:
            rows = np.array(tails)
            self._pick = rows.argmin(axis=0)
            tail = rows[self._pick, every_cut(rows.shape[1])]
        if host.min_stop:
            tail[: host.min_stop] = np.inf
        tail[-1] = 0.0
        self.costs, self.table = decide_stops(host, tail)

    @property
    def stops(self) -> NDArray[np.intp]:
        return self.table.stop

    def seconds(self, cut: int) -> float:
        return float(self.costs[cut]) if self._in_seconds else float("nan")

    def choose(self, cut: int, left: tuple[float, ...], came_from: str) -> Choice | None:
        if not np.isfinite(self.costs[cut]):
            return None
        stop = self.table.stop_at(cut)
        if stop == len(self.costs) - 1:
            return Choice(stop)
        hop = self._hops[0 if self._pick is None else int(self._pick[stop])]
        return Choice(stop, hop.dst, hop.option(stop) if self._option is None else self._option(hop, stop))

    def message(self, child: str) -> Said:
        return Said(told(self.costs))
