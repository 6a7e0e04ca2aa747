"""Composed links: law 5, the mean of many offers is what planners price with; fragments; changes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Link
from airloom.radio.erasure import Erasure
from airloom.radio.gilbert_elliott import GilbertElliott
from airloom.radio.link import IdealLink, LinkModel, ip_packets, link_model, loss_process, offer_datagram
from airloom.radio.queue import ConstantRate, FifoQueue


def arrivals(model: LinkModel, packets: int, nbytes: int, gap_s: float, seed: int) -> list[float | None]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(packets):
        arrival = model.offer(nbytes, i * gap_s, rng)
        out.append(None if arrival is None else arrival - i * gap_s)
    return out


@settings(deadline=None, max_examples=25)
@given(
    rate_bps=st.sampled_from([1e6, 50e6, math.inf]),
    delay_s=st.floats(0, 0.1),
    overhead_s=st.floats(0, 0.01),
    loss=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    burst_s=st.sampled_from([0.0, 0.005, 0.05]),
    seed=st.integers(0, 2**32),
)
def test_monte_carlo_mean_converges_to_expected(
    rate_bps: float, delay_s: float, overhead_s: float, loss: float, burst_s: float, seed: int
) -> None:
    link = Link(src="a", dst="b", rate_bps=rate_bps, delay_s=delay_s, overhead_s=overhead_s, loss=loss, burst_s=burst_s)
    model = link_model(link)
    seen = arrivals(model, packets=3000, nbytes=1200, gap_s=max(0.02, 2 * burst_s), seed=seed)
    arrived = [a for a in seen if a is not None]
    # Gaps of two bursts or more leave a correlation below 0.14: 6 sigma of that.
    sigma = math.sqrt(loss * (1 - loss) / len(seen) * 1.32)
    assert abs(seen.count(None) / len(seen) - model.expected_loss) <= 6 * sigma
    if arrived:
        assert np.mean(arrived) == pytest.approx(model.expected_transfer_s(1200), rel=1e-9, abs=1e-9)


def test_a_traced_link_converges_to_its_mean_over_time(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("0 2\n1 20\n3 5\n")
    model = link_model(Link(src="a", dst="b", rate_bps=1e6, delay_s=0.01, trace=str(trace)))
    # The golden ratio spreads the starts evenly over the trace's four seconds.
    seen = arrivals(model, packets=4000, nbytes=30_000, gap_s=(math.sqrt(5) - 1) / 2 * 4, seed=0)
    assert np.mean([a for a in seen if a is not None]) == pytest.approx(model.expected_transfer_s(30_000), rel=0.01)


def test_a_lost_packet_has_taken_its_share_of_the_rate() -> None:
    model = link_model(Link(src="a", dst="b", rate_bps=8e6, loss=1.0))
    assert model.offer(1000, 0.0, np.random.default_rng(0)) is None
    model.loss = Erasure(0.0)
    assert model.offer(1000, 0.0, np.random.default_rng(0)) == pytest.approx(0.002)
    assert (model.lost, model.overflowed, model.cut_off) == (1, 0, 0)


def test_causes_of_loss_are_counted_apart() -> None:
    model = link_model(Link(src="a", dst="b", rate_bps=8e6), buffer_bytes=1500)
    rng = np.random.default_rng(0)
    assert model.offer(1000, 0.0, rng) is not None
    assert model.offer(1000, 0.0, rng) is None
    model.up = False
    assert model.offer(1000, 1.0, rng) is None
    assert (model.lost, model.overflowed, model.cut_off) == (0, 1, 1)
    assert model.expected_loss == 1.0
    assert model.expected_transfer_s(1) == math.inf


def test_a_new_rate_acts_on_later_packets_and_keeps_their_order() -> None:
    model, rng = link_model(Link(src="a", dst="b", rate_bps=8e6)), np.random.default_rng(0)
    first = model.offer(10_000, 0.0, rng)
    model.queue.schedule = ConstantRate(0.8e6)
    second = model.offer(1000, 0.001, rng)
    assert first == pytest.approx(0.010)
    assert second == pytest.approx(0.020)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01]))
def test_same_seed_same_fates(seed: int, burst_s: float) -> None:
    link = Link(src="a", dst="b", rate_bps=10e6, loss=0.2, burst_s=burst_s)
    first, second = (arrivals(link_model(link), 200, 1200, 0.001, seed) for _ in range(2))
    assert first == second


def test_the_ideal_link_only_delays() -> None:
    model = IdealLink(0.02)
    assert model.offer(10**9, 1.0, np.random.default_rng(0)) == 1.02
    assert (model.expected_loss, model.expected_transfer_s(5)) == (0.0, 0.02)


def test_bursts_need_a_loss_that_is_not_certain() -> None:
    assert isinstance(loss_process(0.05, 0.005), GilbertElliott)
    assert all(isinstance(loss_process(*p), Erasure) for p in [(0.05, 0.0), (0.0, 0.005), (1.0, 0.005)])
    with pytest.raises(ValueError, match="probability"):
        Erasure(1.5)


@pytest.mark.parametrize(
    ("payload", "packets"),
    [(1200, (1228,)), (1472, (1500,)), (1473, (1500, 21)), (3777, (1500, 1500, 845)), (0, (28,))],
)
def test_a_datagram_is_the_packets_that_ipv4_makes_of_it(payload: int, packets: tuple[int, ...]) -> None:
    assert ip_packets(payload) == packets
    assert sum(packets) - 20 * len(packets) == payload + 8


def test_a_datagram_of_three_fragments_is_lost_with_any_of_them() -> None:
    """5 % packet loss became 15 % block loss for datagrams of 3777 bytes."""
    model, rng = link_model(Link(src="a", dst="b", rate_bps=math.inf, loss=0.05)), np.random.default_rng(0)
    lost = np.mean([offer_datagram(model, 3777, 0.0, rng) is None for _ in range(20_000)])
    assert lost == pytest.approx(1 - 0.95**3, abs=0.01)


def test_a_fragmented_datagram_arrives_with_its_last_piece() -> None:
    model = link_model(Link(src="a", dst="b", rate_bps=8e6, delay_s=0.01))
    arrival = offer_datagram(model, 3777, 0.0, np.random.default_rng(0))
    assert arrival == pytest.approx(0.01 + (3777 + 8 + 60) / 1e6)
    assert isinstance(model.queue, FifoQueue)
