"""What a planner sees: arrays, not graphs.

A chain of P hosts runs L operators. A host that runs nothing still forwards. Every way of
coding a cut on a hop (raw, less precise, pruned, protected) is one more `Option`; a planner
takes the best option of each hop and cut and need not know what it means.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from airloom.core.hostcost import Cuts, Haul, HostCost
from airloom.core.option import Floats, Option, PlainOptions, RadioChoice
from airloom.core.profile import Weights
from airloom.core.value import digest

__all__ = [
    "Cuts",
    "Floats",
    "Haul",
    "HopCost",
    "HostCost",
    "Option",
    "PlainOptions",
    "Problem",
    "RadioChoice",
    "best_crossing",
]


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
        """Identity of the seconds and limits a plan was made from; what else objectives count is not in it."""
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
