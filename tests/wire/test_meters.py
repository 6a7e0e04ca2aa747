"""Rate, round trip and loss from a link's own traffic."""

from __future__ import annotations

import numpy as np
import pytest

from airloom.wire.meters import DeliveryMeter, LossMeter, RttMeter, TrainMeter

PACKET = 1228


def trains(
    meter: TrainMeter, rate_bps: float, *, count: int, blocks: int = 20, at_s: float = 0.0,
    noise: np.random.Generator | None = None, first: int = 0,
) -> float:  # fmt: skip
    """Feed trains of a link of `rate_bps`, each arrival up to 1 ms late where there is noise."""
    for train in range(first, first + count):
        last = 0.0
        for k in range(blocks):
            at_s += PACKET * 8 / rate_bps
            last = max(last, at_s + (float(noise.random()) * 1e-3 if noise else 0.0))
            meter.arrived(train, k, PACKET, last)
        at_s += 0.01
    meter.close()
    return at_s


@pytest.mark.parametrize("rate_bps", [1e6, 5e7, 4e8])
def test_trains_show_the_links_rate(rate_bps: float) -> None:
    meter = TrainMeter()
    at_s = trains(meter, rate_bps, count=8)
    assert meter.rate_bps(at_s) == pytest.approx(rate_bps, rel=1e-6)


def test_a_hosts_late_timers_cost_little() -> None:
    meter = TrainMeter()
    at_s = trains(meter, 5e7, count=12, noise=np.random.default_rng(1))
    assert meter.rate_bps(at_s) == pytest.approx(5e7, rel=0.15)


def test_one_train_that_was_held_up_changes_little() -> None:
    meter = TrainMeter()
    at_s = trains(meter, 5e7, count=10)
    for k in range(20):
        meter.arrived(99, k, PACKET, at_s + k * 0.0002 + (0.006 if k > 10 else 0))
    meter.close()
    assert meter.rate_bps(at_s + 0.1) == pytest.approx(5e7, rel=0.12)


def test_a_link_that_slowed_down_shows_within_three_trains() -> None:
    meter = TrainMeter()
    at_s = trains(meter, 5e7, count=12)
    at_s = trains(meter, 5e6, count=3, at_s=at_s, first=50)
    assert meter.rate_bps(at_s) == pytest.approx(5e6, rel=0.3)


def test_messages_of_three_blocks_show_a_link_that_slowed_down() -> None:
    meter = TrainMeter()
    noise = np.random.default_rng(2)
    at_s = trains(meter, 2e7, count=12, blocks=3, noise=noise)
    at_s = trains(meter, 2e6, count=8, blocks=3, at_s=at_s, first=50, noise=noise)
    assert meter.rate_bps(at_s) == pytest.approx(2e6, rel=0.3)


def test_a_link_that_recovered_shows() -> None:
    meter = TrainMeter()
    at_s = trains(meter, 5e6, count=12, blocks=4)
    at_s = trains(meter, 5e7, count=12, at_s=at_s, first=50)
    assert meter.rate_bps(at_s) == pytest.approx(5e7, rel=1e-6)


def test_blocks_lost_on_the_way_took_their_time() -> None:
    meter = TrainMeter()
    for k in range(20):
        if k not in (7, 8):
            meter.arrived(1, k, PACKET, k * 0.001)
    meter.close()
    assert meter.rate_bps(1.0) == pytest.approx(PACKET * 8 / 0.001, rel=0.01)


def test_blocks_that_come_at_once_tell_nothing() -> None:
    meter = TrainMeter()
    meter.arrived(1, 0, 54 * PACKET, 1.0, 54)
    meter.close()
    assert meter.rate_bps(1.0) == 0.0


def test_old_trains_are_forgotten() -> None:
    meter = TrainMeter(age_s=10)
    at_s = trains(meter, 5e7, count=4)
    assert meter.rate_bps(at_s + 11) == 0.0


def test_the_smallest_round_trip_of_late_is_the_links() -> None:
    meter = RttMeter(memory_s=10)
    assert meter.least_s is None
    for k in range(5):
        meter.sample(0.020 + 0.004 * (k % 2), 1.0 + k)
    assert meter.least_s == 0.020
    for k in range(30):
        meter.sample(0.030, 11.0 + k)
    assert meter.least_s == 0.030
    assert meter.smoothed_s == pytest.approx(0.030, rel=0.02)


def test_loss_follows_the_link() -> None:
    meter = LossMeter(memory=1000)
    assert meter.loss is None
    meter.add(900, 100)
    assert meter.loss == pytest.approx(0.1)
    for _ in range(50):
        meter.add(100, 0)
    assert meter.loss is not None
    assert meter.loss < 0.01


def test_what_was_delivered_bounds_the_rate_from_below() -> None:
    meter = DeliveryMeter()
    for k in range(5):
        meter.delivered(100 if k else 0, 10_000.0, 0.05 * k, 1e9)
    assert meter.rate_bps == pytest.approx(100 * 10_000 / 0.05)


def test_what_came_all_at_once_counts_no_more_than_the_pace() -> None:
    meter = DeliveryMeter()
    meter.delivered(0, 10_000.0, 0.0, 5e7)
    meter.delivered(1000, 10_000.0, 0.05, 5e7)
    assert meter.rate_bps == 5e7


def test_idle_time_is_no_evidence() -> None:
    meter = DeliveryMeter()
    meter.delivered(0, 10_000.0, 0.0, 1e9)
    meter.restart()
    meter.delivered(10, 10_000.0, 5.0, 1e9)
    assert meter.rate_bps == 0.0


def test_a_slow_link_replaces_what_was_delivered_before() -> None:
    meter = DeliveryMeter(samples=3)
    meter.delivered(0, 10_000.0, 0.0, 1e9)
    for k, blocks in enumerate((250, 250, 25, 25, 25), 1):
        meter.delivered(blocks, 10_000.0, 0.05 * k, 1e9)
    assert meter.rate_bps == pytest.approx(5e6)
