"""What a host of a chain costs, and which stages it may run; `core.problem` says what for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from airloom.core.option import Floats

Cuts = NDArray[np.intp]


@dataclass(frozen=True)
class Haul:
    """Weights that have to travel for a host's operators: taken over from another host, or sent where they are merged.

    Attributes:
        seconds: `[L+1]` of what travels for the operators before each cut, one message after the other.
        nbytes: by the device that sends, `[L+1]` bytes on the wire; each link counts.
        joules: by device, `[L+1]` of its radio, sending and receiving.
    """

    seconds: Floats
    nbytes: Mapping[str, Floats] = field(default_factory=dict)
    joules: Mapping[str, Floats] = field(default_factory=dict)

    def __add__(self, other: Haul) -> Haul:
        return Haul(self.seconds + other.seconds, _added(self.nbytes, other.nbytes), _added(self.joules, other.joules))


def _added(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> dict[str, Floats]:
    return {id: one.get(id, np.zeros(1)) + other.get(id, np.zeros(1)) for id in (*one, *other)}


@dataclass(frozen=True)
class HostCost:
    """One host's own costs: all that it knows of itself.

    Attributes:
        device: its id.
        elapsed_s: `[L+1]` seconds of the operators before each cut, load included; `haul.seconds` too.
        constant_s: fixed seconds of any stage that is not empty.
        last_start: `[L+1]` for each stop d, the smallest start c such that the stage c..d-1 fits
            in memory; non-decreasing; all zeros where memory is no limit.
        min_stop: the first cut at which this host may hand over (privacy: the first k operators
            stay on the source); 0 for every other host.
        energy_w: power while it computes.
        price_per_s: money for a second of computing.
        haul: weights that have to travel before or after its operators run; None where none do.
        memory_bytes: the limit behind `last_start`, so that an error can say how much is missing;
            None where there is no limit, or where it is not one of bytes.
    """

    device: str
    elapsed_s: Floats
    constant_s: float = 0.0
    last_start: Cuts | None = None
    min_stop: int = 0
    energy_w: float = 0.0
    memory_bytes: int | None = None
    price_per_s: float = 0.0
    haul: Haul | None = None

    @property
    def num_operators(self) -> int:
        return len(self.elapsed_s) - 1

    @property
    def busy_s(self) -> Floats:
        """`[L+1]` seconds in which it computes: `elapsed_s` without those in which weights travel."""
        return self.elapsed_s if self.haul is None else self.elapsed_s - self.haul.seconds

    @property
    def is_limited(self) -> bool:
        """Whether memory keeps any stage off this host."""
        return self.last_start is not None and bool(self.last_start[-1] > 0)

    @functools.cached_property
    def last_stop(self) -> Cuts:
        """`[L+1]` for each start c, the largest stop d such that the stage c..d-1 fits in memory."""
        if self.last_start is None:
            return np.full(self.num_operators + 1, self.num_operators)
        return np.searchsorted(self.last_start, np.arange(self.num_operators + 1), side="right") - 1

    @functools.cached_property
    def blocks(self) -> tuple[int, ...]:
        """0, then as far as memory lets a stage go from there, and so on to L.

        Cuts b[i]..b[i+1]-1 form a block: the stops that fit from any of them reach at least to
        b[i+1] and at most to b[i+2].
        """
        bounds = [0]
        while bounds[-1] < self.num_operators:
            # Where even one operator is too much, the block is that one cut.
            bounds.append(max(int(self.last_stop[bounds[-1]]), bounds[-1] + 1))
        return tuple(bounds)

    @functools.cached_property
    def beyond_block(self) -> Cuts:
        """The starts from which the stops that fit reach beyond the end of their block."""
        ends = np.array((*self.blocks[1:], self.num_operators))
        return np.flatnonzero(
            self.last_stop > ends[np.searchsorted(self.blocks, np.arange(len(self.last_stop)), "right") - 1]
        )

    def stage_s(self, start: int, stop: int) -> float:
        return float(self.constant_s + self.elapsed_s[stop] - self.elapsed_s[start]) if stop > start else 0.0

    def compute_s(self, start: int, stop: int) -> float:
        """Seconds of a stage in which the host computes: `stage_s` without those in which weights travel."""
        return float(self.constant_s + self.busy_s[stop] - self.busy_s[start]) if stop > start else 0.0

    def fits(self, start: int, stop: int) -> bool:
        return stop == start or self.last_start is None or start >= int(self.last_start[stop])
