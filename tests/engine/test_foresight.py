"""Costs of stops that depend on when they are reached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.problem import HostCost
from airloom.engine.foresight import Charge, Foresight, all_departures, departures, message
from airloom.planner.wave import decide_stops
from airloom.radio.forecast.course import Course


def host(seconds: list[float], constant_s: float, reach: int | None = None) -> HostCost:
    cuts = np.arange(len(seconds) + 1)
    return HostCost(
        device="a",
        elapsed_s=np.concatenate(([0.0], np.cumsum(seconds))),
        constant_s=constant_s,
        last_start=None if reach is None else np.maximum(cuts - reach, 0),
    )


TIMES = st.lists(st.floats(0.0, 0.1), min_size=1, max_size=6)


@settings(deadline=None)
@given(TIMES, st.floats(0.0, 0.01), st.integers(0, 6), st.sampled_from([None, 1, 3]), st.integers(0, 99))
def test_where_time_changes_nothing_the_message_is_the_usual_one(
    seconds: list[float], constant_s: float, cut: int, reach: int | None, seed: int
) -> None:
    here, rng = host(seconds, constant_s, reach), np.random.default_rng(seed)
    tail = rng.uniform(0.0, 0.3, len(seconds) + 1)
    tail[-1] = 0.0
    usual, _ = decide_stops(here, tail)
    assert message(here, np.tile(tail, (len(tail), 1))) == pytest.approx(usual, rel=1e-9, abs=1e-12)
    cut = min(cut, len(seconds))
    assert departures(here, cut) == pytest.approx(all_departures(here)[cut])
    assert departures(here, cut)[cut] == 0.0


def test_what_is_sent_while_the_rate_falls_takes_longer_and_so_does_the_result() -> None:
    charge = Charge(np.array([0.001, 0.001]), np.array([1e6, 1e5]), 0.002, 1e4)
    falls = Foresight(charge, Course([0.0, 0.05], [1e7, 1e6]), Course([0.0, 0.5], [1e6, 1e5]))
    found = falls.tail_s(np.array([0.0, 0.0]), np.array([0.1, 0.2]))
    # 0.5 Mbit before the fall, 0.5 after it; the result, 10 kbit, comes back after the link back has fallen too.
    assert found[0] == pytest.approx(0.05 + 0.5 + 0.001 + 0.1 + 0.002 + 0.1)
    assert found[1] == pytest.approx(0.01 + 0.001 + 0.2 + 0.002 + 0.01)
    later = falls.tail_s(np.array([0.05, 0.05]), np.array([0.1, 0.2]))
    assert later[0] == pytest.approx(1.0 + 0.001 + 0.1 + 0.002 + 0.1)


def test_nothing_comes_of_hosts_that_know_no_way() -> None:
    foresight = Foresight(Charge(np.zeros(2), np.ones(2), 0.0, 1.0), Course([0.0], [1e6]), Course([0.0], [1e6]))
    assert np.isinf(foresight.tail_s(np.zeros(2), np.array([np.inf, 0.0]))).tolist() == [True, False]
