"""How long a rate holds, and when that makes a forecast worth while: both readings of the paper."""

from __future__ import annotations

import pytest

from airloom.core.forecast import WHENS
from airloom.radio.forecast.coherence import Coherence, is_worth


@pytest.mark.parametrize("hold_s", [0.01, 0.05, 0.4])
def test_a_rate_that_steps_every_so_often_is_coherent_for_that_long(hold_s: float) -> None:
    seen = Coherence()
    for k in range(1000):
        seen.observe(k * hold_s / 10, 1e6 * (1 + k // 10 % 3))
    assert seen.time_s == pytest.approx(hold_s, rel=1e-6)


def test_nothing_is_known_before_the_first_change_and_a_long_stretch_counts() -> None:
    seen = Coherence(change=0.2)
    for at_s, rate in ((0.0, 1e6), (1.0, 1.1e6), (2.0, 1e6)):
        seen.observe(at_s, rate)
        assert seen.time_s is None
    seen.observe(3.0, 2e6)
    assert seen.time_s == 3.0
    seen.observe(10.0, 2e6)
    assert seen.time_s == 7.0
    with pytest.raises(ValueError, match="above 0"):
        Coherence(change=0.0)


@pytest.mark.parametrize(
    ("ahead_s", "coherence_s", "worth"),
    [
        (0.01, 0.05, {"within", "always"}),  # the last value still holds, and all can be known
        (0.20, 0.05, {"beyond", "always"}),  # the last value is of no use, and little can be known
        (0.05, 0.05, {"beyond", "within", "always"}),
        (0.05, None, {"always"}),
    ],
)
def test_both_readings_of_the_coherence_rule(ahead_s: float, coherence_s: float | None, worth: set[str]) -> None:
    assert {when for when in WHENS if is_worth(when, ahead_s, coherence_s)} == worth
