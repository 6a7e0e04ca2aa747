"""How a cut gets from one host to another, priced in every metric."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats, HopCost, HostCost, Option, PlainOptions
from airloom.planner.objective.metrics import Counted, option_costs, shares


@dataclass(frozen=True)
class Crossing:
    """How a cut gets from host `src` to host `dst`, hosts between them running nothing.

    Attributes:
        costs: `[K, M, L+1]` of each way to carry each cut, the result's way back included; infinity
            where a cut has fewer than K ways, and at L, where nothing is left to carry. No way of a cut is as
            bad as another in every metric.
        picks: `[K, L+1]` of each way, its place among those that `routes` knows; -1 beyond the last.
        routes: of a cut and a place, the option of every hop.
    """

    src: int
    dst: int
    costs: Floats
    picks: Cuts
    routes: Callable[[int, int], tuple[Option, ...]]

    def route(self, way: int, cut: int) -> tuple[Option, ...]:
        """The option of every hop."""
        return self.routes(cut, int(self.picks[way, cut]))


@dataclass(frozen=True)
class _OneHop:
    """The options of a hop, as `Crossing.routes`."""

    options: Sequence[Sequence[Option]]

    def __call__(self, cut: int, place: int) -> tuple[Option, ...]:
        return (self.options[cut][place],)


class Columns:
    """The options of a hop as arrays `[N]`, all cuts one after the other; an array is made when it is asked for."""

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = options

    def __getattr__(self, name: str) -> Floats:
        found = self.__dict__[name] = np.array([getattr(option, name) for option in self._options], dtype=np.float64)
        return found


def hop_crossing(
    p: int, hop: HopCost, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
) -> Crossing:
    """The crossing of one hop from host p to the next one."""
    options = hop.options
    back = np.array(option_costs(hop.back, receiver, sender, counted, roles))[:, None]
    if isinstance(options, PlainOptions):
        # One way for each cut, and nothing is coded: most links.
        costs = np.zeros((len(counted), len(options)))
        for row, (metric, devices) in zip(costs, counted.values(), strict=True):
            row += shares(metric, devices, options, sender, receiver, roles)[0]
        costs += back
        picks = np.zeros((1, len(options)), dtype=np.intp)
        costs[:, -1], picks[:, -1] = np.inf, -1  # what is finished goes back and not on
        return Crossing(p, p + 1, costs[None], picks, _OneHop(options))
    columns, sizes = Columns(list(itertools.chain.from_iterable(options))), np.array([len(row) for row in options])
    costs = np.zeros((len(counted), int(sizes.sum())))
    for row, (metric, devices) in zip(costs, counted.values(), strict=True):
        row += sum(shares(metric, devices, columns, sender, receiver, roles))
    return _packed(p, options, costs + back, sizes)


def _packed(p: int, options: Sequence[Sequence[Option]], flat: Floats, sizes: Cuts) -> Crossing:
    """The crossing of a hop from `[M, N]` costs of the options of all cuts one after the other."""
    width = max(int(sizes.max(initial=0)), 1)
    cut = np.repeat(np.arange(len(sizes)), sizes)
    way = np.arange(len(cut)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    costs = np.full((width, len(flat), len(sizes)), np.inf)
    costs[way, :, cut] = flat.T
    costs[:, :, -1] = np.inf
    picks = np.full((width, 1, len(sizes)), -1)
    picks[way, 0, cut] = way
    costs, picks = pruned(costs, picks)
    return Crossing(p, p + 1, costs, picks[:, 0], _OneHop(options))


def pruned(costs: Floats, picks: Cuts) -> tuple[Floats, Cuts]:
    """Only the ways that no other way of the cut is as good as in every metric; the first of equals.

    Args:
        costs: `[K, M, L+1]`.
        picks: `[K, H, L+1]`, which go with them; -1 where nothing is left.
    """
    width = len(costs)
    if width == 1:
        return costs, picks
    kept: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(costs), axis=1)  # [K, L+1]
    for k in range(width):
        if kept[k].any():
            no_worse = np.logical_and.reduce(costs[k] <= costs, axis=1) & kept[k]
            no_worse[: k + 1] &= np.logical_or.reduce(costs[k] < costs[: k + 1], axis=1)
            kept &= ~no_worse
    order = np.argsort(~kept, axis=0, kind="stable")[: max(int(kept.sum(axis=0).max()), 1)]
    packed = np.take_along_axis(costs, order[:, None, :], axis=0)
    here = np.take_along_axis(kept, order, axis=0)[:, None, :]
    return np.where(here, packed, np.inf), np.where(here, np.take_along_axis(picks, order[:, None, :], axis=0), -1)
