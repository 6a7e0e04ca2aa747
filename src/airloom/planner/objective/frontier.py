"""Hop by hop under bounds: a message carries, for every cut, the Pareto frontier of what the rest costs.

One number per cut (`planner.wave`) says what the best way on costs, but which way is best depends on
how much of each bound is left, and that only the hosts upstream know. So a host tells its neighbour
upstream all ways on that no other is at least as good as in every metric. The neighbour adds its own
stages and link to each, and keeps again what nothing beats.

A frontier may be thinned: the ways of a cut are laid in a grid of ratio 1 + e in every metric and of
those in one cell only one stays. What was dropped then costs no less, in every metric, than 1 / (1 + e)
of one that stayed. A host adds the same own costs to either, which brings the two closer, so over
several hosts the factors multiply: `Frontier.loss` is their product. With limits divided by the loss, a
bound that could be met is met; without thinning the loss is 1 and the answer exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, Floats, HopCost, HostCost
from airloom.planner.objective.dominance import keep_first_of_equals
from airloom.planner.objective.thinning import thin
from airloom.planner.objective.vectors import ROUNDING, elapsed_of, hop_crossing, known_metrics, rates_of


@dataclass(frozen=True)
class HostVectors:
    """All that a host knows of itself and its link, in M metrics.

    Attributes:
        elapsed: `[M, L+1]` costs of the operators before each cut.
        constant: `[M]` of a stage that is not empty.
        options: `[K, M, L+1]` of each way to carry each cut to the next host downstream, the result's way back
            included, infinity where a cut has fewer than K; None at the end of the chain.
        last_stop: `[L+1]` for each start the largest stop that fits in memory.
        min_stop: the first cut at which this host may hand over.
    """

    elapsed: Floats
    constant: Floats
    options: Floats | None
    last_stop: Cuts
    min_stop: int = 0


@dataclass(frozen=True)
class Frontier:
    """What a host says to its neighbour upstream.

    Attributes:
        costs: `[N, M]` from the moment a cut's live set is at this host until the result is.
        offsets: `[L+2]`: the ways from cut c are rows offsets[c]..offsets[c+1]-1.
        loss: each way that was left out has one here that costs at most `loss` times as much in every metric.
    """

    costs: Floats
    offsets: Cuts
    loss: float = 1.0

    def at(self, cut: int) -> Floats:
        """`[n, M]` the ways from a cut."""
        return self.costs[self.offsets[cut] : self.offsets[cut + 1]]


@dataclass(frozen=True)
class FrontierTable:
    """What a host keeps for itself, a row for each row of its `Frontier`.

    Attributes:
        stop: `[N]` the cut at which to stop.
        way: `[N]` index of the way to carry that cut; -1 where the model is done.
        onward: `[N]` the label downstream: its place among the ways from that cut; -1 where the model is done.
    """

    stop: Cuts
    way: Cuts
    onward: Cuts


@dataclass(frozen=True)
class Choice:
    """A host's decision for one request.

    Attributes:
        label: place among the ways from the request's cut.
        stop: the cut at which to stop.
        way: index of the way to carry it; -1 where the model is done.
        onward: the label to ask of the next host; -1 where the model is done.
        costs: `[M]` of all that is left to do.
        meets: whether what remains of every bound suffices; else this is the way that exceeds them least.
    """

    label: int
    stop: int
    way: int
    onward: int
    costs: Floats
    meets: bool


def host_vectors(
    host: HostCost,
    hop: HopCost | None,
    objective: Objective,
    roles: Mapping[str, str],
    *,
    receiver: HostCost | None = None,
) -> HostVectors:
    """A host and its hop in the metrics of `objective` (`vectors.metrics_of`).

    Every host decodes what it gets: a coding that hosts pass on as it came is priced hop by hop here, as
    in the wave, and not as a whole as `vectors.vectors` does.

    Args:
        hop: None at the end of the chain.
        receiver: the host at the hop's other end; only its power and its price count, for what it decodes.

    Raises:
        ConfigError: the objective counts devices that there are none of.
    """
    counted = known_metrics(objective, roles)
    rates = rates_of(host, counted, roles)
    options = None
    if hop is not None:
        other = receiver if receiver is not None else HostCost(hop.dst, host.elapsed_s)
        options = hop_crossing(0, hop, host, other, counted, roles).costs
    return HostVectors(
        elapsed=elapsed_of(host, rates, counted, roles),
        constant=rates * host.constant_s,
        options=options,
        last_stop=host.last_stop,
        min_stop=host.min_stop,
    )


class _Labels(NamedTuple):
    """Ways on, rows of one length: costs `[n, M]`, and stop, way and onward label."""

    costs: Floats
    stop: Cuts
    way: Cuts
    onward: Cuts

    def take(self, rows: Cuts | NDArray[np.bool_]) -> _Labels:
        return _Labels(self.costs[rows], self.stop[rows], self.way[rows], self.onward[rows])

    def plus(self, costs: Floats) -> _Labels:
        return self._replace(costs=self.costs + costs)

    def within(self, limits: Floats) -> _Labels:
        inside: NDArray[np.bool_] = np.logical_and.reduce(self.costs <= limits, axis=1)
        return self if inside.all() else self.take(inside)


def frontier_step(
    host: HostVectors,
    downstream: Frontier | None,
    *,
    bounds: Floats | None = None,
    weights: Floats | None = None,
    width: int | None = None,
) -> tuple[Frontier, FrontierTable]:
    """Own costs + own link + the frontier from downstream -> own frontier and table.

    Args:
        downstream: None at the end of the chain.
        bounds: `[M]`; ways beyond them are left out, since what upstream adds is never negative.
        weights: `[M]`; of ways that thinning holds equal the one of the least weighted sum stays.
        width: ways for each cut at most; None keeps all, and then nothing is lost. The ways of least
            cost in each metric and of the least weighted sum always stay, so that it is at least M + 2.

    Raises:
        ValueError: `width` is below M + 2.
    """
    metrics, last = host.elapsed.shape[0], host.elapsed.shape[1] - 1
    if width is not None and width < metrics + 2:
        raise ValueError(f"a frontier of {metrics} metrics is at least {metrics + 2} ways wide, got {width}")
    limits = np.full(metrics, np.inf) if bounds is None else bounds * (1.0 + ROUNDING)
    scale = np.ones(metrics) if weights is None else weights
    tails = [_onward(host, downstream, cut, limits) for cut in range(last)]
    tails.append(_Labels(np.zeros((1, metrics)), np.array([last]), np.array([-1]), np.array([-1])))
    found: list[_Labels] = [tails[last]]
    ratio, coarsest = 0.0, 0.0
    windowed = bool((host.last_stop < last).any())
    pool = tails[last].take(np.zeros(0, dtype=np.intp))  # ways to stop beyond the cut, from operator 0 on
    for cut in range(last - 1, -1, -1):
        pool = _merged(pool, tails[cut + 1].plus(host.elapsed[:, cut + 1]))
        # What is too much from here is too much from every cut before.
        pool = pool.plus(host.constant - host.elapsed[:, cut]).within(limits)
        runs = pool
        if windowed:
            pool = pool.plus(host.elapsed[:, cut] - host.constant)
            runs = _windowed(host, tails, cut, limits)
        here = _merged(runs, tails[cut])
        if not windowed:
            pool = pool.plus(host.elapsed[:, cut] - host.constant)
        if width is not None and len(here.costs) > width:
            rows, ratio = thin(here.costs, scale, width, ratio)
            here, coarsest = here.take(rows), max(coarsest, ratio)
        found.append(here)
    found.reverse()
    offsets = np.concatenate([[0], np.cumsum([len(labels.costs) for labels in found])])
    loss = (1.0 if downstream is None else downstream.loss) * (1.0 + coarsest)
    return Frontier(np.concatenate([labels.costs for labels in found]), offsets, loss), FrontierTable(
        *(np.concatenate([getattr(labels, name) for labels in found]) for name in ("stop", "way", "onward"))
    )


def _onward(host: HostVectors, downstream: Frontier | None, cut: int, limits: Floats) -> _Labels:
    """The ways on from the moment this host stops at `cut`."""
    metrics = host.elapsed.shape[0]
    if host.options is None or downstream is None or cut < host.min_stop:
        none = np.zeros(0, dtype=np.intp)
        return _Labels(np.zeros((0, metrics)), none, none, none)
    beyond = downstream.at(cut)
    ways = np.flatnonzero(np.isfinite(host.options[:, :, cut]).all(axis=1))
    costs = (host.options[ways, :, cut][:, None, :] + beyond[None, :, :]).reshape(-1, metrics)
    count = len(costs)
    labels = _Labels(
        costs, np.full(count, cut), np.repeat(ways, len(beyond)), np.tile(np.arange(len(beyond)), len(ways))
    ).within(limits)
    return labels.take(keep_first_of_equals(labels.costs)) if len(ways) > 1 else labels


def _merged(first: _Labels, second: _Labels) -> _Labels:
    """Both together without what the other beats; of equals those of `first`. Neither has any that it beats itself."""
    if not len(second.costs):
        return first
    if not len(first.costs):
        return second
    second = second.take(~_beaten(second.costs, first.costs))
    first = first.take(~_beaten(first.costs, second.costs))
    return _Labels(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _beaten(costs: Floats, others: Floats) -> NDArray[np.bool_]:
    """Which rows of `costs` some row of `others` is at least as good as in every metric."""
    no_worse = others[:, None, 0] <= costs[None, :, 0]
    for metric in range(1, costs.shape[1]):
        no_worse &= others[:, None, metric] <= costs[None, :, metric]
    found: NDArray[np.bool_] = np.logical_or.reduce(no_worse, axis=0)
    return found


def _windowed(host: HostVectors, tails: list[_Labels], cut: int, limits: Floats) -> _Labels:
    """The ways to run something from `cut` on where memory bounds the stage; the latest stop first."""
    stops = range(int(host.last_stop[cut]), cut, -1)
    ways = [tails[stop].plus(host.constant + host.elapsed[:, stop] - host.elapsed[:, cut]) for stop in stops]
    if not ways:
        return tails[cut].take(np.zeros(0, dtype=np.intp))
    labels = _Labels(*(np.concatenate(parts) for parts in zip(*ways, strict=True))).within(limits)
    return labels.take(keep_first_of_equals(labels.costs))


def choose(
    frontier: Frontier,
    table: FrontierTable,
    cut: int,
    weights: Floats,
    remaining: Floats | None = None,
    label: int | None = None,
) -> Choice | None:
    """The decision of a host that is handed `cut`; None where the limits allow no way.

    Args:
        weights: `[M]` of the sum to minimise.
        remaining: `[M]` what is left of every bound, infinity where there is none.
        label: the label that the host upstream asked for; None decides anew.
    """
    costs = frontier.at(cut)
    if not len(costs) or (label is not None and not 0 <= label < len(costs)):
        return None
    left = np.full(costs.shape[1], np.inf) if remaining is None else remaining
    met: NDArray[np.bool_] = np.logical_and.reduce(costs <= np.maximum(left * (1.0 + ROUNDING), 0.0), axis=1)
    if label is None:
        # Where nothing is left of a bound, the least of what is still to come.
        over = np.max(costs / np.maximum(left, 1e-12), axis=1)
        label = int(np.argmin(np.where(met, costs @ weights, np.inf) if met.any() else over))
    row = int(frontier.offsets[cut]) + label
    return Choice(
        label, int(table.stop[row]), int(table.way[row]), int(table.onward[row]), costs[label], bool(met[label])
    )
