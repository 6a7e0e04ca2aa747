"""Serialisation at a rate and the bounded buffer."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.radio.queue import LEAST_BUFFER_BYTES, ConstantRate, FifoQueue, default_buffer_bytes

arrivals = st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 1500)), min_size=1, max_size=60)


def test_a_packet_waits_for_those_before_it() -> None:
    queue = FifoQueue(ConstantRate(8e6))  # a byte a microsecond
    assert queue.offer(1000, 0.0) == pytest.approx(0.001)
    assert queue.offer(500, 0.0) == pytest.approx(0.0015)
    assert queue.backlog_bytes(0.001) == pytest.approx(500)
    assert queue.offer(1000, 0.010) == pytest.approx(0.011)
    assert queue.backlog_bytes(0.5) == 0


def test_a_full_buffer_drops_the_packet_that_comes_and_not_those_that_wait() -> None:
    queue = FifoQueue(ConstantRate(8e6), buffer_bytes=2500)
    assert [queue.offer(1000, 0.0) is None for _ in range(3)] == [False, False, True]
    assert queue.offer(500, 0.0) == pytest.approx(0.0025)
    assert queue.offer(1000, 0.0011) is not None  # room for 1000 again, 1.1 ms later


def test_an_idle_link_takes_a_packet_larger_than_its_buffer() -> None:
    assert FifoQueue(ConstantRate(8e6), buffer_bytes=100).offer(1000, 5.0) == pytest.approx(5.001)


def test_an_unlimited_link_neither_delays_nor_drops() -> None:
    queue = FifoQueue(ConstantRate(math.inf))
    assert all(queue.offer(10**9, 1.0) == 1.0 for _ in range(5))
    assert queue.backlog_bytes(0.5) == 0 or math.isinf(queue.backlog_bytes(0.5))


@pytest.mark.parametrize("rate", [0.0, -5.0, math.nan])
def test_a_rate_must_be_positive(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ConstantRate(rate)


def test_the_default_buffer_is_a_fifth_of_a_second_and_never_tiny() -> None:
    assert default_buffer_bytes(50e6) == 1.25e6
    assert default_buffer_bytes(1e3) == LEAST_BUFFER_BYTES


@settings(deadline=None)
@given(arrivals, st.floats(1e5, 1e9), st.integers(1500, 20000))
def test_order_rate_and_buffer_hold_for_any_arrivals(
    packets: list[tuple[float, int]], rate_bps: float, buffer_bytes: int
) -> None:
    queue = FifoQueue(ConstantRate(rate_bps), buffer_bytes=buffer_bytes)
    now, accepted = 0.0, []
    for gap, nbytes in packets:
        now += gap
        left = queue.offer(nbytes, now)
        assert queue.backlog_bytes(now) <= max(buffer_bytes, nbytes) * (1 + 1e-9)
        if left is not None:
            assert left >= now + nbytes * 8 / rate_bps * (1 - 1e-9)
            accepted.append((left, nbytes))
    for (before, _), (after, nbytes) in itertools.pairwise(accepted):
        assert after - before >= nbytes * 8 / rate_bps * (1 - 1e-6)
