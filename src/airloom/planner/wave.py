"""The split cost wave: from the costs downstream to a host's own, in O(L).

A host at cut c may stop at any cut d >= c: it runs operators c..d-1 and hands the live set of d
on, or, at d = L, is done and the result turns back. With E the prefix sums of its operator times,
K the constant of a stage, h[d] the cost of the hop (the result's way back included) and m' the
message from downstream,

    m[c] = min( h[c] + m'[c],                                   forward, run nothing
                K - E[c] + min over d > c of (E[d] + h[d] + m'[d]) )    with h[L] + m'[L] = 0.

The cost of an edge separates into a part of the start and a part of the stop, so the inner
minimum is a suffix minimum; under a memory limit it is a minimum over a window whose ends only
move forward. HiveMind's Algorithm 1 is O(L^2), lacks the null assignment as printed, and its
shortcut forgets that the transfer cost changes with the start.

The one function here is all of a host's planning: the local solver folds it over a chain, and
each host of a running network applies it to the message it gets.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import HopCost, HostCost

Floats = NDArray[np.float64]
Cuts = NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """A host's decision for every cut it may be handed.

    Attributes:
        stop: `[L+1]` the cut at which it stops, never before the cut it starts from. Where the
            message is infinite no stop is possible and the entry means nothing.
    """

    stop: Cuts


def step(host: HostCost, hop: HopCost | None, downstream_cost: NDArray[np.floating] | None) -> tuple[Floats, Table]:
    """Own costs + own link + the message from downstream -> own message and table.

    Args:
        host: the host's own costs, arrays `[L+1]`.
        hop: the hop to the next host downstream; None at the end of the chain.
        downstream_cost: `[L+1]` seconds, float32 or float64, what that host said; None at the end.

    Returns:
        `[L+1]` float64 seconds from the moment a cut's live set is at this host until the result
        is, infinity where the limits allow no way; and the stop for each cut. Of stops that cost
        the same the latest is taken: work stays where it is and less is transferred.
    """
    tail = arrivals(host, hop, downstream_cost)
    reach = host.elapsed_s + tail
    cuts = every_cut(len(tail))
    table = cuts.copy()
    # For the starts 0..L-1: the least cost over the stops beyond, and the latest stop that has it.
    low = (
        _window_min(reach, cuts, host, table[:-1]) if host.is_limited else _suffix_min(reach[1:], cuts[1:], table[:-1])
    )
    low -= host.elapsed_s[:-1]
    low += host.constant_s
    forward = tail[:-1]
    np.putmask(table[:-1], forward < low, cuts[:-1])
    np.minimum(forward, low, out=forward)
    return tail, Table(table)


@functools.lru_cache(maxsize=64)
def every_cut(count: int) -> Cuts:
    """0, 1, ... count - 1, read-only."""
    cuts = np.arange(count)
    cuts.setflags(write=False)
    return cuts


def arrivals(host: HostCost, hop: HopCost | None, downstream_cost: NDArray[np.floating] | None) -> Floats:
    """`[L+1]` seconds from the moment this host stops at a cut: the hop and all beyond it; 0 at L."""
    last = host.num_operators
    if hop is None or downstream_cost is None:
        tail = np.full(last + 1, np.inf)
    else:
        tail = hop.cost_s + downstream_cost
    if host.min_stop:
        tail[: host.min_stop] = np.inf
    tail[last] = 0.0
    return tail


def stop_costs(host: HostCost, tail: Floats, start: int) -> Floats:
    """`[L+1]` seconds from the cut `start` for every stop, infinity where it is out of bounds."""
    costs = np.full(len(tail), np.inf)
    costs[start] = tail[start]
    end = int(host.last_stop[start]) + 1
    costs[start + 1 : end] = (
        tail[start + 1 : end] + host.elapsed_s[start + 1 : end] - host.elapsed_s[start] + host.constant_s
    )
    return costs


def _window_min(reach: Floats, cuts: Cuts, host: HostCost, stop: Cuts) -> Floats:
    """`[L]` minimum of `reach` over the stops c < d <= last_stop[c]; into `stop` the latest that attains it.

    The cuts fall into blocks (`HostCost.blocks`): every window that starts in a block covers the
    rest of the block and a first part of the next one, so its minimum is the lesser of a suffix
    minimum and a prefix minimum.
    """
    low, ends = np.empty(len(reach) - 1), host.last_stop[:-1]
    first_low, first_stop = np.empty_like(reach), cuts.copy()  # over the first part of a block, up to each stop
    for start, end in itertools.pairwise(host.blocks):
        inside = slice(start + 1, end + 1)
        low[start:end] = _suffix_min(reach[inside], cuts[inside], stop[start:end])
        np.minimum.accumulate(reach[inside], out=first_low[inside])
        np.maximum.accumulate(np.where(reach[inside] == first_low[inside], cuts[inside], 0), out=first_stop[inside])
    # An operator that does not fit on this host leaves windows that are empty.
    low[ends == cuts[:-1]] = np.inf
    far = host.beyond_block
    at = ends[far]
    # Of equals the further one.
    better = first_low[at] <= low[far]
    low[far] = np.where(better, first_low[at], low[far])
    stop[far] = np.where(better, first_stop[at], stop[far])
    return low


def _suffix_min(reach: Floats, cuts: Cuts, stop: Cuts) -> Floats:
    """The suffix minima of `reach`; into `stop` the latest of `cuts` that attains each."""
    low = np.minimum.accumulate(reach[::-1])[::-1]
    # Seen from the end, a cut is a record when it beats all later ones; the first record at or after c attains c's.
    records = cuts.copy()
    np.putmask(records[:-1], low[1:] <= reach[:-1], cuts[-1])
    np.minimum.accumulate(records[::-1], out=stop[::-1])
    return low
