"""What nothing beats of all ways on from every cut of a host, for all cuts at once (`frontier.frontier_step`).

A way is a stop and what becomes of the task from there. Reckoned from operator 0 it costs the same at every cut from
which its stop can be reached, so one comparison of two ways says for all cuts which of them beats the other. A way is
then worth it at the cuts of one interval: down to the nearest stop before its own that beats it, or the first cut from
which memory reaches its stop; and, where a later stop beats it, only at cuts from which memory does not reach that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats
from airloom.planner.objective.dominance import TOGETHER, keep_of_each, no_worse, together


class Labels(NamedTuple):
    """Ways on, rows of one length: costs `[n, M]`, and stop, way and onward label `[n]`."""

    costs: Floats
    stop: Cuts
    way: Cuts
    onward: Cuts

    def take(self, rows: slice | Cuts | NDArray[np.bool_]) -> Labels:
        return Labels(self.costs[rows], self.stop[rows], self.way[rows], self.onward[rows])


def onward(options: Floats | None, beyond: Floats, sizes: Cuts, min_stop: int, limits: Floats) -> Labels:
    """The ways on from the moment a host stops at a cut, the latest cut first, and of those the end of the model.

    Args:
        options: `[K, M, L+1]` of each way to carry each cut, infinity where there are fewer; None: no way.
        beyond: `[N, M]` what each cut costs from the next host on, `sizes` `[L+1]` rows for each cut.
        min_stop: the first cut at which the host may hand over.
        limits: `[M]` what a way may cost.
    """
    last, metrics = len(sizes) - 1, beyond.shape[1]
    done = Labels(np.zeros((1, metrics)), np.array([last]), np.array([-1]), np.array([-1]))
    if options is None:
        return done
    cut = np.repeat(np.arange(last + 1), sizes)
    usable: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(options), axis=1)
    usable[:, :min_stop], usable[:, last] = False, False
    way, row = np.nonzero(usable[:, cut])
    order = np.argsort(-cut[row], kind="stable")
    way, row = way[order], row[order]
    stop = cut[row]
    costs = options[way, :, stop] + beyond[row]
    found = Labels(costs, stop, way, row - (np.cumsum(sizes) - sizes)[stop])
    if np.isfinite(limits).any():
        found = found.take(np.logical_and.reduce(costs <= limits, axis=1))
    if len(options) > 1:
        found = found.take(keep_of_each(found.costs, np.bincount(found.stop, minlength=last)[::-1]))
    return Labels(*(np.concatenate(pair) for pair in zip(done, found, strict=True)))


class _Pool(NamedTuple):
    """Ways by descending stop, costs reckoned from operator 0; each is worth it at the cuts low..high-1."""

    labels: Labels
    low: Cuts
    high: Cuts

    def take(self, rows: slice | NDArray[np.bool_]) -> _Pool:
        return _Pool(self.labels.take(rows), self.low[rows], self.high[rows])

    def joined(self, new: _Pool, first: Cuts) -> _Pool:
        """With ways of earlier stops, `new`.

        Args:
            first: `[L+1]` the first cut from which memory reaches a stop.
        """
        above, raised = self.labels, self.low
        if len(raised):
            beaten = no_worse(above.costs, new.labels.costs)
            new = new._replace(high=_lowered(new.high, beaten, above.stop, first))
            worth = new.low < new.high
            if not worth.all():
                # What beats these beats all that they beat.
                new, beaten = new.take(worth), beaten[:, worth]
            raised = _raised(raised, no_worse(new.labels.costs, above.costs) & ~beaten.T, new.labels.stop)
        stop = new.labels.stop
        if len(stop) and stop[0] > stop[-1]:
            better, before = no_worse(new.labels.costs, new.labels.costs), stop[:, None] < stop
            low = _raised(new.low, better & before & ~better.T, stop)
            new = new._replace(low=low, high=_lowered(new.high, better & before.T, stop, first))
        whole = new
        if len(raised):
            whole = _Pool(
                Labels(*(np.concatenate(pair) for pair in zip(above, new.labels, strict=True))),
                np.concatenate([raised, new.low]),
                np.concatenate([self.high, new.high]),
            )
        worth = whole.low < whole.high
        return whole if worth.all() else whole.take(worth)


def _raised(low: Cuts, beats: NDArray[np.bool_], stop: Cuts) -> Cuts:
    """A way (column) that one of an earlier stop (row, stops descending) beats is worth it down to that stop."""
    if not len(beats):
        return low
    row = beats.argmax(axis=0)
    return np.where(beats[row, np.arange(len(low))], np.maximum(low, stop[row]), low)


def _lowered(high: Cuts, beats: NDArray[np.bool_], stop: Cuts, first: Cuts) -> Cuts:
    """A way (column) that one of a later stop (row) beats is worth it where memory does not reach that."""
    if not len(beats):
        return high
    row = len(beats) - 1 - beats[::-1].argmax(axis=0)
    return np.where(beats[row, np.arange(len(high))], np.minimum(high, first[stop[row]]), high)


def worthwhile(
    tails: Labels, elapsed: Floats, constant: Floats, last_stop: Cuts, limits: Floats
) -> tuple[Labels, Cuts]:
    """Of all ways on from every cut those that nothing beats, and how many there are for each cut, `[L+1]`.

    For each cut, those that run something first come first, the latest stop first; then those that stop at once.

    Args:
        tails: what `onward` makes.
        elapsed, constant, last_stop: as in `frontier.HostVectors`.
        limits: `[M]` what a way may cost.
    """
    last = elapsed.shape[1] - 1
    bounded = bool(np.isfinite(limits).any())
    first = np.searchsorted(last_stop, np.arange(last + 1))
    sizes = np.bincount(tails.stop, minlength=last + 1)[::-1]
    reckoned = tails._replace(costs=tails.costs + elapsed[:, tails.stop].T)
    every = _Pool(reckoned, first[tails.stop], tails.stop)
    pool, below = every.take(slice(0)), last + 1
    found, at = list[Labels](), list[Cuts]()
    for span in together(sizes, TOGETHER):
        stopping, own = tails.take(span), reckoned.costs[span]
        above, below = below, int(stopping.stop[-1]) if span.stop < len(tails.stop) else 0
        cuts = np.arange(above - 1, below - 1, -1)
        pool = pool.joined(every.take(span), first)
        runs = pool.labels.costs + constant
        worth = (cuts[:, None] >= pool.low) & (cuts[:, None] < pool.high)
        if bounded:
            for metric, limit in enumerate(limits):
                worth &= runs[:, metric] - elapsed[metric, cuts][:, None] <= limit
        # Of equals those that run something stay.
        running = (pool.labels.stop[:, None] > stopping.stop) & (first[pool.labels.stop][:, None] <= stopping.stop)
        stays = ~np.logical_or.reduce(no_worse(runs, own) & running, axis=0)
        if not stays.all():
            stopping, own = stopping.take(stays), own[stays]
        tail, run = np.nonzero(no_worse(own, runs))
        worth[above - 1 - stopping.stop[tail], run] = False
        here, run = np.nonzero(worth)
        here = cuts[here]
        ran = pool.labels.take(run)
        found += [ran._replace(costs=ran.costs + (constant - elapsed[:, here].T)), stopping]
        at += [here, stopping.stop]
        still = pool.low < below
        if bounded:
            # What is too much from here is too much from every cut before.
            still &= np.logical_and.reduce(runs - elapsed[:, below] <= limits, axis=1)
        pool = pool.take(still)
    cut = np.concatenate(at)
    order = np.argsort(cut, kind="stable")
    whole = Labels(*(np.concatenate(parts)[order] for parts in zip(*found, strict=True)))
    return whole, np.bincount(cut, minlength=last + 1)
