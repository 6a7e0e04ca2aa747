"""Every assignment that may still be better, host by host: Pareto labels, pruned by bounds on what is to come.

A label is a way to bring the live set of a cut to a host, with what that has cost in every dimension.
Under a weighting its cost so far and the least that is still to come from there (`grid.Fold`) bound all
assignments that go on from it. A label goes when a bound exceeds what is demanded of it, or when another
one of the same host and cut has cost no more in any dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Cuts, Floats
from airloom.planner.objective.dominance import nearly_undominated
from airloom.planner.objective.grid import Fold, Grid, Path
from airloom.planner.objective.meeting import Meeting

#: So many of the least under each weighting, and in each dimension, are held against all labels of a host.
_STRONG = 8
#: Labels that are held against each other at most, over those that there is room for.
_CROWD = 8


@dataclass(frozen=True)
class Prune:
    """Weightings that bound what an assignment comes to.

    Attributes:
        fold: of S weightings.
        rows: those of its weightings that bound.
        demanded: given the best value so far, `[len(rows)]` what the bounds must not exceed.
        complete: those of its weightings whose best assignments are tried from every label.
        ahead: what these cost from every host and cut (`Grid.completions`).
    """

    fold: Fold
    rows: tuple[int, ...]
    demanded: Callable[[float], Floats]
    complete: tuple[int, ...]
    ahead: list[Floats]


@dataclass
class Search:
    """The best assignment found, and what it proves.

    Attributes:
        value: of `path`, infinity where there is none.
        left_out: the least bound of a label that was dropped for want of room; infinity where none was.
        labels: how many were looked at.
    """

    value: float
    path: Path | None
    left_out: float = np.inf
    labels: int = 0


@dataclass(frozen=True)
class _Layer:
    """Labels at one host.

    Attributes:
        costs: `[n, D]`.
        late: `[n]` greater for the later stops from the source on.
        cut: `[n]`.
        host, row, way: `[n]` where each came from.
    """

    costs: Floats
    late: Floats
    cut: Cuts
    host: Cuts
    row: Cuts
    way: Cuts


_FIELDS = ("costs", "late", "cut", "host", "row", "way")


def search(
    grid: Grid,
    prune: Prune,
    value_of: Callable[[Floats], Floats],
    best: Search,
    *,
    room: int | None = None,
    until: float = -np.inf,
    meet: tuple[Meeting, Floats] | None = None,
) -> Search:
    """Improve `best` until nothing better is left.

    Args:
        value_of: costs `[n, D]` of whole assignments to `[n]` values, infinity where one does not count.
        room: labels of a host at most; those whose first bound is least stay.
        until: a value that is good enough.
        meet: what the last hosts make of a label, and the limits on all dimensions but the first, which is the value.
    """
    weightings = prune.fold.weightings[list(prune.rows)].T  # [D, I]
    size, dims = len(grid.hosts), grid.elapsed.shape[1]
    waiting: list[list[_Layer]] = [[] for _ in range(size)]
    layers: list[_Layer | None] = [None] * size
    zero = np.zeros(1, dtype=np.intp)
    waiting[0].append(_Layer(np.zeros((1, dims)), np.zeros(1), zero, zero - 1, zero - 1, zero - 1))
    for p in range(size):
        arrived = waiting[p]
        if not arrived:
            continue
        layer = arrived[0] if len(arrived) == 1 else _joined(arrived)
        bounds = layer.costs @ weightings + prune.fold.costs[p][list(prune.rows)][:, layer.cut].T
        allowed: NDArray[np.bool_] = np.logical_and.reduce(bounds <= prune.demanded(best.value), axis=1)
        rows = np.flatnonzero(allowed)
        if room is not None:
            # Dominance takes its time: of very many labels only so many are held against each other.
            rows = _least(rows, bounds, _CROWD * room, best)
        if len(rows) > 1:
            # In the order of the first bound, so that what dominates comes early.
            rows = rows[np.lexsort((-layer.late[rows], bounds[rows, 0], layer.cut[rows]))]
            rows = rows[nearly_undominated(layer.costs[rows], layer.cut[rows])]
        if len(rows) > 1:
            rows = rows[~_outrun(grid, p, layer.costs[rows], layer.cut[rows], bounds[rows])]
        if room is not None:
            rows = _least(rows, bounds, room, best)
        best.labels += len(rows)
        if not len(rows):
            continue
        layer = _Layer(*(getattr(layer, name)[rows] for name in _FIELDS))
        layers[p] = layer
        if meet is not None and p == meet[0].host:
            _meet(*meet, best, layers, p, grid)
            break
        _spread(grid, prune, weightings, value_of, best, layers, p, waiting)
        if best.value <= until:
            break
    return best


def _least(rows: Cuts, bounds: Floats, count: int, best: Search) -> Cuts:
    """The `count` rows whose first bound is least, in their order; the least of the others goes to `best.left_out`."""
    if len(rows) <= count:
        return rows
    order = np.argsort(bounds[rows, 0], kind="stable")
    best.left_out = min(best.left_out, float(bounds[rows[order[count]], 0]))
    return rows[np.sort(order[:count])]


def _meet(meeting: Meeting, limits: Floats, best: Search, layers: Sequence[_Layer | None], p: int, grid: Grid) -> None:
    """The best of what the labels of host p can become."""
    layer = layers[p]
    assert layer is not None
    value, label, way = meeting.best(layer.costs, layer.cut, limits)
    if value < best.value:
        rest = meeting.path(int(layer.cut[label]), way)
        best.value, best.path = value, _path(grid, layers, p, label, rest.stops, rest.ways)


def _spread(
    grid: Grid,
    prune: Prune,
    weightings: Floats,
    value_of: Callable[[Floats], Floats],
    best: Search,
    layers: Sequence[_Layer | None],
    p: int,
    waiting: list[list[_Layer]],
) -> None:
    """What the labels of host p become at hosts further on, and assignments that end here."""
    layer = layers[p]
    assert layer is not None
    fold, rows = prune.fold, list(prune.rows)
    window = grid.windows[p]
    beyond = np.arange(grid.last + 1)
    runs = layer.costs + grid.constant[p] - grid.elapsed[p][:, layer.cut].T  # [n, D] from operator 0 on
    spent = runs @ weightings  # [n, I]
    reachable = beyond[None, :] > layer.cut[:, None]
    if window is not None:
        reachable &= beyond[None, :] <= window.last_stop[layer.cut][:, None]
    # The model ends here.
    ends = np.flatnonzero(reachable[:, -1])
    whole = runs[ends] + grid.elapsed[p][:, -1]
    _improve(best, value_of, whole, layer.late[ends], lambda i: _path(grid, layers, p, int(ends[i]), (), ()))
    passes = layer.costs if grid.relays or p == 0 else None
    least = grid.hosts[p].min_stop
    elapsed = fold.elapsed[p, rows]
    for leg, priced in zip(grid.legs[p], fold.legs[p], strict=True):
        after = fold.costs[leg.dst][rows]
        for way in range(len(leg.costs)):
            onward = priced[way, rows] + after  # [I, L+1]
            onward[:, :least] = np.inf
            onward[:, -1] = np.inf
            demanded = prune.demanded(best.value)
            allowed = reachable & (spent[:, 0, None] + (elapsed[0] + onward[0])[None, :] <= demanded[0])
            label, stop = np.nonzero(allowed)
            for i in range(1, len(rows)):
                stays = spent[label, i] + (elapsed[i] + onward[i])[stop] <= demanded[i]
                label, stop = label[stays], stop[stays]
            costs = runs[label] + (grid.elapsed[p] + leg.costs[way])[:, stop].T
            if passes is not None:
                bounds = passes @ weightings + onward[:, layer.cut].T
                still = np.flatnonzero(np.logical_and.reduce(bounds <= demanded, axis=1))
                if len(still):
                    cut = layer.cut[still]
                    label, stop = np.concatenate([label, still]), np.concatenate([stop, cut])
                    costs = np.concatenate([costs, passes[still] + leg.costs[way][:, cut].T])
            if not len(label):
                continue
            late = layer.late[label] + stop * float(grid.last + 1) ** -p
            for rest, weighting in zip(prune.ahead[leg.dst], prune.complete, strict=True):
                onwards = _Onwards(grid, prune.fold, layers, p, label, stop, way, leg.dst, weighting)
                _improve(best, value_of, costs + rest[:, stop].T, late, onwards.path)
            waiting[leg.dst].append(_Layer(costs, late, stop, np.full(len(stop), p), label, np.full(len(stop), way)))


@dataclass(frozen=True)
class _Onwards:
    """Labels of host p that stop at `stop` and go on from host `dst` as the tables of a weighting lead."""

    grid: Grid
    fold: Fold
    layers: Sequence[_Layer | None]
    p: int
    label: Cuts
    stop: Cuts
    way: int
    dst: int
    weighting: int

    def path(self, i: int) -> Path:
        stop = int(self.stop[i])
        rest = self.grid.follow(self.fold, self.weighting, self.dst, stop)
        stops = (stop,) * (self.dst - self.p) + rest.stops
        return _path(self.grid, self.layers, self.p, int(self.label[i]), stops, (self.way, *rest.ways))


def _improve(
    best: Search, value_of: Callable[[Floats], Floats], costs: Floats, late: Floats, path: Callable[[int], Path]
) -> None:
    """Take the best of whole assignments, `[n, D]`, where it beats the best so far; of equals the latest stops."""
    if not len(costs):
        return
    values = value_of(costs)
    least = float(values.min())
    if least > best.value or least == np.inf:
        return
    found = path(int(np.argmax(np.where(values == least, late, -np.inf))))
    if least < best.value or best.path is None or found.stops > best.path.stops:
        best.value, best.path = least, found


def _path(
    grid: Grid, layers: Sequence[_Layer | None], p: int, row: int, stops: tuple[int, ...], ways: tuple[int, ...]
) -> Path:
    """The assignment of a label of host p whose host and those after it go on with `stops`; done here if empty."""
    if not stops:
        stops = (grid.last,) * (len(grid.hosts) - p)
    while p > 0:
        layer = layers[p]
        assert layer is not None
        before, cut = int(layer.host[row]), int(layer.cut[row])
        stops, ways = (cut,) * (p - before) + stops, (int(layer.way[row]), *ways)
        p, row = before, int(layer.row[row])
    return Path(stops, ways)


def _joined(layers: Sequence[_Layer]) -> _Layer:
    return _Layer(*(np.concatenate([getattr(layer, name) for layer in layers]) for name in _FIELDS))


def _outrun(grid: Grid, p: int, costs: Floats, cut: Cuts, bounds: Floats) -> NDArray[np.bool_]:
    """Which labels some of the strongest outdo: at their cut, or by running on from an earlier cut to theirs."""
    scores = np.concatenate([bounds, costs - grid.elapsed[p][:, cut].T], axis=1).T
    count = min(_STRONG, len(costs))
    strong = np.unique(np.argpartition(scores, count - 1, axis=1)[:, :count])
    window = grid.windows[p]
    reach = np.full(len(cut), grid.last) if window is None else window.last_stop[cut]
    # What was spent but for this host's operators before the cut; who comes from an earlier cut pays for a stage.
    offsets = costs - grid.elapsed[p][:, cut].T
    earlier = cut[strong][:, None] < cut
    follows = (earlier & (cut <= reach[strong][:, None]) & (reach[strong][:, None] >= reach)) | (
        cut[strong][:, None] == cut
    )
    better = np.zeros_like(follows)
    for own, fixed in zip(offsets.T, grid.constant[p].tolist(), strict=True):
        reached = own[strong][:, None] + np.where(earlier, fixed, 0.0)
        follows &= reached <= own
        better |= reached < own
    found: NDArray[np.bool_] = np.logical_or.reduce(follows & better, axis=0)
    return found
