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

from dataclasses import dataclass

from airloom.core.problem import Cuts, Floats


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
        width: ways for each cut at most; None keeps all, and then nothing is lost.
    """
    raise NotImplementedError


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
    raise NotImplementedError
