"""Crossings of several hops: hosts between that run nothing pass on a coded cut as it came.

The first host codes and the last decodes, so one coding serves all hops (`core.problem.best_crossing`);
what else an option decides, such as a radio's MCS, each hop decides for itself. All cuts are worked out
at once, and a crossing extends the one before it by a hop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats, HopCost, HostCost, Option, Problem
from airloom.planner.objective.crossing import Columns, Crossing, pruned
from airloom.planner.objective.metrics import Counted, option_costs, shares


@dataclass(frozen=True)
class _Ways:
    """Ways over some hops.

    Attributes:
        costs: `[K, M, L+1]`, infinity where a cut has fewer than K.
        picks: `[K, H, L+1]` for each hop the place among its options, those for what is passed on after the others.
    """

    costs: Floats
    picks: Cuts

    def then(self, other: _Ways) -> _Ways:
        """Each of these and then each of `other`, without what another one is as good as."""
        count, metrics, cuts = other.costs.shape
        costs = (self.costs[:, None] + other.costs[None]).reshape(-1, metrics, cuts)
        picks = np.concatenate(
            [np.repeat(self.picks, count, axis=0), np.tile(other.picks, (len(self.costs), 1, 1))], axis=1
        )
        return _Ways(*pruned(costs, picks))

    def plus(self, costs: Floats) -> _Ways:
        return _Ways(self.costs + costs[:, None], self.picks)


class _Hop:
    """The options of one hop as arrays, all cuts one after the other: costs `[M, N]` of the link and of coding at its
    ends, coding `[N]` by name, cut `[N]`, place in the cut's row `[N]`, and whether it needs the cut coded already."""

    def __init__(
        self, hop: HopCost, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
    ) -> None:
        last = len(hop.options) - 1
        rows = [(*hop.options[cut], *(hop.relayed[cut] if hop.relayed else ())) for cut in range(last)]
        flat = [option for row in rows for option in row]
        self.size = last + 1
        self.metrics = len(counted)

        self.link, self.code, self.decode = np.zeros((3, self.metrics, len(flat)))
        columns = Columns(flat)
        for j, (metric, devices) in enumerate(counted.values()):
            parts = shares(metric, devices, columns, sender, receiver, roles)
            self.link[j], self.code[j], self.decode[j] = parts
        self.coding = np.array([option.coding for option in flat], dtype=object)
        self.cut = np.repeat(np.arange(last), [len(row) for row in rows])
        self.place = np.array([place for row in rows for place in range(len(row))], dtype=np.intp)
        fresh = np.array([len(row) for row in hop.options[:last]], dtype=np.intp)
        self.passes = self.place >= fresh[self.cut]
        self.back = np.array(option_costs(hop.back, receiver, sender, counted, roles))
        # Where the hop has no way to code a cut itself, `Problem.chain_s` lets nothing cross.
        self.open = np.append(fresh > 0, False)

    def ways(self, costs: Floats, chosen: NDArray[np.bool_]) -> _Ways:
        """Those of the options that are chosen, at `costs`, `[M, N]`."""
        rows = np.flatnonzero(chosen)
        cut = self.cut[rows]
        first = np.searchsorted(cut, cut)  # options lie in the order of the cuts
        rank = np.arange(len(rows)) - first
        width = int(rank.max(initial=0)) + 1
        found = np.full((width, self.metrics, self.size), np.inf)
        picks = np.full((width, 1, self.size), -1)
        found[rank, :, cut] = costs[:, rows].T
        picks[rank, 0, cut] = self.place[rows]
        return _Ways(*pruned(found, picks))


def passed_on(problem: Problem, counted: Counted, roles: Mapping[str, str]) -> list[tuple[Crossing, ...]]:
    """Per host, the crossings to each host that is two or more hops on."""
    hosts = problem.hosts
    hops = [_Hop(hop, hosts[k], hosts[k + 1], counted, roles) for k, hop in enumerate(problem.hops)]
    return [_from(problem, p, hops[p:]) for p in range(len(hosts))]


def _from(problem: Problem, p: int, hops: Sequence[_Hop]) -> tuple[Crossing, ...]:
    if len(hops) < 2:
        return ()
    first, found = hops[0], []
    so_far: dict[str, _Ways] = {
        coding: first.ways(first.link + first.code, (first.coding == coding) & ~first.passes)
        for coding in dict.fromkeys(first.coding[~first.passes].tolist())
    }
    for q in range(p + 2, len(problem.hosts)):
        hop, crossed = hops[q - p - 1], hops[: q - p]
        if not all(problem.hops[k].relayed for k in range(p, q)):
            so_far = {}  # then every host decodes
        whole: list[_Ways] = []
        for coding, ways in so_far.items():
            same = hop.coding == coding
            whole.append(ways.then(hop.ways(hop.link + hop.decode, same)))
            so_far[coding] = ways.then(hop.ways(hop.link, same))
        open_ = np.logical_and.reduce([each.open for each in crossed])
        reached = np.zeros_like(open_)
        for ways in whole:
            reached |= np.isfinite(ways.costs[:, 0]).any(axis=0)
        alone = open_ & ~reached
        if alone.any():
            apart = [each.ways(each.link + each.code + each.decode, ~each.passes) for each in crossed]
            ways = _Ways(np.where(alone, apart[0].costs, np.inf), apart[0].picks)
            for other in apart[1:]:
                ways = ways.then(other)
            whole.append(ways)
        if not whole:
            whole = [_Ways(np.full((1, first.metrics, first.size), np.inf), np.full((1, q - p, first.size), -1))]
        costs = np.concatenate([ways.costs for ways in whole])
        costs[:, :, ~open_] = np.inf
        back = np.sum([each.back for each in crossed], axis=0)
        picks = np.concatenate([ways.picks for ways in whole])
        best, order = pruned(
            costs + back[:, None], np.broadcast_to(np.arange(len(costs))[:, None, None], (len(costs), 1, len(open_)))
        )
        found.append(Crossing(p, q, best, order[:, 0], _Routes(problem.hops[p:q], picks, alone)))
    return tuple(found)


@dataclass(frozen=True)
class _Routes:
    """Finds the options of a way: `picks` `[K, H, L+1]`, and `alone` `[L+1]` where every host decodes."""

    hops: Sequence[HopCost]
    picks: Cuts
    alone: NDArray[np.bool_]

    def __call__(self, cut: int, place: int) -> tuple[Option, ...]:
        found = []
        for k, (hop, pick) in enumerate(zip(self.hops, self.picks[place, :, cut].tolist(), strict=True)):
            fresh = hop.options[cut]
            option = fresh[pick] if pick < len(fresh) else hop.relayed[cut][pick - len(fresh)]
            if not self.alone[cut]:
                # What others bear, as in `core.problem.best_crossing`.
                option = msgspec.structs.replace(
                    option,
                    code_s=0.0 if k else option.code_s,
                    decode_s=option.decode_s if k == len(self.hops) - 1 else 0.0,
                    accuracy_drop=option.accuracy_drop - (option.coding_drop if k else 0.0),
                    coding_drop=0.0 if k else option.coding_drop,
                )
            found.append(option)
        return tuple(found)
