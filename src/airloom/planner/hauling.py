"""What it costs to send weights from one host to another, over as many links as lie between them.

Messages are stored and forwarded on every link of the way, as cuts are, and priced by the same rule
(`carrying`). The way is the nominal one (`route`), which all hosts know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.framing import Framing
from airloom.core.problem import Floats, Haul
from airloom.core.topology import Conditions, Link, LinkState, Topology
from airloom.planner.carrying import carry_all_s, radio_all_j, ways
from airloom.planner.pricing import FRAMED, Choices
from airloom.planner.route import way_between

Messages = Sequence[tuple[int, ...]]


class Hauler:
    """Prices of messages between any two devices of a topology, under its conditions.

    Args:
        choices: of radio links, each MCS that they may use.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        conditions: Conditions | None = None,
        framing: Framing = FRAMED,
        choices: Choices | None = None,
    ) -> None:
        self._topology, self._conditions, self._framing = topology, conditions, framing
        self._choices = choices or {}
        self._states = {(state.src, state.dst): state for state in (conditions or Conditions()).links}
        self._known: dict[tuple[str, str], tuple[Link, ...] | None] = {}

    def way(self, src: str, dst: str) -> tuple[Link, ...] | None:
        """The links from `src` to `dst`; None where there is no way."""
        if (src, dst) not in self._known:
            self._known[src, dst] = way_between(self._topology, src, dst, self._conditions)
        return self._known[src, dst]

    def haul(self, src: str, dst: str, messages: Messages) -> Haul | None:
        """What it costs to send each operator's message from `src` to `dst`; None where there is no way.

        Args:
            messages: for each of L operators the payload bytes of the tensors that travel, empty for no message.
        """
        links = self.way(src, dst)
        if links is None:
            return None
        sent, nbytes, blocks = self._wire(messages)
        seconds = np.zeros(len(sent))
        sums: dict[str, Floats] = {}
        joules: dict[str, Floats] = {}
        for link in links:
            state = self._states.get((link.src, link.dst)) or LinkState(src=link.src, dst=link.dst)
            options = ways(link, state=state, choices=self._choices.get((link.src, link.dst), ()))
            taken = np.array([carry_all_s(way, nbytes, blocks) for way in options])
            best = taken.argmin(axis=0)
            crossing = np.where(sent, taken.min(axis=0), 0.0)
            if not np.isfinite(crossing).all():
                return None
            seconds += crossing
            here, there = self._topology.device(link.src).power, self._topology.device(link.dst).power
            radio = np.array([radio_all_j(way, nbytes, blocks, here, there) for way in options])  # [ways, 2, L]
            sending, hearing = np.where(sent, radio[best, :, np.arange(len(sent))].T, 0.0)
            sums[link.src] = sums.get(link.src, np.zeros(1)) + np.where(sent, nbytes, 0)
            joules[link.src] = joules.get(link.src, np.zeros(1)) + sending
            joules[link.dst] = joules.get(link.dst, np.zeros(1)) + hearing
        return Haul(
            _before(seconds),
            {id: _before(share) for id, share in sums.items()},
            {id: _before(share) for id, share in joules.items() if np.any(share)},
        )

    def _wire(self, messages: Messages) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """Which operators have a message, bytes of each on the wire, and its blocks."""
        framing = self._framing
        blocks = np.array([framing.num_blocks(framing.message_nbytes(sizes)) for sizes in messages], dtype=np.int64)
        nbytes = np.array([framing.wire_nbytes(sizes) for sizes in messages], dtype=np.int64)
        return np.array([bool(sizes) for sizes in messages]), nbytes, blocks


def nothing(operators: int) -> Haul:
    """No weights travel."""
    return Haul(np.zeros(operators + 1))


def scaled(haul: Haul, share: float) -> Haul:
    """A part of a haul: that of one step where it happens once in several."""
    return Haul(
        haul.seconds * share,
        {id: nbytes * share for id, nbytes in haul.nbytes.items()},
        {id: joules * share for id, joules in haul.joules.items()},
    )


def _before(per_operator: Floats) -> Floats:
    """`[L+1]` sums before each cut of `[L]` values."""
    return np.concatenate([[0.0], np.cumsum(per_operator)])
