"""Replayed rate traces: the parser, exact serialisation across changes of rate, the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.config.rate_trace import parse_rate_trace
from airloom.errors import ConfigError
from airloom.radio.replay import ReplayedRate, read_rate_trace

rows = st.lists(
    st.tuples(st.floats(0.1, 3), st.sampled_from([0.0, 1e6, 3e6, 8e6, 50e6])), min_size=1, max_size=6
).filter(lambda r: any(rate for _, rate in r))


def replayed(gaps_and_rates: list[tuple[float, float]], origin_s: float = 0.0) -> ReplayedRate:
    starts = np.cumsum([0.0] + [gap for gap, _ in gaps_and_rates[:-1]])
    return ReplayedRate(list(starts), [rate for _, rate in gaps_and_rates], origin_s=origin_s)


def test_serialisation_runs_across_changes_of_rate() -> None:
    rate = ReplayedRate([0, 1, 2], [8e6, 0, 16e6])  # 1 MB/s, nothing, 2 MB/s; a second each
    assert rate.finish_s(0.5, 400_000) == pytest.approx(0.9)
    assert rate.finish_s(0.5, 500_000) == pytest.approx(1.0)  # not 2.0: it left before the outage
    assert rate.finish_s(0.5, 1_500_000) == pytest.approx(2.5)
    assert rate.finish_s(1.5, 100) == pytest.approx(2.00005)
    assert rate.finish_s(2.5, 1_500_000) == pytest.approx(3.5)  # the first row again
    assert rate.finish_s(0.0, 6_000_000) == pytest.approx(6.0)  # two whole loops, 3 MB each
    assert rate.nbytes_between(0.5, 2.5) == pytest.approx(1_500_000)
    assert rate.mean_rate_bps() == pytest.approx(8e6)
    assert [rate.rate_bps(t) for t in (0.0, 0.999, 1.0, 2.0, 3.0)] == [8e6, 8e6, 0, 16e6, 8e6]
    assert [rate.next_change_s(t) for t in (0.0, 1.5, 2.0, 3.2)] == [1.0, 2.0, 3.0, 4.0]


@settings(deadline=None)
@given(rows, st.floats(0, 50), st.floats(1, 3e7), st.floats(-100, 100))
def test_what_leaves_between_start_and_finish_is_what_was_offered(
    trace: list[tuple[float, float]], start_s: float, nbytes: float, origin_s: float
) -> None:
    rate = replayed(trace, origin_s)
    finish = rate.finish_s(start_s, nbytes)
    assert finish >= start_s
    assert rate.nbytes_between(start_s, finish) == pytest.approx(nbytes, rel=1e-6, abs=20)
    assert rate.finish_s(start_s, nbytes / 2) <= finish + 1e-9


@settings(deadline=None, max_examples=30)
@given(rows, st.floats(1, 3e7))
def test_expected_time_is_the_mean_over_starts(trace: list[tuple[float, float]], nbytes: float) -> None:
    rate = replayed(trace, origin_s=7.0)
    starts = 7.0 + (np.arange(1500) + 0.5) / 1500 * rate.period_s
    mean = np.mean([rate.finish_s(s, nbytes) - s for s in starts])
    assert rate.expected_s(nbytes) == pytest.approx(mean, rel=1e-2, abs=1e-2)


def test_expected_time_counts_the_transfers_that_an_outage_interrupts() -> None:
    rate = ReplayedRate([0, 1], [1e6, 0], origin_s=7.0)
    sent = 492 * 8 / 1e6
    assert rate.expected_s(492) == pytest.approx(((1 - sent) * sent + sent * (1 + sent) + 0.5 + sent) / 2)


def test_one_constant_row_is_a_constant_rate() -> None:
    rate = ReplayedRate([5.0], [8e6])
    assert rate.finish_s(123.4, 1_000_000) == pytest.approx(124.4)
    assert rate.expected_s(1_000_000) == pytest.approx(1.0)


def test_the_parser_takes_tabs_commas_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("# second Mbit/s\n1.0\t91.0\n\n2.5, 3\n2.5, 0\n4 12.5\n")
    assert parse_rate_trace(path.read_text(), where="x") == ([1.0, 2.5, 4.0], [91e6, 0.0, 12.5e6])
    rate = read_rate_trace(path, origin_s=100.0)
    assert (rate.rate_bps(100.0), rate.rate_bps(102.0), rate.period_s) == (91e6, 0.0, 4.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n2 fast\n", "t, line 2: expected `second Mbit/s`"),
        ("1 2 3\n", "t, line 1: expected"),
        ("1 2\n0.9 2\n", "t, line 2: seconds must not descend"),
        ("nan 2\n", "seconds must not descend"),
        ("1 -2\n", "t, line 1: a rate must be"),
        ("1 inf\n", "a rate must be"),
        ("1 0\n2 0\n", "at least one row"),
        ("# nothing\n", "at least one row"),
    ],
)
def test_bad_rows_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_rate_trace(text, where="t")


def test_a_file_that_is_not_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is text"):
        read_rate_trace(tmp_path / "binary")
    with pytest.raises(ConfigError, match="cannot read"):
        read_rate_trace(tmp_path / "absent")


@pytest.mark.parametrize("bad", [([], []), ([0.0, 1.0], [1.0]), ([0.0, 0.0], [1.0, 1.0]), ([0.0], [0.0])])
def test_impossible_traces_are_refused(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="trace"):
        ReplayedRate(*bad)
