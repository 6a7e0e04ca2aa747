"""Laws of proportional fair sharing: all is used, nobody gets more than there is or more than they want."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from airloom.radio.cell.fair import FairScheduler, filled, for_one_more, surface, vessels

Floats = NDArray[np.float64]


@st.composite
def rows(draw: st.DrawFn) -> tuple[Floats, Floats]:
    count, users = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    heights = rng.random((count, users)) * draw(st.sampled_from((0.1, 0.5, 1.0)))
    heights[rng.random(heights.shape) < 0.3] = 0.0
    return rng.random((count, users)) * draw(st.sampled_from((0.0, 0.3, 3.0))), heights


@settings(deadline=None)
@given(rows())
def test_water_fills_what_there_is_to_one_level(vessel: tuple[Floats, Floats]) -> None:
    bottoms, heights = vessel
    got = filled(bottoms, heights)
    assert got.sum(axis=1) == pytest.approx(np.minimum(1.0, heights.sum(axis=1)), abs=1e-12)
    assert ((got >= 0.0) & (got <= heights)).all()
    for b, h, x in zip(bottoms, heights, got, strict=True):
        part = (x > 1e-9) & (x < h - 1e-9)  # neither dry nor full: at the level
        dry, full = (x <= 1e-9) & (h > 0.0), (x >= h - 1e-9) & (h > 0.0)
        if part.any():
            level = (b + x)[part][0]
            assert (b + x)[part] == pytest.approx(level)
            assert (b[dry] >= level - 1e-6).all()
            assert ((b + h)[full] <= level + 1e-6).all()


@settings(deadline=None)
@given(rows(), st.floats(-0.5, 4.0), st.data())
def test_one_more_gets_what_filling_with_it_gives(
    vessel: tuple[Floats, Floats], bottom: float, data: st.DataObject
) -> None:
    bottoms, heights = vessel
    row = data.draw(st.integers(0, len(bottoms) - 1))
    alone = filled(np.append(bottoms[row], bottom)[None], np.append(heights[row], 1.0)[None])[0, -1]
    got = for_one_more(surface(bottoms, heights), np.array([row]), np.array([bottom]))[0]
    assert got == pytest.approx(alone, abs=1e-9)


def _run(rate: Floats, demand: Floats, ticks: int = 400) -> Floats:
    scheduler = FairScheduler(*rate.shape, tick_s=0.05, fairness_s=1.0)
    return np.array([scheduler.tick(vessels(rate, demand)) for _ in range(ticks)])


def test_equal_channels_get_equal_rates() -> None:
    got = _run(np.full((1, 4), 100e6), np.full((1, 4), np.inf))
    assert got[-1] == pytest.approx(25e6)


def test_users_of_different_channels_get_equal_time() -> None:
    # Proportional fairness of full buffers over channels that hold still: rates in proportion to channels.
    got = _run(np.array([[200e6, 100e6, 20e6]]), np.full((1, 3), np.inf))[200:].mean(axis=0)
    assert got[0] == pytest.approx(np.array([200e6, 100e6, 20e6]) / 3, rel=0.01)


def test_who_wants_little_gets_it_and_the_rest_goes_to_the_others() -> None:
    got = _run(np.full((1, 3), 90e6), np.array([[10e6, np.inf, np.inf]]))[-1]
    assert got[0] == pytest.approx([10e6, 40e6, 40e6], rel=0.01)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_capacity_is_kept_and_used(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scheduler = FairScheduler(3, 6, tick_s=0.01, fairness_s=0.5)
    for _ in range(50):
        rate = rng.random((3, 6)) * 200e6 * (rng.random((3, 6)) > 0.2)
        demand = rng.random((3, 6)) * 100e6
        got = scheduler.tick(vessels(rate, demand))
        share = np.divide(got, rate, out=np.zeros_like(got), where=rate > 0.0)
        wanted = np.divide(np.minimum(demand, rate), rate, out=np.zeros_like(got), where=rate > 0.0)
        assert (got <= demand * (1 + 1e-9)).all()
        assert share.sum(axis=1) == pytest.approx(np.minimum(1.0, wanted.sum(axis=1)), abs=1e-9)


def test_who_waits_is_told_a_rate_and_takes_none() -> None:
    rate, demand = np.full((1, 2), 80e6), np.array([[np.inf, 0.0]])
    scheduler = FairScheduler(1, 2, tick_s=0.05, fairness_s=1.0)
    scheduler.average_bps[:] = 40e6
    before = scheduler.average_bps[0, 1]
    got = scheduler.tick_with(vessels(rate, demand), np.array([0]), np.array([1]))
    assert got[0] == pytest.approx([80e6, 40e6])
    assert scheduler.average_bps[0, 1] == before
