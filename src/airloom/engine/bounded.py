"""Deciding under bounds: messages carry Pareto frontiers, and a task says what is left of every bound.

Which way on is best depends on what the hosts before have spent, so a host keeps all ways on that no other is at
least as good as in every metric, and takes one of them when a task is there (`planner.objective.frontier`). Ways over
several next hosts are put together. A host never leaves out what is beyond a bound: a task for which nothing fits any
more takes the way that goes over its bounds least.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, Floats, HostCost
from airloom.core.topology import Topology
from airloom.engine.decision import Choice, Incoming, Said, Way, told
from airloom.engine.hops import Hop
from airloom.engine.messages import SplitCost
from airloom.planner.objective.dominance import keep_of_each
from airloom.planner.objective.frontier import Choice as Label
from airloom.planner.objective.frontier import Frontier, FrontierTable, HostVectors, choose, choose_all, frontier_step
from airloom.planner.objective.thinning import thin_each
from airloom.planner.objective.vectors import (
    Crossing,
    bounds_of,
    elapsed_of,
    hop_crossing,
    known_metrics,
    rates_of,
    weights_of,
)
from airloom.wire.splitcost import MAX_LABELS

_TOLD = 1e-6
_MOST = float(np.finfo(np.float32).max)  # what a message can say


class Priced:
    """A host and its hops in the metrics of an objective."""

    def __init__(self, objective: Objective, topology: Topology) -> None:
        self.roles = {device.id: device.role for device in topology.devices}
        self.counted = known_metrics(objective, self.roles)
        self.metrics = [metric for metric, _ in self.counted.values()]
        self.weights, self.bounds = weights_of(objective), bounds_of(objective)
        self.bounded = np.flatnonzero(np.isfinite(self.bounds))
        self.devices = {
            device.id: HostCost(
                device.id, np.zeros(1), energy_w=device.power.busy_w, price_per_s=device.price_per_s
            )
            for device in topology.devices
        }  # fmt: skip

    def host(self, host: HostCost) -> HostVectors:
        """The host without a hop."""
        rates = rates_of(host, self.counted, self.roles)
        return HostVectors(
            elapsed=elapsed_of(host, rates, self.counted, self.roles), constant=rates * host.constant_s, options=None,
            last_stop=host.last_stop, min_stop=host.min_stop,
        )  # fmt: skip

    def hop(self, host: HostCost, hop: Hop) -> Crossing:
        """Every way to carry every cut over a hop: `costs` `[K, M, L+1]`."""
        return hop_crossing(0, hop.whole, host, self.devices[hop.dst], self.counted, self.roles)

    def remaining(self, left: tuple[float, ...]) -> Floats:
        """`[M]` what is left of every bound, infinity where there is none; all of each where `left` is empty."""
        bounds = self.bounds.copy()
        if left:
            bounds[self.bounded] = left
        return bounds


class Bounded:
    """Decides by frontiers."""

    heeds_upstream = False

    def __init__(self, objective: Objective, topology: Topology, num_operators: int) -> None:
        self._priced, self._num_cuts = Priced(objective, topology), num_operators + 1
        # What a host has of itself and what each next host said last, as arrays: both outlast many decisions.
        self._own: tuple[HostCost, HostVectors] | None = None
        self._heard: dict[str, tuple[SplitCost, Frontier]] = {}

    def accepts(self, message: SplitCost) -> bool:
        metrics = len(self._priced.weights)
        return len(message.labels) == self._num_cuts and all(
            rows.ndim == 2 and rows.shape[1] == metrics and len(rows) <= MAX_LABELS for rows in message.labels
        )

    def reads(self, left: tuple[float, ...]) -> bool:
        return len(left) in (0, len(self._priced.bounded))

    def allowance(self, elapsed_s: float) -> tuple[float, ...]:
        """What is left of every bound of a request that began `elapsed_s` ago and has cost nothing else."""
        return self.charged((), elapsed_s)

    def charged(self, left: tuple[float, ...], seconds: float) -> tuple[float, ...]:
        """`left` with `seconds` taken off latency, where that is bounded; nothing falls below 0."""
        remaining, metrics = self._priced.remaining(left), self._priced.metrics
        return tuple(
            max(0.0, float(remaining[place]) - (seconds if metrics[place] == "latency" else 0.0))
            for place in self._priced.bounded.tolist()
        )

    def decide(self, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> FrontierDecision:
        if self._own is None or self._own[0] is not host:
            self._own = host, self._priced.host(host)
        for hop, said in ways:
            known = self._heard.get(hop.dst)
            if known is None or known[0] is not said:
                self._heard[hop.dst] = said, _frontier(said)
        return FrontierDecision(self._priced, host, self._own[1], ways, [self._heard[hop.dst][1] for hop, _ in ways])


class FrontierDecision:
    """The frontier of one state of the network, and where each way on goes."""

    def __init__(
        self, priced: Priced, host: HostCost, own: HostVectors, ways: Sequence[Way], downstream: Sequence[Frontier]
    ) -> None:
        self._priced, self._ways, self._downstream = priced, ways, downstream
        parts = []
        self._crossings: list[Crossing] = []
        for way, beyond in zip(ways, downstream, strict=True):
            crossing = priced.hop(host, way.hop)
            self._crossings.append(crossing)
            vectors = HostVectors(own.elapsed, own.constant, crossing.costs, own.last_stop, own.min_stop)
            parts.append(frontier_step(vectors, beyond, weights=priced.weights, width=MAX_LABELS))
        if not parts:
            parts.append(frontier_step(own, None, weights=priced.weights, width=MAX_LABELS))
        self._frontier, self._table, self._hop = _together(parts, priced.weights)

    @functools.cached_property
    def _nominal(self) -> Cuts:
        """`[L+1]` the row that a task takes that has spent nothing; -1 where there is none."""
        return choose_all(self._frontier, self._priced.weights, self._priced.bounds)

    @property
    def costs(self) -> Floats:
        values = self._frontier.costs @ self._priced.weights
        return np.where(self._nominal < 0, np.inf, values[self._nominal])

    @functools.cached_property
    def stops(self) -> Cuts:
        found: Cuts = np.where(self._nominal < 0, np.arange(len(self._nominal)), self._table.stop[self._nominal])
        return found

    def seconds(self, cut: int) -> float:
        row, metrics = int(self._nominal[cut]), self._priced.metrics
        if row < 0:
            return float("inf")
        return float(self._frontier.costs[row, metrics.index("latency")]) if "latency" in metrics else float("nan")

    def choose(self, cut: int, left: tuple[float, ...], came_from: str) -> Choice | None:
        # What was left is told in float32: what just fitted there must fit here.
        remaining = self._priced.remaining(left) * (1.0 + (_TOLD if came_from else 0.0))
        chosen = self._chosen(cut, remaining)
        if chosen is None:
            return None
        found, hop = chosen
        over = [
            (float(found.costs[m]) - float(remaining[m])) / float(self._priced.bounds[m])
            for m in self._priced.bounded.tolist()
        ]
        excess = 0.0 if found.meets else max(over)
        if found.way < 0:
            return Choice(found.stop, excess=excess)
        beyond = self._downstream[hop].at(found.stop)[found.onward]
        after = remaining - (found.costs - beyond)
        (option,) = self._crossings[hop].route(found.way, found.stop)
        return Choice(
            found.stop, self._ways[hop].hop.dst, option,
            tuple(max(0.0, float(after[m])) for m in self._priced.bounded.tolist()), excess,
        )  # fmt: skip

    def message(self, child: str) -> Said:
        return self._message

    @functools.cached_property
    def _message(self) -> Said:
        """The same for everybody upstream."""
        costs, offsets = told(self._frontier.costs), self._frontier.offsets
        finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(costs), axis=1)
        if not finite.all():
            costs, offsets = costs[finite], np.concatenate([[0], np.cumsum(finite)])[offsets]
        ends = offsets.tolist()
        rows = tuple(costs[start:end] for start, end in itertools.pairwise(ends))
        return labelled(rows, min(self._frontier.loss, _MOST))

    def _chosen(self, cut: int, remaining: Floats) -> tuple[Label, int] | None:
        found = choose(self._frontier, self._table, cut, self._priced.weights, remaining)
        return None if found is None else (found, int(self._hop[int(self._frontier.offsets[cut]) + found.label]))


def labelled(labels: tuple[NDArray[np.float32], ...], loss: float = 1.0) -> Said:
    """A message of labels; its costs are 0 where there is a way on and infinite where there is none."""
    cost_s = np.array([0.0 if len(rows) else np.inf for rows in labels], dtype=np.float32)
    return Said(cost_s, labels, loss)


def _frontier(said: SplitCost) -> Frontier:
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in said.labels])])
    return Frontier(np.concatenate(said.labels).astype(np.float64), offsets, said.loss)


def _together(
    parts: Sequence[tuple[Frontier, FrontierTable]], weights: Floats
) -> tuple[Frontier, FrontierTable, NDArray[np.intp]]:
    """The frontiers over several next hosts as one, and for each of its rows which of them it goes over."""
    if len(parts) == 1:
        frontier, table = parts[0]
        return frontier, table, np.zeros(len(frontier.costs), dtype=np.intp)
    sizes = np.array([np.diff(frontier.offsets) for frontier, _ in parts])
    cuts = np.concatenate([np.repeat(np.arange(sizes.shape[1]), own) for own in sizes])
    order = np.argsort(cuts, kind="stable")
    costs = np.concatenate([frontier.costs for frontier, _ in parts])
    order = order[keep_of_each(costs[order], sizes.sum(axis=0))]
    counts = np.bincount(cuts[order], minlength=sizes.shape[1])
    rows, counts, coarsest = thin_each(costs[order], counts, weights, MAX_LABELS)
    order = order[rows]
    stop, way, onward = (
        np.concatenate([getattr(table, name) for _, table in parts])[order] for name in ("stop", "way", "onward")
    )
    hops = np.repeat(np.arange(len(parts)), sizes.sum(axis=1))[order]
    loss = max(frontier.loss for frontier, _ in parts) * (1.0 + coarsest)
    frontier = Frontier(costs[order], np.concatenate([[0], np.cumsum(counts)]), loss)
    return frontier, FrontierTable(stop, way, onward), hops
