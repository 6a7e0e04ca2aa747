"""What a planner sees: arrays, not graphs.

A chain of P hosts runs L operators. A host that runs nothing still forwards. Every way of
coding a cut on a hop (raw, less precise, pruned, protected) is one more `Option`; a planner
takes the best option of each hop and cut and need not know what it means.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.profile import Weights
from airloom.core.value import Value, digest

Floats = NDArray[np.float64]
Cuts = NDArray[np.intp]


class Option(Value, frozen=True):
    """One way to carry a cut over a hop.

    Attributes:
        coding: how the tensors are coded (`core.coding`); "raw" sends their bytes.
        nbytes: bytes on the wire, framing included, repairs not.
        transfer_s: sending, propagation, fixed overhead, and what is sent again.
        code_s: coding at the sender.
        decode_s: decoding at the receiver.
        energy_j: radio energy of the sender.
        receive_j: radio energy of the receiver.
        accuracy_drop: expected loss of accuracy against the model whole, modelled as additive over hops.
        coding_drop: what of it the coding costs with nothing lost; a route over several hops bears it once.
        mcs: of a radio link, the index in the link's table; None where a link has none.
        tolerable: share of the blocks that may stay missing; 0 is reliable.
        rounds: expected round trips of repair.
        missing: expected share of the blocks that stay missing.
    """

    coding: str = "raw"
    nbytes: int = 0
    transfer_s: float = 0.0
    code_s: float = 0.0
    energy_j: float = 0.0
    accuracy_drop: float = 0.0
    decode_s: float = 0.0
    coding_drop: float = 0.0
    mcs: int | None = None
    tolerable: float = 0.0
    rounds: float = 0.0
    missing: float = 0.0
    receive_j: float = 0.0

    @property
    def total_s(self) -> float:
        return self.transfer_s + self.code_s + self.decode_s


class RadioChoice(Value, frozen=True):
    """One way to run a radio link, worked out from its radio (`radio.nr`); a planner takes one of several.

    Attributes:
        mcs: index in the table of the link's radio.
        rate_bps: bit/s of IP payload, what the radio itself repeats taken off, lost blocks included.
        loss: probability that an IP packet of one wire block stays lost after what the radio repeats.
        block_bytes: of a transport block: what is lost together.
        delay_s: mean seconds that slots, decoding and the radio's repetitions add to a transfer.
    """

    mcs: int
    rate_bps: float
    loss: float
    block_bytes: int
    delay_s: float = 0.0


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


class PlainOptions(Sequence[tuple[Option, ...]]):
    """The one way to carry each cut over a link that has only one; an `Option` is made when it is asked for.

    Attributes:
        total_s: `[L+1]` seconds of each.
        nbytes, energy_j, receive_j: `[L+1]` as of `Option`; nothing is coded.
    """

    def __init__(
        self,
        total_s: Floats,
        nbytes: Floats,
        radio_j: Callable[[], tuple[Floats, Floats]],
        make: Callable[[int], Option],
    ) -> None:
        """`radio_j` gives `energy_j` and `receive_j`, which only some objectives ask for."""
        self.total_s, self.nbytes, self._radio_j, self._make = total_s, nbytes, radio_j, make

    @functools.cached_property
    def _both_j(self) -> tuple[Floats, Floats]:
        return self._radio_j()

    @property
    def transfer_s(self) -> Floats:
        return self.total_s

    @property
    def code_s(self) -> float:
        return 0.0

    decode_s = code_s

    @property
    def energy_j(self) -> Floats:
        return self._both_j[0]

    @property
    def receive_j(self) -> Floats:
        return self._both_j[1]

    @overload
    def __getitem__(self, cut: int) -> tuple[Option, ...]: ...
    @overload
    def __getitem__(self, cut: slice) -> tuple[tuple[Option, ...], ...]: ...
    def __getitem__(self, cut: int | slice) -> tuple[Option, ...] | tuple[tuple[Option, ...], ...]:
        if isinstance(cut, slice):
            return tuple(self[index] for index in range(len(self))[cut])
        return (self._make(range(len(self.total_s))[cut]),)

    def __len__(self) -> int:
        return len(self.total_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class HopCost:
    """The hop from a host to the next one downstream: all that the sender knows of its link.

    Attributes:
        options: `[L+1]` the ways to carry each cut; entry L is never used, since what is finished
            goes back and not on.
        back_s: seconds for the result over the link in the other direction; charged to every
            request that crosses this hop, 0 where the result stays where it is made.
        relayed: `[L+1]` what each cut costs in the coding in which it came, passed on whole by a
            host that runs nothing; empty where cuts travel raw.
    """

    src: str
    dst: str
    options: Sequence[tuple[Option, ...]]
    back: Option = field(default_factory=Option)
    relayed: tuple[tuple[Option, ...], ...] = ()

    @functools.cached_property
    def forward_s(self) -> Floats:
        """`[L+1]` seconds of the best option for each cut."""
        if isinstance(self.options, PlainOptions):
            return self.options.total_s
        return np.array([min((o.total_s for o in row), default=np.inf) for row in self.options])

    @functools.cached_property
    def cost_s(self) -> Floats:
        """`[L+1]` forward seconds of the best option plus the result's way back."""
        return self.forward_s + self.back.total_s

    def best(self, cut: int) -> Option:
        return min(self.options[cut], key=lambda o: o.total_s)


def best_crossing(hops: Sequence[HopCost], cut: int) -> tuple[Option, ...]:
    """How a cut goes over `hops` one after the other where the hosts between them run nothing.

    The first host codes and the last decodes; between them the blob stays as it is, so there is one
    coding for all hops. Costs that others bear are left out of the options returned, so that their
    `total_s` add up to the whole.
    """
    if len(hops) == 1 or not all(hop.relayed for hop in hops):
        return tuple(hop.best(cut) for hop in hops)
    found: tuple[Option, ...] | None = None
    seconds = float("inf")
    for coding in dict.fromkeys(option.coding for option in hops[0].options[cut]):
        route: list[Option] = []
        for k, hop in enumerate(hops):
            row = (*hop.options[cut], *(hop.relayed[cut] if k else ()))
            last = k == len(hops) - 1
            same = [
                msgspec.structs.replace(
                    option,
                    code_s=0.0 if k else option.code_s,
                    decode_s=option.decode_s if last else 0.0,
                    accuracy_drop=option.accuracy_drop - (option.coding_drop if k else 0.0),
                    coding_drop=0.0 if k else option.coding_drop,
                )
                for option in row
                if option.coding == coding
            ]
            if not same:
                break
            route.append(min(same, key=lambda option: option.total_s))
        total = sum(option.total_s for option in route)
        if len(route) == len(hops) and (found is None or total < seconds):
            found, seconds = tuple(route), total
    return tuple(hop.best(cut) for hop in hops) if found is None else found


@dataclass(frozen=True)
class Problem:
    """A chain of hosts, source first: `hosts[p]` and the hop `hops[p]` from it to `hosts[p + 1]`.

    Attributes:
        weights: of the model, so that an error can say how many bytes a stage needs.
        held: what these bytes are of.
        result_returns: whether the result goes back to the source; hops price its way back if so.
        clean_accuracy, min_accuracy: of the model whole, and the floor; None without a contract.
    """

    hosts: tuple[HostCost, ...]
    hops: tuple[HopCost, ...]
    model: str = ""
    graph_digest: str = ""
    weights: tuple[Weights, ...] = ()
    held: str = "weights"
    result_returns: bool = True
    clean_accuracy: float | None = None
    min_accuracy: float | None = None

    @property
    def num_operators(self) -> int:
        return self.hosts[0].num_operators

    @functools.cached_property
    def digest(self) -> str:
        """Identity of the numbers a plan was made from."""
        parts = [self.graph_digest.encode()]
        for host in self.hosts:
            parts += [host.device.encode(), host.elapsed_s.tobytes(), np.float64(host.constant_s).tobytes()]
            parts += [b"" if host.last_start is None else host.last_start.tobytes(), str(host.min_stop).encode()]
        for hop in self.hops:
            parts += [hop.cost_s.tobytes()]
        return digest(*parts)

    def chain_s(self, stops: tuple[int, ...]) -> float:
        """Seconds of the assignment in which host p runs operators up to `stops[p]`, or infinity.

        `stops` is non-decreasing and ends in L. Hosts that run nothing store and forward; once
        the last operator is done the result turns back and later hops are not used.
        """
        total, start, last = 0.0, 0, self.num_operators
        for p, (host, stop) in enumerate(zip(self.hosts, stops, strict=True)):
            if stop < start or stop < host.min_stop or not host.fits(start, stop):
                return float("inf")
            total += host.stage_s(start, stop)
            if stop < last and p < len(self.hops):
                total += float(self.hops[p].cost_s[stop])
            start = stop
        if start < last or total == float("inf"):
            return float("inf")
        if self.is_coded:
            # Hosts that run nothing neither decode nor code again.
            for p, q in self.crossings(stops):
                if q > p + 1:
                    cut, hops = stops[p], self.hops[p:q]
                    total += sum(option.total_s for option in best_crossing(hops, cut))
                    total -= sum(float(hop.forward_s[cut]) for hop in hops)
        return total

    @functools.cached_property
    def is_coded(self) -> bool:
        """Whether a hop may carry a cut in a coding that has to stay the same over several hops."""
        return any(hop.relayed for hop in self.hops)

    def crossings(self, stops: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The hops `p..q-1` that each transfer of an assignment crosses, hosts between them running nothing."""
        found: list[tuple[int, int]] = []
        last = self.num_operators
        for p, stop in enumerate(stops[:-1]):
            if stop == last:
                break
            if found and stops[p - 1] == stop:
                found[-1] = (found[-1][0], p + 1)
            else:
                found.append((p, p + 1))
        return tuple(found)
