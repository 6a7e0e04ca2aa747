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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import HopCost, HostCost

Floats = NDArray[np.float64]
Cuts = NDArray[np.intp]


class Table:
    """A host's decision for every cut it may be handed: where to stop, never before the cut it starts from.

    Of stops that cost the same the latest is taken: work stays where it is and less is transferred.
    Where the message is infinite no stop is possible and the entry means nothing. Most tables are
    replaced before anybody asks for more than one entry, so entries are worked out when asked for.
    """

    def __init__(self, host: HostCost, tail: Floats) -> None:
        self._host, self._tail = host, tail

    def stop_at(self, start: int) -> int:
        """The cut at which to stop from the cut `start`: `stop[start]`."""
        host, tail = self._host, self._tail
        end = int(host.last_stop[start]) + 1 if host.is_limited else len(tail)
        if end <= start + 1:
            return start
        reach = host.elapsed_s[start + 1 : end] + tail[start + 1 : end]
        best = len(reach) - 1 - int(reach[::-1].argmin())
        return start if tail[start] < reach[best] - host.elapsed_s[start] + host.constant_s else start + 1 + best

    @functools.cached_property
    def stop(self) -> Cuts:
        """`[L+1]` the cut at which to stop, for each cut to start from."""
        host, tail = self._host, self._tail
        stop = every_cut(len(tail)).copy()
        low = _window_min(host.elapsed_s + tail, host, stop[:-1])
        forward = tail[:-1] < low - host.elapsed_s[:-1] + host.constant_s
        np.putmask(stop[:-1], forward, every_cut(len(tail) - 1))
        return stop


def step(host: HostCost, hop: HopCost | None, downstream_cost: NDArray[np.floating] | None) -> tuple[Floats, Table]:
    """Own costs + own link + the message from downstream -> own message and table.

    Args:
        host: the host's own costs, arrays `[L+1]`.
        hop: the hop to the next host downstream; None at the end of the chain.
        downstream_cost: `[L+1]` seconds, float32 or float64, what that host said; None at the end.

    Returns:
        `[L+1]` float64 seconds from the moment a cut's live set is at this host until the result
        is, infinity where the limits allow no way; and where to stop from each cut.
    """
    return decide_stops(host, arrivals(host, hop, downstream_cost))


def step_over(host: HostCost, ways: Sequence[tuple[HopCost, NDArray[np.floating]]]) -> tuple[Floats, Table, Cuts]:
    """`step` for a host that may hand over to any of several next hops: own costs + own links + their messages.

    Args:
        ways: the hop to each host that it may hand over to, and what that host said, `[L+1]`; empty at the end.

    Returns:
        Message and table as from `step`, and `[L+1]` which of `ways` to take for each cut at which to
        stop; of equals the first, and 0 where there is none.
    """
    if len(ways) < 2:
        message, table = step(host, *ways[0]) if ways else step(host, None, None)
        return message, table, np.zeros(len(message), dtype=np.intp)
    costs = np.array([hop.cost_s + downstream for hop, downstream in ways])
    onward = costs.argmin(axis=0)
    tail = costs[onward, every_cut(costs.shape[1])]
    if host.min_stop:
        tail[: host.min_stop] = np.inf
    tail[-1] = 0.0
    return *decide_stops(host, tail), onward


def decide_stops(host: HostCost, tail: Floats) -> tuple[Floats, Table]:
    """Message and table of a host, from the seconds that remain once it has stopped at each cut (`arrivals`)."""
    message = np.empty_like(tail)
    message[-1] = np.inf  # at L there is no stop beyond
    reach = host.elapsed_s + tail
    if host.is_limited:
        message[:-1] = _window_min(reach, host)
    else:
        np.minimum.accumulate(reach[:0:-1], out=message[-2::-1])
    message -= host.elapsed_s
    message += host.constant_s
    np.minimum(message, tail, out=message)
    return message, Table(host, tail)


@functools.lru_cache(maxsize=64)
def every_cut(count: int) -> Cuts:
    """0, 1, ... count - 1, read-only."""
    cuts = np.arange(count)
    cuts.setflags(write=False)
    return cuts


def arrivals(host: HostCost, hop: HopCost | None, downstream_cost: NDArray[np.floating] | None) -> Floats:
    """`[L+1]` seconds from the moment this host stops at a cut: the hop and all beyond it; 0 at L."""
    if hop is None or downstream_cost is None:
        tail = np.full(len(host.elapsed_s), np.inf)
    else:
        tail = hop.cost_s + downstream_cost
    if host.min_stop:
        tail[: host.min_stop] = np.inf
    tail[-1] = 0.0
    return tail


def stop_costs(host: HostCost, tail: Floats, start: int) -> Floats:
    """`[L+1]` seconds from the cut `start` for every stop, infinity where it is out of bounds."""
    costs = np.full(len(tail), np.inf)
    costs[start] = tail[start]
    beyond = slice(start + 1, int(host.last_stop[start]) + 1)
    costs[beyond] = tail[beyond] + host.elapsed_s[beyond] - host.elapsed_s[start] + host.constant_s
    return costs


def _window_min(reach: Floats, host: HostCost, stop: Cuts | None = None) -> Floats:
    """`[L]` minimum of `reach` over the stops c < d <= last_stop[c]; into `stop` the latest that attains it.

    The cuts fall into blocks (`HostCost.blocks`): every window that starts in a block covers the
    rest of the block and a first part of the next one, so its minimum is the lesser of a suffix
    minimum and a prefix minimum. Without a limit there is one block.
    """
    cuts = every_cut(len(reach))
    if not host.is_limited:
        return _suffix_min(reach[1:], cuts[1:], stop)
    low, first_low = np.empty(len(reach) - 1), np.empty_like(reach)  # first_low: over the first part of a block
    for start, end in itertools.pairwise(host.blocks):
        inside = slice(start + 1, end + 1)
        low[start:end] = _suffix_min(reach[inside], cuts[inside], None if stop is None else stop[start:end])
        np.minimum.accumulate(reach[inside], out=first_low[inside])
    # An operator that does not fit on this host leaves windows that are empty.
    low[host.last_stop[:-1] == cuts[:-1]] = np.inf
    far = host.beyond_block
    beyond = first_low[host.last_stop[far]]
    if stop is not None:
        first_stop = cuts.copy()
        for start, end in itertools.pairwise(host.blocks):
            inside = slice(start + 1, end + 1)
            latest = np.where(reach[inside] == first_low[inside], cuts[inside], 0)
            np.maximum.accumulate(latest, out=first_stop[inside])
        # Of equals the further one.
        stop[far] = np.where(beyond <= low[far], first_stop[host.last_stop[far]], stop[far])
    low[far] = np.minimum(beyond, low[far])
    return low


def _suffix_min(reach: Floats, cuts: Cuts, stop: Cuts | None) -> Floats:
    """The suffix minima of `reach`; into `stop` the latest of `cuts` that attains each."""
    low = np.minimum.accumulate(reach[::-1])[::-1]
    if stop is not None:
        # Seen from the end, a cut is a record when it beats all later ones; the first record at or after c attains c's.
        records = cuts.copy()
        np.putmask(records[:-1], low[1:] <= reach[:-1], cuts[-1])
        np.minimum.accumulate(records[::-1], out=stop[::-1])
    return low
