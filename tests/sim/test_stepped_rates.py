"""Rates that step: what leaves across a step goes on at the new rate, and the window forgets what has passed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from airloom.sim.rates import LOOK_AHEAD_S, SteppedRate, Window

LINK = ("a", "b")


class Listed:
    """Rates of one link from a list, over and over."""

    links = (LINK,)

    def __init__(self, rates: list[float], period_s: float = 0.01) -> None:
        self.period_s, self._rates, self.asked = period_s, rates, -1

    def rates(self, tick: int) -> NDArray[np.float64]:
        assert tick == self.asked + 1  # in order, each once
        self.asked = tick
        return np.array([self._rates[tick % len(self._rates)]])


def stepped(rates: list[float], now_s: float = 0.0) -> SteppedRate:
    return SteppedRate(Window(Listed(rates), lambda: now_s), LINK)


def test_what_leaves_across_a_step_goes_on_at_the_new_rate() -> None:
    rate = stepped([8e6, 4e6])  # 10 kB in the first 10 ms, 5 kB in the next
    assert rate.finish_s(0.0, 10_000) == pytest.approx(0.010)
    assert rate.finish_s(0.0, 12_500) == pytest.approx(0.015)
    assert rate.finish_s(0.005, 5_000 + 5_000 + 2_000) == pytest.approx(0.022)


def test_nothing_leaves_in_an_outage_and_what_never_leaves_is_told() -> None:
    assert stepped([8e6, 0.0, 0.0, 8e6]).finish_s(0.0, 15_000) == pytest.approx(0.035)
    assert stepped([0.0]).finish_s(0.0, 1) == math.inf
    assert stepped([0.0]).expected_s(100) == math.inf


def test_no_bytes_take_no_time() -> None:
    assert stepped([0.0]).finish_s(0.25, 0) == 0.25


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.0, 1e8), min_size=1, max_size=7),
    st.floats(0.0, 0.5),
    st.floats(1.0, 1e5),
)
def test_what_has_left_by_the_finish_is_what_was_given(rates: list[float], start_s: float, nbytes: float) -> None:
    rate = stepped(rates)
    end_s = rate.finish_s(start_s, nbytes)
    if end_s == math.inf:
        assert rate.nbytes_between(start_s, start_s + LOOK_AHEAD_S) < nbytes
    else:
        assert rate.nbytes_between(start_s, end_s) == pytest.approx(nbytes, rel=1e-6)


def test_the_window_holds_no_more_than_is_under_way() -> None:
    now_s = 0.0
    window = Window(Listed([8e6]), lambda: now_s)
    rate = SteppedRate(window, LINK)
    for k in range(10_000):
        now_s = k * 0.01
        window.forget(now_s)
        rate.finish_s(now_s, 30_000)  # 30 ms
        assert len(window) <= 5


def test_the_rate_is_that_of_the_tick_and_before_the_first_that_of_the_first() -> None:
    rate = stepped([1e6, 2e6, 3e6])
    assert [rate.rate_bps(t) for t in (-1.0, 0.0, 0.0099, 0.01, 0.02)] == [1e6, 1e6, 1e6, 2e6, 3e6]
