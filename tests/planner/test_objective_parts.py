"""What the solvers of objectives are built of, each against a plainer way to the same."""

from __future__ import annotations

import itertools

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from objective_instances import ROLES, coded_problem, random_objective, rich_problem, try_all

from airloom.core.objective import LATENCY
from airloom.planner.chain import fold
from airloom.planner.objective.dominance import keep_first_of_equals
from airloom.planner.objective.grid import Grid, Path
from airloom.planner.objective.simplex import simplex
from airloom.planner.objective.vectors import vectors
from airloom.planner.objective.windows import Windows


@given(seed=st.integers(0, 2**32), count=st.integers(1, 90), metrics=st.integers(1, 4))
@settings(max_examples=120, deadline=None)
def test_what_stays_is_what_nothing_beats(seed: int, count: int, metrics: int) -> None:
    costs = np.random.default_rng(seed).integers(0, 6, (count, metrics)).astype(float)
    plain = [
        i
        for i in range(count)
        if not any(
            (costs[j] <= costs[i]).all() and ((costs[j] < costs[i]).any() or j < i) for j in range(count) if j != i
        )
    ]
    assert keep_first_of_equals(costs).tolist() == plain


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 4), count=st.integers(1, 20), coarse=st.booleans())
@settings(max_examples=120, deadline=None)
def test_simplex_equals_highs(seed: int, rows: int, count: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 4, (rows, count)).astype(float) if coarse else rng.random((rows, count))
    table = np.vstack([np.concatenate([np.ones(count), np.zeros(rows), [1.0]]), np.zeros((rows, count + rows + 1))])
    table[1:, :count] = columns
    table[1:, count:-1] = np.eye(rows)
    prices = np.concatenate([rng.integers(0, 9, count), np.zeros(rows), [50.0]])
    limits = np.concatenate([[1.0], rng.uniform(0.1, 3.0, rows)])
    value, duals, _ = simplex(table, prices, limits, [count + rows, *range(count, count + rows)])
    assert value == pytest.approx(_least(prices, table, limits), abs=1e-7)
    # The duals prove it: no column is worth taking up, and they come to the same.
    assert (prices - duals @ table >= -1e-8).all()
    assert duals @ limits == pytest.approx(value, abs=1e-8)


@given(seed=st.integers(0, 2**32), size=st.integers(2, 40))
@settings(max_examples=120, deadline=None)
def test_windows_equal_looking_at_each(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    last_stop = np.maximum.accumulate(np.maximum(rng.integers(-1, size, size), np.arange(size)))
    last_stop = np.minimum(last_stop, size - 1)
    reach = rng.integers(0, 5, (3, size)).astype(float)
    windows = Windows(last_stop)
    least, latest = windows.least(reach), windows.latest(reach)
    for s, start in itertools.product(range(3), range(size)):
        stops = range(start + 1, int(last_stop[start]) + 1)
        low = min((reach[s, d] for d in stops), default=np.inf)
        if start < size - 1:
            assert least[s, start] == low
        assert latest[s, start] == max((d for d in stops if reach[s, d] == low), default=start)


@given(seed=st.integers(0, 2**32), coded=st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_grid_equals_brute_force_under_every_weighting(seed: int, coded: bool) -> None:
    rng = np.random.default_rng(seed)
    hosts, operators = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    problem = coded_problem(rng, hosts, operators) if coded else rich_problem(rng, hosts, operators)
    priced = vectors(problem, random_objective(rng, least=2), ROLES)
    grid = Grid(priced, np.eye(len(priced.names)))
    weightings = rng.random((3, len(priced.names)))
    folded = grid.fold(weightings)
    tried = try_all(priced)
    rests = grid.completions(folded, (0, 1, 2))
    for s in range(3):
        best = min((float(weightings[s] @ one.costs) for one in tried), default=np.inf)
        assert folded.costs[0][s, 0] == pytest.approx(best, abs=1e-9)
        if not tried:
            assert np.isinf(rests[0][s, :, 0]).all()
            continue
        path = grid.follow(folded, s)
        costs = grid.price(path)
        assert weightings[s] @ costs == pytest.approx(best, abs=1e-9)
        assert costs == pytest.approx(priced.cost(path.stops, path.ways), abs=1e-9)
        assert costs == pytest.approx(rests[0][s, :, 0], abs=1e-9)
    for one in tried[:20]:
        assert grid.price(Path(one.stops, one.ways)) == pytest.approx(one.costs, abs=1e-9)


def test_the_grid_of_latency_is_the_wave() -> None:
    for seed in range(40):
        problem = rich_problem(np.random.default_rng(seed), 4, 8)
        folded = Grid(vectors(problem, LATENCY, ROLES), np.ones((1, 1))).fold(np.ones((1, 1)))
        for (message, _), costs in zip(fold(problem), folded.costs, strict=True):
            assert costs[0] == pytest.approx(message, abs=1e-9)


def _least(prices: NDArray[np.float64], table: NDArray[np.float64], limits: NDArray[np.float64]) -> float:
    """The least price of columns, none less than 0, that add up to the limits; by HiGHS."""
    highs = highspy.Highs()
    highs.silent()
    amounts = [highs.addVariable(lb=0.0, obj=float(price)) for price in prices]
    for row, limit in zip(table, limits, strict=True):
        highs.addConstr(sum(float(a) * x for a, x in zip(row, amounts, strict=True)) == float(limit))
    highs.run()
    return float(highs.getInfo().objective_function_value)
