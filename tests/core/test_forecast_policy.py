"""Forecasts as text: what is written is read back, what is no forecast names its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.core.forecast import METHODS, WHENS, ForecastPolicy, parse_forecast
from airloom.errors import ConfigError

TIMES = st.floats(1e-6, 3600.0)


@given(
    st.builds(
        ForecastPolicy, method=st.sampled_from(METHODS), when=st.sampled_from(WHENS),
        coherence_s=st.none() | TIMES, gaps=st.integers(1, 4096), tau_s=TIMES, tick_s=TIMES,
        order=st.integers(1, 16), forget=st.floats(0.5, 1.0), trend=st.booleans(),
    )
)  # fmt: skip
def test_a_policy_survives_its_text(policy: ForecastPolicy) -> None:
    assert parse_forecast(policy.text) == policy


def test_units_and_blanks() -> None:
    read = parse_forecast("kalman, trend, when=within, coherence=50 ms")
    assert read == ForecastPolicy(method="kalman", trend=True, when="within", coherence_s=0.05)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("magic", "no method 'magic'"), ("", "no method ''"), ("ewma,tau", "no setting 'tau'"),
        ("ewma,tau=-1s", "negative"), ("ewma,tau=0.2", "unit"), ("ewma,when=never", "no rule 'never'"),
        ("last,gaps=1.5", "whole number"), ("last,gaps=0", "gaps of a forecast"), ("last,trend=yes", "no setting"),
    ],
)  # fmt: skip
def test_what_is_no_forecast_is_one_line_that_names_the_option(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        parse_forecast(text)
    assert str(caught.value).startswith("--forecast: ")
    assert "\n" not in str(caught.value)
