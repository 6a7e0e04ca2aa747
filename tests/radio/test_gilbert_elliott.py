"""Bursts in continuous time: long-run loss, burst length, memory, independence of the traffic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.radio.gilbert_elliott import GilbertElliott, bad_given_bad


def states(process: GilbertElliott, times: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([process.bad(float(t), rng) for t in times])


@settings(deadline=None, max_examples=15)
@given(loss=st.floats(0.02, 0.6), burst_s=st.floats(0.001, 0.1), seed=st.integers(0, 2**32))
def test_long_run_loss_converges_to_expected(loss: float, burst_s: float, seed: int) -> None:
    process = GilbertElliott(loss=loss, burst_s=burst_s)
    times = np.arange(20_000) * burst_s
    # Samples a burst apart are correlated by exp(-1 / (1 - loss)) at most: allow 6 sigma of that.
    rho = np.exp(-1 / (1 - loss))
    sigma = np.sqrt(loss * (1 - loss) / len(times) * (1 + rho) / (1 - rho))
    assert abs(states(process, times, seed).mean() - process.expected_loss) < 6 * sigma


def test_bursts_and_gaps_last_as_long_as_asked() -> None:
    loss, burst_s = 0.05, 0.005
    bad = states(GilbertElliott(loss=loss, burst_s=burst_s), np.arange(400_000) * 0.0005, seed=1)
    changes = np.flatnonzero(np.diff(bad.astype(int)))
    bursts = len(changes) / 2
    assert bad.sum() * 0.0005 / bursts == pytest.approx(burst_s, rel=0.12)
    assert (~bad).sum() * 0.0005 / bursts == pytest.approx(burst_s * 19, rel=0.12)


def test_memory_fades_as_the_formula_says() -> None:
    loss, burst_s, after_s = 0.2, 0.01, 0.006
    bad = states(GilbertElliott(loss=loss, burst_s=burst_s), np.arange(200_000) * after_s, seed=2)
    again = bad[1:][bad[:-1]].mean()
    assert again == pytest.approx(bad_given_bad(loss=loss, burst_s=burst_s, after_s=after_s), abs=0.02)
    assert bad_given_bad(loss=loss, burst_s=burst_s, after_s=0.0) == 1.0
    assert bad_given_bad(loss=loss, burst_s=burst_s, after_s=10.0) == pytest.approx(loss)


def test_an_idle_link_recovers() -> None:
    rng = np.random.default_rng(3)
    process = GilbertElliott(loss=0.01, burst_s=0.005)
    now, recovered = 0.0, 0
    for _ in range(50):
        while not process.bad(now, rng):
            now += 0.002
        now += 1.0  # silence: two hundred bursts long
        recovered += not process.bad(now, rng)
    assert recovered >= 45


def test_same_seed_same_bursts_whatever_the_traffic() -> None:
    sparse, dense = np.arange(0, 5, 0.01), np.arange(0, 5, 0.001)
    few = states(GilbertElliott(loss=0.1, burst_s=0.02), sparse, seed=4)
    many = states(GilbertElliott(loss=0.1, burst_s=0.02), dense, seed=4)
    assert few.any()
    assert (few == many[::10]).all()


def test_a_year_of_silence_costs_nothing() -> None:
    process, rng = GilbertElliott(loss=0.05, burst_s=0.001), np.random.default_rng(5)
    seen = [process.bad(year * 3.2e7, rng) for year in range(2000)]
    assert np.mean(seen) == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize(("loss", "burst_s"), [(0.0, 0.1), (1.0, 0.1), (-0.1, 0.1), (0.5, 0.0), (0.5, -1.0)])
def test_impossible_bursts_are_refused(loss: float, burst_s: float) -> None:
    with pytest.raises(ValueError, match="burst"):
        GilbertElliott(loss=loss, burst_s=burst_s)
