"""What a link carries over a time in which its rate changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.radio.forecast.course import Course, course
from airloom.radio.forecast.oracle import Oracle
from airloom.radio.forecast.simple import LastValue

RATES = st.lists(st.sampled_from([0.0, 1e4, 1e6, 3e7, 4e9]), min_size=1, max_size=6)


def carried(starts: list[float], rates: list[float], departs_s: float, bits: float) -> float:
    """Step by step."""
    at_s, left = departs_s, bits
    for k, rate in enumerate(rates):
        end_s = starts[k + 1] if k + 1 < len(starts) else math.inf
        if end_s <= at_s:
            continue
        if rate > 0 and left <= rate * (end_s - at_s):
            return at_s + left / rate - departs_s
        left -= rate * (end_s - at_s) if rate else 0.0
        at_s = end_s
    return math.inf


@settings(deadline=None)
@given(RATES, st.floats(0.0, 0.3), st.floats(1.0, 1e7))
def test_a_message_takes_what_it_takes_step_by_step(rates: list[float], departs_s: float, bits: float) -> None:
    starts = [0.05 * k for k in range(len(rates))]
    found = float(Course(starts, rates).seconds(np.array([departs_s]), bits)[0])
    assert found == pytest.approx(carried(starts, rates, departs_s, bits), rel=1e-6, abs=1e-6)


def test_a_rate_that_stays_takes_bits_over_rate() -> None:
    found = Course([0.0], [1e6])
    assert found.is_steady
    assert found.seconds(np.array([0.0, 1.0, 100.0]), np.array([1e6, 2e6, 0.0])) == pytest.approx([1.0, 2.0, 0.0])
    assert Course([0.0], [0.0]).seconds(np.array([0.0]), 1.0) == [math.inf]
    assert Course([0.0], [1e6]).seconds(np.array([math.inf]), 1.0) == [math.inf]


@pytest.mark.parametrize(
    ("starts", "rates"), [([], []), ([1.0], [1.0]), ([0.0, 0.0], [1.0, 1.0]), ([0.0], [math.nan]), ([0.0], [-1.0])]
)
def test_a_course_begins_now_and_ascends(starts: list[float], rates: list[float]) -> None:
    with pytest.raises(ValueError):
        Course(starts, rates)


def test_an_oracle_knows_when_a_rate_changes() -> None:
    def rate_at(at_s: float) -> float:
        return 1e6 * (1 + math.floor(at_s / 0.05 + 1e-9))

    oracle = Oracle(rate_at, 0.0, np.random.default_rng(0), tick_s=0.05)
    moments, rates = oracle.course(0.07, 0.2)
    assert moments == pytest.approx([0.07, 0.1, 0.15])
    assert rates == [2e6, 3e6, 4e6]
    assert oracle.course(0.1, 0.1) == ([0.1], [3e6])


def test_an_oracles_error_is_drawn_for_every_tick() -> None:
    oracle = Oracle(lambda at_s: 1e6, 0.1, np.random.default_rng(0), tick_s=0.01)
    _, rates = oracle.course(0.0, 20.0)
    assert len(rates) == 2000
    assert np.std(rates) / 1e6 == pytest.approx(0.1, rel=0.1)
    assert min(rates) >= 0.0


def test_other_forecasters_are_asked_about_the_middle_of_each_step() -> None:
    class Ramp(LastValue):
        def predict(self, at_s: float) -> float:
            return 1e6 * at_s

    found = course(Ramp(0.0), 10.0, step_s=1.0, steps=3)
    assert found.seconds(np.array([0.0]), 10.5e6 + 11.5e6) == pytest.approx([2.0])
    assert course(LastValue(5e6), 0.0, step_s=0.1, steps=4).is_steady


def test_what_was_measured_holds_for_a_step() -> None:
    found = course(LastValue(2e6), 10.0, step_s=0.1, steps=2, seen=(9.96, 1e6))
    # 60 ms are left of the step that was measured.
    assert found.seconds(np.array([0.0, 0.06, 5.0]), 1e5) == pytest.approx([0.06 + 0.04 / 2, 0.05, 0.05])
    assert course(LastValue(2e6), 10.0, step_s=0.1, steps=2, seen=(9.0, 1e6)).is_steady
