"""Forecasts of a link's rate: what all of them keep, what each of them learns, and how they do on recorded links."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.forecast import METHODS, ForecastPolicy
from airloom.errors import ConfigError
from airloom.radio.forecast.autoregressive import Autoregressive
from airloom.radio.forecast.forecaster import Forecaster
from airloom.radio.forecast.kalman import Kalman
from airloom.radio.forecast.methods import METHODS as TABLE
from airloom.radio.forecast.methods import forecaster
from airloom.radio.forecast.oracle import Oracle
from airloom.radio.forecast.simple import Ewma, LastValue

EVERY = [*(ForecastPolicy(method=method) for method in METHODS), ForecastPolicy(method="kalman", trend=True)]
NAMES = [f"{policy.method}{'+trend' if policy.trend else ''}" for policy in EVERY]
OBSERVATIONS = st.lists(st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 1e12)), max_size=40)


def test_every_method_has_a_forecaster() -> None:
    assert set(TABLE) == set(METHODS)


@pytest.mark.parametrize("policy", EVERY, ids=NAMES)
@given(seen=OBSERVATIONS, ahead_s=st.floats(-1.0, 1e4), first=st.sampled_from([0.0, 5e6, math.inf]))
@settings(max_examples=150, deadline=None)
def test_forecasts_lie_between_what_was_observed(
    policy: ForecastPolicy, seen: list[tuple[float, float]], ahead_s: float, first: float
) -> None:
    made, now_s = forecaster(policy, first), 100.0
    assert made.predict(now_s + ahead_s) == first
    for gap_s, rate in seen:
        now_s += gap_s
        made.observe(now_s, rate)
        rates = [rate for _, rate in seen]
        assert min(rates) <= made.predict(now_s + ahead_s) <= max(rates)


@pytest.mark.parametrize("policy", EVERY, ids=NAMES)
@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_an_impossible_rate_is_refused(policy: ForecastPolicy, rate: float) -> None:
    made = forecaster(policy, 1e6)
    with pytest.raises(ValueError, match="finite and at least 0"):
        made.observe(0.0, rate)
    assert made.predict(1.0) == 1e6


@pytest.mark.parametrize("policy", EVERY, ids=NAMES)
def test_a_link_that_holds_still_is_forecast_exactly(policy: ForecastPolicy) -> None:
    made = forecaster(policy, 1e9)
    for k in range(500):
        made.observe(0.01 * k, 3e7)
    assert made.predict(6.0) == pytest.approx(3e7, rel=1e-9)


@pytest.mark.parametrize("policy", EVERY, ids=NAMES)
def test_memory_does_not_grow(policy: ForecastPolicy) -> None:
    def size(value: object) -> int:
        if isinstance(value, np.ndarray):
            return value.nbytes
        inner = getattr(value, "__dict__", None)
        return 8 if inner is None else sum(size(one) for one in inner.values())

    made, rng = forecaster(policy, 1e6), np.random.default_rng(0)
    sizes = []
    for k in range(3000):
        made.observe(0.05 * k, float(rng.uniform(1e6, 1e8)))
        if k in (300, 2999):
            sizes.append(size(made))
    assert sizes[0] == sizes[1]


def test_the_mean_forgets_by_time_not_by_samples() -> None:
    often, rarely = Ewma(0.0, tau_s=1.0), Ewma(0.0, tau_s=1.0)
    often.observe(0.0, 0.0)
    rarely.observe(0.0, 0.0)
    for k in range(1, 101):
        often.observe(0.02 * k, 8e6)
    rarely.observe(2.0, 8e6)
    assert often.predict(3.0) == pytest.approx(8e6 * (1 - math.exp(-2.0)), rel=1e-9)
    assert rarely.predict(3.0) == pytest.approx(often.predict(3.0), rel=1e-9)


def autoregressive_rates(rng: np.random.Generator, count: int, a: float, spread: float) -> list[float]:
    y, rates = 0.0, []
    for _ in range(count):
        y = a * y + spread * float(rng.standard_normal())
        rates.append(5e7 * math.exp(y))
    return rates


def errors(made: Forecaster, rates: list[float], tick_s: float, steps: int, warm: int) -> float:
    """Root mean square error of the logarithm, `steps` ticks ahead, after the first `warm` ticks."""
    found = []
    for k, rate in enumerate(rates):
        made.observe(k * tick_s, rate)
        if warm <= k < len(rates) - steps:
            predicted = max(made.predict((k + steps) * tick_s), 1e3)
            found.append(math.log(predicted) - math.log(max(rates[k + steps], 1e3)))
    return math.sqrt(math.fsum(e * e for e in found) / len(found))


def test_autoregression_learns_a_rate_that_returns_to_its_mean() -> None:
    rates = autoregressive_rates(np.random.default_rng(1), 3000, 0.8, 0.3)
    learned, last = Autoregressive(1e6, tick_s=0.05), LastValue(1e6)
    # The best possible one step ahead is 0.3; the last value's is 0.3 * sqrt(2 / 1.8).
    assert errors(learned, rates, 0.05, 1, 500) < 0.31
    ahead = errors(Autoregressive(1e6, tick_s=0.05), rates, 0.05, 4, 500)
    assert ahead < 0.85 * errors(last, rates, 0.05, 4, 500)


def test_the_filter_learns_how_noisy_measurements_are() -> None:
    rng = np.random.default_rng(2)
    level = np.cumsum(0.02 * rng.standard_normal(3000))
    seen = [5e7 * math.exp(y + 0.3 * e) for y, e in zip(level, rng.standard_normal(3000), strict=True)]
    made = Kalman(1e6)
    error, last = [], []
    for k, rate in enumerate(seen[:-1]):
        made.observe(0.05 * k, rate)
        truth = math.log(5e7) + level[k + 1]
        if k > 500:
            error.append(math.log(made.predict(0.05 * (k + 1))) - truth)
            last.append(math.log(rate) - truth)
    assert np.std(error) < 0.5 * np.std(last)
    measurement, walk = made.noises
    assert measurement == pytest.approx(0.09, rel=0.4)
    assert walk * 0.05 < 0.01


def test_a_trend_runs_ahead_of_a_steady_rise() -> None:
    level, slope = Kalman(1e6), Kalman(1e6, trend=True, fade_s=5.0)
    for k in range(200):
        for made in (level, slope):
            made.observe(0.05 * k, 1e6 * math.exp(0.01 * k))
    truth = 1e6 * math.exp(0.01 * 199)  # what comes next is beyond what was seen, so neither may say it
    assert abs(slope.predict(199 * 0.05) - truth) <= abs(level.predict(199 * 0.05) - truth) + 1.0
    for k in range(200, 230):
        for made in (level, slope):
            made.observe(0.05 * k, truth * math.exp(-0.03 * (k - 199)))
    later = truth * math.exp(-0.03 * 34)
    assert abs(slope.predict(233 * 0.05) - later) < abs(level.predict(233 * 0.05) - later)


def test_an_oracle_errs_as_much_as_it_is_told() -> None:
    rng = np.random.default_rng(3)
    exact, rough = Oracle(lambda at_s: 1e6 * at_s, 0.0, rng), Oracle(lambda at_s: 1e6 * at_s, 0.2, rng)
    assert exact.predict(7.0) == 7e6
    drawn = np.array([rough.predict(7.0) for _ in range(4000)]) / 7e6
    assert abs(drawn.mean() - 1.0) < 0.02
    assert drawn.std() == pytest.approx(0.2, rel=0.05)
    assert min(Oracle(lambda at_s: 1e6, 3.0, rng).predict(0.0) for _ in range(200)) == 0.0
    with pytest.raises(ValueError, match="at least 0"):
        Oracle(lambda at_s: 1.0, -0.1, rng)


@pytest.mark.parametrize("wrong", [{"gaps": 0}, {"tau_s": 0.0}, {"tick_s": -1.0}, {"order": 17}, {"forget": 0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ForecastPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LastValue(math.nan),
        lambda: Ewma(1.0, tau_s=0.0),
        lambda: Autoregressive(1.0, order=0),
        lambda: Kalman(1.0, fade_s=0.0),
    ],
)
def test_forecasters_refuse_what_they_cannot_work_with(make: Callable[[], Forecaster]) -> None:
    with pytest.raises(ValueError):
        make()


TRACES = Path(__file__).parents[4] / "shared" / "data" / "traces"


def recorded(folder: str, most: int) -> list[list[float]]:
    if not TRACES.is_dir():
        pytest.skip(f"the recorded traces are not at {TRACES}")
    found = []
    for path in sorted((TRACES / folder).iterdir())[:most]:
        rows = np.loadtxt(path, ndmin=2)
        if len(rows) >= 120:
            found.append((rows[:, 1] * 1e6).tolist())
    return found


@pytest.mark.long
@pytest.mark.parametrize("folder", ["lumos5g-4g", "lumos5g-5g"])
def test_learned_forecasts_beat_the_last_value_on_recorded_links_some_seconds_ahead(folder: str) -> None:
    traces = recorded(folder, 40)
    assert len(traces) >= 10
    for steps, gain in ((1, 1.05), (5, 0.95)):
        error = {}
        for policy in EVERY:
            tuned = ForecastPolicy(method=policy.method, tick_s=1.0, tau_s=3.0, trend=policy.trend)
            found = [errors(forecaster(tuned, 1e6), rates, 1.0, steps, 30) for rates in traces]
            error[policy.method, policy.trend] = float(np.mean(found))
        best = min(error["autoregressive", False], error["kalman", False], error["ewma", False])
        assert best < gain * error["last", False], (steps, error)
        print(folder, steps, {name: round(value, 3) for name, value in error.items()})
