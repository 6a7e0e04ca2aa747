"""Linear programs with a handful of rows: the multipliers of a few bounds, from the assignments found so far."""

from __future__ import annotations

import numpy as np

from airloom.core.problem import Floats

_TOLERANCE = 1e-11


def simplex(columns: Floats, prices: Floats, limits: Floats, basis: list[int]) -> tuple[float, Floats, Floats]:
    """Minimise `prices @ x` over x >= 0 with `columns @ x == limits`, by the revised simplex method.

    Args:
        columns: `[rows, N]`; rows are few, since the basis is inverted anew at every pivot.
        prices: `[N]`.
        limits: `[rows]`.
        basis: columns of a feasible basis; becomes those of the optimal one.

    Returns:
        The minimum, `[rows]` its dual values, `[rows]` the values of the basic columns.
    """
    # After so many pivots ties are broken by index (Bland), which cannot cycle.
    patience = 20 * len(limits)
    for pivot in range(100 * len(limits) + columns.shape[1]):
        inverse = np.linalg.inv(columns[:, basis])
        duals: Floats = prices[basis] @ inverse
        values: Floats = inverse @ limits
        reduced = prices - duals @ columns
        reduced[basis] = 0.0
        entering = int(np.argmin(reduced)) if pivot < patience else int(np.argmax(reduced < -_TOLERANCE))
        if reduced[entering] >= -_TOLERANCE:
            break
        rates = inverse @ columns[:, entering]
        steps = np.where(rates > _TOLERANCE, np.maximum(values, 0.0) / np.where(rates > _TOLERANCE, rates, 1.0), np.inf)
        leaving = int(np.argmin(steps))
        if not np.isfinite(steps[leaving]):
            break
        basis[leaving] = entering
    return float(prices[basis] @ values), duals, values
