"""G and its inverse: known curves are found again, predictions hold for fresh draws, odd profiles are survived."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.tolerance import Curve, ErrorPoint
from airloom.errors import UserError
from airloom.planner.accuracy import accuracy_at, fit, tolerable

RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TRUTHS = {
    "exponential": lambda r: 0.73 - 0.001 * np.exp(6 * r),
    "falling exponential": lambda r: 0.7 * np.exp(-5 * r),
    "logistic": lambda r: 0.02 + 0.70 / (1 + np.exp(14 * (r - 0.6))),
    "line": lambda r: 0.7 - 0.5 * r,
    "constant": lambda r: 0.7 + 0 * r,
    "cliff": lambda r: np.where(r < 0.45, 0.7, 0.1),
}


def measured(truth, rng: np.random.Generator, *, noise: float = 0.0, draws: int = 8) -> list[ErrorPoint]:
    return [
        ErrorPoint(
            error_rate=r, accuracy=float(np.clip(truth(r) + noise * rng.normal() / draws**0.5, 0, 1)), spread=noise,
            draws=draws,
        )
        for r in RATES
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["exponential", "falling exponential", "logistic", "line", "constant"])
def test_the_better_curve_finds_the_truth_again(name: str) -> None:
    truth = TRUTHS[name]
    curves = fit(measured(truth, np.random.default_rng(0)))
    assert [c.mae for c in curves] == sorted(c.mae for c in curves)
    assert {c.kind for c in curves} == {"exponential", "logistic", "pchip"}
    assert max(abs(accuracy_at(curves[0], r) - truth(r)) for r in np.linspace(0, 0.95, 60)) < 0.006


def test_the_exponential_has_the_least_l1_distance_of_all_exponentials() -> None:
    """Eq. (2), against a dense search over all three parameters' shapes; outliers hardly move it."""
    rng = np.random.default_rng(1)
    points = measured(TRUTHS["exponential"], rng, noise=0.02)
    points[4] = ErrorPoint(error_rate=points[4].error_rate, accuracy=0.3)
    curve = next(c for c in fit(points) if c.kind == "exponential")
    rates, values = np.array([p.error_rate for p in points]), np.array([p.accuracy for p in points])
    distance = sum(abs(accuracy_at(curve, r) - v) for r, v in zip(rates, values, strict=True))
    best = np.inf
    for c in (*np.linspace(-40, -0.1, 200), *np.linspace(0.1, 40, 200)):
        basis = np.exp(c * rates - max(c, 0.0))
        for i, j in itertools.combinations(range(len(rates)), 2):
            b = (values[j] - values[i]) / (basis[j] - basis[i]) if basis[i] != basis[j] else 0.0
            if b * c <= 0:
                best = min(best, np.abs(values[i] - b * basis[i] + b * basis - values).sum())
    assert distance <= best * 1.01
    assert abs(accuracy_at(curve, 0.3) - TRUTHS["exponential"](0.3)) < 0.02


def test_a_cliff_is_for_the_pchip() -> None:
    """What the paper's exponential misses by points."""
    curves = {c.kind: c for c in fit(measured(TRUTHS["cliff"], np.random.default_rng(2)))}
    errors = {
        kind: max(abs(accuracy_at(c, r) - TRUTHS["cliff"](r)) for r in (0.2, 0.3, 0.6, 0.8))
        for kind, c in curves.items()
    }
    assert errors["exponential"] > 0.05
    assert min(errors["pchip"], errors["logistic"]) < 0.015


@pytest.mark.parametrize("name", ["exponential", "logistic", "line", "falling exponential"])
def test_the_margin_holds_for_fresh_draws(name: str) -> None:
    """At G^-1(floor) at least four fresh draws of five keep the floor."""
    rng, truth, noise = np.random.default_rng(3), TRUTHS[name], 0.01
    kept = []
    for _ in range(8):
        curve = fit(measured(truth, rng, noise=noise))[0]
        floor = float(truth(0.0)) - 0.06
        share = tolerable(curve, floor)
        kept += list(truth(max(share, 0.0)) + noise * rng.normal(size=50) >= floor)
    assert np.mean(kept) >= 0.8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            ErrorPoint, error_rate=st.floats(0, 1), accuracy=st.floats(0, 1), spread=st.floats(0, 0.1),
            draws=st.integers(0, 20),
        ),
        min_size=1, max_size=9,
    ),
    st.floats(0, 1),
)  # fmt: skip
def test_any_points_make_curves_that_never_rise(points: list[ErrorPoint], floor: float) -> None:
    last = round(max(p.error_rate for p in points), 6)
    for curve in fit(points):
        values = [accuracy_at(curve, r) for r in np.linspace(0, last, 40)]
        assert all(0.0 <= v <= 1.0 for v in values)
        assert all(b <= a + 1e-9 for a, b in itertools.pairwise(values))
        assert 0.0 <= curve.mae <= 1.0
        assert curve.margin >= curve.mae
        share = tolerable(curve, floor)
        assert share == -1.0 or 0.0 <= share <= last
        if share >= 0.0:
            assert accuracy_at(curve, share) - curve.margin >= floor - 1e-12
        if -1.0 < share < last - 1e-5:
            assert accuracy_at(curve, share + 1e-5) - curve.margin < floor


def test_few_points() -> None:
    (one,) = fit([ErrorPoint(error_rate=0.0, accuracy=0.7)])
    assert accuracy_at(one, 0.5) == 0.7
    assert tolerable(one, 0.6) == 0.0  # nothing is known beyond
    (two,) = fit([ErrorPoint(error_rate=0.5, accuracy=0.5), ErrorPoint(error_rate=0.0, accuracy=0.7)])
    assert accuracy_at(two, 0.25) == pytest.approx(0.6)
    assert two.margin == pytest.approx(0.1)  # any course between the two is possible
    assert tolerable(two, 0.65) == -1.0


def test_points_of_one_rate_count_by_their_draws() -> None:
    (curve,) = fit(
        [ErrorPoint(error_rate=0.1, accuracy=0.6, draws=3), ErrorPoint(error_rate=0.1, accuracy=0.2, draws=1)]
    )
    assert accuracy_at(curve, 0.1) == pytest.approx(0.5)


def test_nothing_is_tolerated_beyond_what_was_measured() -> None:
    points = [ErrorPoint(error_rate=r, accuracy=0.7 - 0.01 * r) for r in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    assert {tolerable(curve, 0.1) for curve in fit(points)} == {0.5}
    assert tolerable(Curve(kind="exponential", parameters=(0.7, -0.001, 1.0)), 0.1) == 1.0


@pytest.mark.parametrize(
    "points",
    [[], [ErrorPoint(error_rate=1.5, accuracy=0.5)], [ErrorPoint(error_rate=0.1, accuracy=float("nan"))],
     [ErrorPoint(error_rate=0.1, accuracy=0.5, spread=-1.0)]],
)  # fmt: skip
def test_points_that_cannot_be_are_refused(points: list[ErrorPoint]) -> None:
    with pytest.raises(UserError, match=r"shares from 0 to 1|no points"):
        fit(points)
