"""Units: what people write is what Airloom reads, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom import units
from airloom.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12 ms", 0.012), ("0.4s", 0.4), ("250us", 250e-6), ("1e-3 s", 1e-3), ("2 min", 120.0), (0, 0.0), ("0", 0.0)],
)
def test_seconds(text: str | float, seconds: float) -> None:
    assert units.parse_seconds(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "bps"),
    [("50 Mbit/s", 50e6), ("1.5Gbps", 1.5e9), ("64 kbit/s", 64e3), ("1e6bps", 1e6), ("10 bit/s", 10.0)],
)
def test_rate(text: str | float, bps: float) -> None:
    assert units.parse_rate(text) == pytest.approx(bps, rel=1e-15)


def test_sizes_tell_decimal_from_binary() -> None:
    assert units.parse_bytes("1 MB") == 10**6
    assert units.parse_bytes("1 MiB") == 2**20
    assert units.parse_bytes("64 KiB") == 65536


@pytest.mark.parametrize(
    ("parse", "bad", "says"),
    [
        (units.parse_rate, "0", "above 0"),
        (units.parse_rate, -5, "above 0"),
        (units.parse_rate, "5 MB", "Mbit/s"),
        (units.parse_rate, "fast", "Mbit/s"),
        (units.parse_rate, True, "expected a rate"),
        (units.parse_rate, "1e999 Mbit/s", "finite"),
        (units.parse_seconds, "-1 ms", "negative"),
        (units.parse_seconds, math.nan, "finite"),
        (units.parse_bytes, "-1 B", "negative"),
        (units.parse_probability, "105 %", "[0, 1]"),
        (units.parse_probability, -0.1, "[0, 1]"),
        (units.parse_watts, None, "expected a power"),
        (units.parse_rate, 20, "write 20 Mbit/s"),
        (units.parse_rate, " 2e1", "write 2e1 Mbit/s"),
        (units.parse_seconds, 0.004, "write 0.004 ms (or s)"),
        (units.parse_bytes, "512", "write 512 MiB (or B)"),
        (units.parse_watts, 3, "write 3 W"),
        (units.parse_joules, "100", "write 100 nJ (or J)"),
    ],
)
def test_bad_values_name_place_and_remedy(parse, bad, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(bad, where="$.links[2].rate")
    assert str(caught.value).startswith("$.links[2].rate: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.floats(min_value=1e-6, max_value=9e2))
def test_formatted_seconds_parse_back_to_three_digits(seconds: float) -> None:
    assert units.parse_seconds(units.format_seconds(seconds)) == pytest.approx(seconds, rel=0.006)


@given(st.floats(min_value=1.0, max_value=9e11))
def test_formatted_rates_parse_back_to_three_digits(bps: float) -> None:
    assert units.parse_rate(units.format_rate(bps)) == pytest.approx(bps, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (0.9999, "1.00 s"), (0.0009996, "1.00 ms"), (4.2, "4.20 s"), (0, "0 s"), (math.inf, "never")],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


def test_format_bytes() -> None:
    assert [units.format_bytes(n) for n in (0, 40, 1024, 65536, 3 * 2**20)] == [
        "0 B", "40 B", "1.00 KiB", "64.0 KiB", "3.00 MiB",
    ]  # fmt: skip


@pytest.mark.parametrize(("ratio", "said"), [(0.0534, "+5.3 %"), (-0.05, "-5.0 %"), (-1e-6, "0.0 %"), (0.0, "0.0 %")])
def test_deviations_have_a_sign_unless_they_are_nothing(ratio: float, said: str) -> None:
    assert units.format_deviation(ratio) == said


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_dbm, "40 dBm", 40.0),
        (units.parse_dbm, "-90 dBm", -90.0),
        (units.parse_dbi, "24 dBi", 24.0),
        (units.parse_metres, "1.2 km", 1200.0),
        (units.parse_metres, "-5 m", -5.0),
        (units.parse_speed, "36 km/h", 10.0),
        (units.parse_speed, 0, 0.0),
    ],
)
def test_lengths_speeds_and_radio_figures(
    parse: Callable[[str | float], float], text: str | float, value: float
) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(units.parse_metres, -5), (units.parse_metres, 3), (units.parse_speed, 40), (units.parse_speed, "-1 m/s"),
     (units.parse_dbm, 40), (units.parse_dbi, "3 dBm")],
)  # fmt: skip
def test_lengths_speeds_and_radio_figures_need_their_unit(
    parse: Callable[[str | float], float], text: str | float
) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_a_plain_number_is_of_seconds_where_the_name_says_so() -> None:
    assert [units.parse_duration(text) for text in ("8", "8 s", "500 ms", " 1.5 ", 20)] == [8.0, 8.0, 0.5, 1.5, 20.0]
    for bad in ("-8", "8 m", "soon", "nan", "inf"):
        with pytest.raises(ConfigError):
            units.parse_duration(bad, where="--seconds")
