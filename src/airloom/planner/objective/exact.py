"""The least weighted sum of the best-effort metrics under every bound on the whole path, with proof.

Three steps, each of which may already end it:

1. The wave without bounds, and under each bound's metric alone: its optimum may keep to the bounds, and
   where even the least of one metric is beyond its bound, no assignment does.
2. Multipliers of the bounds (`multipliers`) give a lower bound and, on the way, assignments.
3. What may still be better is listed by labels (`labels`); nothing that is left out can be.

An answer is exact to one part in 10^9. Of assignments whose values agree to that, the one with more
room under the bounds is taken, and of those that agree in that too the one with the latest stops.
"""

from __future__ import annotations

import math

import numpy as np

from airloom import units
from airloom.core.problem import Cuts, Floats
from airloom.planner.objective.grid import Grid, Path
from airloom.planner.objective.labels import Prune, Search, search
from airloom.planner.objective.linear import impossible
from airloom.planner.objective.meeting import meeting
from airloom.planner.objective.multipliers import Found, bound_excess, bound_value
from airloom.planner.objective.outcome import Outcome, Unreachable, outcome
from airloom.planner.objective.vectors import ROUNDING, VectorProblem

#: Labels of one host at most; where more are wanted, the gap says what that may have cost.
ROOM = 20_000
#: Weight of room under the bounds beside the value.
_ROOM_UNDER_BOUNDS = 2.0**-34
#: What rounding may do to sums of costs, relative.
_SLACK = 1e-12
#: Beside the best multipliers, these multiples of them bound too, further along a path where less or more is left
#: of the bounds; the assignments that the first few lead to are tried, and higher ones more often keep to the bounds.
_MULTIPLES = (1.0, 1.03, 1.2, 2.0, 0.5, 4.0, 0.0)
_TRIED = 4


def solve_exact(problem: VectorProblem, gap: float = 0.0, *, room: int = ROOM) -> Outcome:
    """The optimum, or an assignment proven to be within `gap` of it.

    Args:
        gap: relative distance to the optimum that will do.
        room: labels of one host at most. Where that is too few the answer's `Outcome.gap` is larger than
            was asked for, and says what has been proven.

    Raises:
        Unreachable: no assignment meets every bound; carries the closest one.
        Infeasible: memory and privacy leave no assignment at all.
    """
    bounded = np.flatnonzero(np.isfinite(problem.bounds))
    scale = np.exp2(-np.floor(np.log2(problem.bounds[bounded])))
    limits = problem.bounds[bounded] * scale
    mix = np.zeros((1 + len(bounded), len(problem.names)))
    mix[1 + np.arange(len(bounded)), bounded] = scale
    # Powers of two leave sums of costs as exact as they are.
    mix[0] = problem.weights * 2.0 ** -math.floor(math.log2(_typical(problem)))
    mix[0] += _ROOM_UNDER_BOUNDS * mix[1:].sum(axis=0)
    grid = Grid(problem, mix)
    found = Found()
    dims = len(mix)
    # The value alone, each bounded metric alone, and all together.
    weightings = np.vstack([np.eye(dims), np.ones((1, dims))]) if dims > 1 else np.ones((1, 1))
    offsets = np.full(len(weightings), -np.inf)
    offsets[0] = 0.0
    if dims > 1:
        offsets[-1] = -float(limits.sum())
    first = grid.fold(weightings)
    if not np.isfinite(first.costs[0][0, 0]):
        raise impossible(problem)
    found.take(grid, first, offsets)
    allowed = limits * (1.0 + ROUNDING)
    if (found.columns[0][1:] <= allowed).all():
        return outcome(problem, found.paths[0].stops, found.paths[0].ways, 0.0)
    best = Search(np.inf, None)
    reachable = all(found.columns[1 + j][1 + j] <= allowed[j] for j in range(len(limits)))
    if reachable:
        multipliers = bound_value(grid, allowed, found, max(gap, _SLACK))
        _take_best(found, allowed, best)
    if best.path is None:
        closest = _closest(problem, bounded)
        costs = problem.cost(closest.stops, closest.ways)
        if not problem.meets(costs):
            raise _unreachable(problem, closest.stops, closest.ways)
        found.paths.append(closest)
        found.columns.append(grid.price(closest))
        multipliers = bound_value(grid, allowed, found, max(gap, _SLACK))
        _take_best(found, allowed, best)
    assert best.path is not None
    proven = found.bound
    if best.value - proven > max(gap, _SLACK) * abs(best.value):
        proven = max(proven, _close(grid, multipliers, allowed, best, gap, room))
    left = max((best.value - proven) / abs(best.value), 0.0) if best.value else 0.0
    if left <= gap * (1.0 + ROUNDING):
        left = min(left, gap)  # what rounding added
    return outcome(problem, best.path.stops, best.path.ways, 0.0 if left <= ROUNDING else left)


def _typical(problem: VectorProblem) -> float:
    """A value of the size that assignments have."""
    size = max(float(problem.weights @ elapsed[:, -1]) for elapsed in problem.elapsed)
    for crossing in (crossing for crossings in problem.crossings for crossing in crossings):
        carried = np.where(np.isfinite(crossing.costs[0]), crossing.costs[0], 0.0)
        size = max(size, float((problem.weights @ carried).max()))
    return size if 0.0 < size < np.inf else 1.0


def _take_best(found: Found, allowed: Floats, best: Search) -> None:
    """The best path of those found that keeps to the limits; of equals the latest stops."""
    for path, column in zip(found.paths, found.columns, strict=True):
        if (column[1:] <= allowed).all():
            value = float(column[0])
            if value < best.value or (value == best.value and best.path is not None and path.stops > best.path.stops):
                best.value, best.path = value, path


def _close(grid: Grid, multipliers: Floats, allowed: Floats, best: Search, gap: float, room: int) -> float:
    """Improve `best` until it is proven to be within `gap`; the lower bound that is proven."""
    dims = 1 + len(allowed)
    several = np.outer(_MULTIPLES, multipliers)
    fold = grid.fold(np.vstack([np.column_stack([np.ones(len(several)), several]), np.eye(dims)[1:]]))
    priced = several @ allowed

    def demanded(value: float) -> Floats:
        enough = value - gap * abs(value) if gap > 0.0 else value + _SLACK * abs(value)
        return np.concatenate([enough + priced, allowed])

    def value_of(costs: Floats) -> Floats:
        met = np.logical_and.reduce(costs[:, 1:] <= allowed, axis=1)
        return np.where(met, costs[:, 0], np.inf)

    rows = tuple(range(len(fold.weightings)))
    tried = tuple(range(_TRIED))
    prune = Prune(fold, rows, demanded, tried, grid.completions(fold, tried))

    def proven() -> float:
        return float(min(best.value - gap * abs(best.value), best.left_out - priced[0]))

    # Few labels first: what they find makes the demands on the others higher, and mostly they are all.
    for width in (room // 64, room // 8, room):
        best.left_out = np.inf
        onward = meeting(grid, np.concatenate([[best.value], allowed])) if width == room else None
        met = None if onward is None else (onward, allowed)
        search(grid, prune, value_of, best, room=max(width, 1), meet=met)
        if proven() >= best.value - gap * abs(best.value):
            break
    return proven()


def _closest(problem: VectorProblem, bounded: Cuts) -> Path:
    """The assignment whose largest cost over its bound is least; the first that is found to meet every bound."""
    mix = np.zeros((len(bounded), len(problem.names)))
    mix[np.arange(len(bounded)), bounded] = 1.0 / problem.bounds[bounded]
    grid = Grid(problem, mix)
    found = Found()
    dims = len(bounded)
    weightings = np.vstack([np.eye(dims), np.full((1, dims), 1.0 / dims)])
    found.take(grid, grid.fold(weightings), np.zeros(len(weightings)))
    weights = bound_excess(grid, found)
    worst = [float(column.max()) for column in found.columns]
    nearest = min(range(len(worst)), key=worst.__getitem__)
    best = Search(worst[nearest], found.paths[nearest])
    if best.value > 1.0 + ROUNDING and best.value - found.bound > _SLACK:
        fold = grid.fold(np.vstack([weights[None, :], weightings]))
        rows = tuple(range(len(fold.weightings)))
        ahead = grid.completions(fold, rows)
        prune = Prune(fold, rows, lambda value: np.full(len(rows), value * (1.0 + _SLACK)), rows, ahead)
        search(grid, prune, lambda costs: costs.max(axis=1), best, until=1.0)
    assert best.path is not None
    return best.path


def _unreachable(problem: VectorProblem, stops: tuple[int, ...], ways: tuple[int, ...]) -> Unreachable:
    closest = outcome(problem, stops, ways)
    over = [
        f"{name} of {_amount(name, cost)} where {_amount(name, bound)} is demanded"
        for name, cost, bound in zip(problem.names, closest.costs, problem.bounds, strict=True)
        if cost > bound * (1.0 + ROUNDING)
    ]
    return Unreachable(
        f"no plan meets the bounds: the closest has {' and '.join(over)}, "
        f"{units.format_percent(closest.excess - 1.0)} over; relax a bound, or give the hosts or links more",
        closest,
    )


def _amount(name: str, value: float) -> str:
    match name.partition("@")[0]:
        case "latency":
            return units.format_seconds(value)
        case "energy":
            return units.format_joules(value)
        case "bytes":
            return units.format_bytes(value)
    return units.format_money(value)
