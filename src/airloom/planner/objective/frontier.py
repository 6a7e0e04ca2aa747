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

import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, Floats, HopCost, HostCost
from airloom.planner.objective.stepping import onward, worthwhile
from airloom.planner.objective.thinning import thin_each
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
    if downstream is None:
        beyond, sizes = np.zeros((0, metrics)), np.zeros(last + 1, dtype=np.intp)
    else:
        beyond, sizes = downstream.costs, np.diff(downstream.offsets)
    tails = onward(None if downstream is None else host.options, beyond, sizes, host.min_stop, limits)
    found, counts = worthwhile(tails, host.elapsed, host.constant, host.last_stop, limits)
    coarsest = 0.0
    if width is not None and int(counts.max()) > width:
        rows, counts, coarsest = thin_each(found.costs, counts, scale, width)
        found = found.take(rows)
    loss = (1.0 if downstream is None else downstream.loss) * (1.0 + coarsest)
    return Frontier(found.costs, _offsets(counts), loss), FrontierTable(found.stop, found.way, found.onward)


def _offsets(counts: Cuts) -> Cuts:
    return np.concatenate([[0], np.cumsum(counts)])


def choose_all(frontier: Frontier, weights: Floats, remaining: Floats) -> Cuts:
    """`[L+1]` for each cut the row of the frontier that `choose` would take, -1 where there is none."""
    counts = np.diff(frontier.offsets)
    if (counts == 1).all():
        return np.arange(len(counts))
    ways = np.flatnonzero(counts)
    met, over = _met(frontier.costs, remaining), _over(frontier.costs, remaining)
    starts, cut = frontier.offsets[ways], np.repeat(np.arange(len(ways)), counts[ways])
    some: NDArray[np.bool_] = np.logical_or.reduceat(met, starts)
    score = np.where(some[cut], np.where(met, _sums(frontier.costs, weights), np.inf), over)
    least = np.flatnonzero(score == np.minimum.reduceat(score, starts)[cut])
    rows = np.full(len(counts), -1)
    rows[ways[cut[least[::-1]]]] = least[::-1]  # the first of equals is written last
    return rows


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
    met = _met(costs, left)
    if label is None:
        label = int(np.argmin(np.where(met, _sums(costs, weights), np.inf) if met.any() else _over(costs, left)))
    row = int(frontier.offsets[cut]) + label
    return Choice(
        label, int(table.stop[row]), int(table.way[row]), int(table.onward[row]), costs[label], bool(met[label])
    )


def _met(costs: Floats, left: Floats) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_and.reduce(costs <= np.maximum(left * (1.0 + ROUNDING), 0.0), axis=1)
    return found


def _over(costs: Floats, left: Floats) -> Floats:
    """The largest cost over what is left of its bound; where nothing is left, the least of what is to come decides."""
    found: Floats = np.maximum.reduce(costs / np.maximum(left, 1e-12), axis=1)
    return found


def _sums(costs: Floats, weights: Floats) -> Floats:
    """The weighted sum of each row, the same to the last bit whatever other rows there are."""
    found: Floats = np.add.reduce(costs * weights, axis=1)
    return found
