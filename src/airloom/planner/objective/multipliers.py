"""Multipliers of bounds: the best lower bound that prices for exceeding them can prove.

For any multipliers y >= 0 the least of value + y (costs - limits) over *all* assignments is at most the
least value of those that keep to the limits. The wave finds the former in O(L) a host; the greatest of
these bounds is that of the linear program over mixtures of assignments, found by generating columns:
the program over the assignments known so far gives multipliers, the wave under them gives a bound and
an assignment to add, until the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from airloom.core.problem import Floats
from airloom.planner.objective.grid import Fold, Grid, Path
from airloom.planner.objective.simplex import simplex

#: Rounds end when the program and the bound agree to this, relative.
AGREED = 1e-6
_ROUNDS = 60


@dataclass
class Found:
    """Assignments found, with their costs in the grid's dimensions, and the bounds under the weightings tried.

    Attributes:
        columns: `[D]` of each path.
        folds: of each round.
        bound: the best lower bound.
        best: fold and row that prove it.
    """

    paths: list[Path] = field(default_factory=list)
    columns: list[Floats] = field(default_factory=list)
    bound: float = -np.inf
    best: tuple[Fold, int] | None = None

    def take(self, grid: Grid, fold: Fold, offsets: Floats) -> None:
        """Bounds and assignments of a fold; `offsets` `[S]` are added to its minima to make them bounds."""
        for s, offset in enumerate(offsets.tolist()):
            bound = float(fold.costs[0][s, 0]) + offset
            if bound > self.bound:
                self.bound, self.best = bound, (fold, s)
            path = grid.follow(fold, s)
            self.paths.append(path)
            self.columns.append(grid.price(path))


def bound_value(grid: Grid, limits: Floats, found: Found, enough: float) -> Floats:
    """The best bound on dimension 0 under `limits` on the others, and the multipliers that prove it.

    Args:
        limits: `[D-1]`.
        found: grows by what is found; has at least one path.
        enough: relative distance between the bound and the best path within the limits at which to end.
    """
    rows = len(limits)
    multipliers = np.zeros(rows)
    for _ in range(_ROUNDS):
        columns = np.array(found.columns)
        # A mixture that exceeds the limits is allowed at a price, so that there always is one.
        penalty = 1.0 + 8.0 * float(np.abs(columns[:, 0]).max())
        inside = (columns[:, 1:] <= limits).all(axis=1)
        if inside.any():
            incumbent = float(columns[inside, 0].min())
            if incumbent - found.bound <= enough * abs(incumbent):
                break
            penalty = incumbent * 2.0 + 1.0
        table = np.zeros((rows + 1, len(columns) + rows + 1))
        table[0, : len(columns)] = 1.0
        table[1:, : len(columns)] = columns[:, 1:].T
        table[1:, len(columns) : -1] = np.eye(rows)
        table[0, -1] = 1.0
        prices = np.concatenate([columns[:, 0], np.zeros(rows), [penalty]])
        basis = [table.shape[1] - 1, *range(len(columns), len(columns) + rows)]
        value, duals, _ = simplex(table, prices, np.concatenate([[1.0], limits]), basis)
        if value - found.bound <= AGREED * abs(value):
            break
        multipliers = np.maximum(-duals[1:], 0.0)
        tried = np.stack([multipliers, (multipliers + _proving(found, rows)) / 2.0])
        found.take(grid, grid.fold(np.column_stack([np.ones(len(tried)), tried])), -tried @ limits)
    return _proving(found, rows)


def _proving(found: Found, rows: int) -> Floats:
    assert found.best is not None
    fold, s = found.best
    multipliers: Floats = fold.weightings[s, -rows:]
    return multipliers


def bound_excess(grid: Grid, found: Found) -> Floats:
    """The best bound on the greatest of all dimensions, and the weights, summing to 1, that prove it."""
    for _ in range(_ROUNDS):
        columns = np.array(found.columns)
        rows = columns.shape[1]
        if float(columns.max(axis=1).min()) - found.bound <= AGREED * abs(found.bound):
            break
        # Columns: the mixture, the slack of each dimension, and the greatest of them.
        table = np.zeros((rows + 1, len(columns) + rows + 1))
        table[0, : len(columns)] = 1.0
        table[1:, : len(columns)] = columns.T
        table[1:, len(columns) : -1] = np.eye(rows)
        table[1:, -1] = -1.0
        prices = np.zeros(table.shape[1])
        prices[-1] = 1.0
        worst = int(columns[0].argmax())
        slack = [len(columns) + j for j in range(rows) if j != worst]
        value, duals, _ = simplex(table, prices, np.eye(rows + 1)[0], [0, table.shape[1] - 1, *slack])
        if value - found.bound <= AGREED * abs(value):
            break
        weights = np.maximum(-duals[1:], 0.0)
        weights /= weights.sum()
        tried = np.stack([weights, (weights + _proving(found, rows)) / 2.0])
        found.take(grid, grid.fold(tried), np.zeros(len(tried)))
    assert found.best is not None
    return _proving(found, len(found.columns[0]))
