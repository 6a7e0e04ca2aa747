"""HARQ: what repeats cover, what they leave wrong, and F of Eq. (1)."""

from __future__ import annotations

import itertools
import json
import math
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Channel, Combining
from airloom.radio.nr.bler import bler, snr_for
from airloom.radio.nr.combining import accumulated, buffer, coded_bits, coverage, equivalent_snr_db
from airloom.radio.nr.harq import expected_attempts, further_attempts, independent_repetitions, residual_bler
from airloom.radio.nr.information import bit_information
from airloom.radio.nr.tables import MCS_TABLES, Mcs, mcs
from airloom.radio.nr.tbs import REFERENCE

ROWS = st.sampled_from([row for rows in MCS_TABLES.values() for row in rows])
CHANNELS = st.sampled_from(["awgn", "cdl-c"])
SCHEMES = st.sampled_from(["ir", "chase", "none"])


def test_versions_start_where_38_212_says() -> None:
    """MCS 13: BG1, Z = 352 (22 Z = 7744 >= 7584, filler 160): k0 = 17, 33, 56 Z (Table 5.4.2.1-2), filler skipped."""
    length, sent, starts = buffer(mcs(1, 13), REFERENCE)
    assert length == 66 * 352 - 160
    assert starts == {0: 0, 1: 17 * 352, 2: 33 * 352 - 160, 3: 56 * 352 - 160}
    assert sent == coded_bits(mcs(1, 13), REFERENCE) == 7956 * 2 * 4 // 4


@settings(deadline=None, max_examples=100)
@given(row=ROWS, combining=SCHEMES, attempts=st.integers(1, 16))
def test_every_attempt_sends_its_coded_bits(row: Mcs, combining: Combining, attempts: int) -> None:
    parts = coverage(row, REFERENCE, combining, attempts)
    for attempt in range(attempts):
        assert sum(part.share * part.times[attempt] for part in parts) == pytest.approx(1.0)


def test_four_versions_cover_the_whole_buffer() -> None:
    for row in MCS_TABLES[1][:25]:  # at higher rates some parity is never sent
        assert all(any(part.times) for part in coverage(row, REFERENCE, "ir", 4))


@settings(deadline=None, max_examples=60)
@given(row=ROWS, snr_db=st.floats(-10, 25), attempts=st.integers(1, 16))
def test_new_bits_bring_at_least_what_repeated_ones_do(row: Mcs, snr_db: float, attempts: int) -> None:
    met = np.full((1, attempts), snr_db)
    fresh = float(accumulated(row, REFERENCE, "ir", met)[0])
    repeated = float(accumulated(row, REFERENCE, "chase", met)[0])
    once = float(accumulated(row, REFERENCE, "ir", met[:, :1])[0])
    # Mutual information is nearly concave in the SNR: tables of it are read with half a percent to spare.
    assert fresh >= repeated - 0.005
    assert repeated >= once - 1e-9
    assert fresh <= attempts * once * 1.005 + 1e-9
    assert once <= float(bit_information(row.order, snr_db)) + 1e-9


@settings(deadline=None, max_examples=60)
@given(row=ROWS, combining=SCHEMES, snr_db=st.floats(-15, 25))
def test_one_attempt_is_worth_itself(row: Mcs, combining: Combining, snr_db: float) -> None:
    if 0.02 < float(bit_information(row.order, snr_db)) < 0.98:
        found = float(equivalent_snr_db(row, REFERENCE, combining, np.array([[snr_db]]))[0])
        assert found == pytest.approx(snr_db, abs=0.15)


@settings(deadline=None, max_examples=60)
@given(row=ROWS, channel=CHANNELS, combining=SCHEMES, snr_db=st.floats(-10, 30))
def test_errors_never_rise_with_attempts(row: Mcs, channel: Channel, combining: Combining, snr_db: float) -> None:
    left = residual_bler(row, snr_db, channel=channel, combining=combining)
    assert len(left) == 16
    assert left[0] == bler(row, snr_db, channel)
    assert np.all(np.diff(left) <= 0.0)
    assert np.all((left >= 0.0) & (left <= 1.0))
    assert 1.0 <= expected_attempts(left) <= 16.0


def test_combining_beats_decoding_alone() -> None:
    """At BLER 0.5 over AWGN a second attempt, combined, all but always succeeds; alone it fails half the time."""
    row = mcs(1, 13)
    snr_db = snr_for(row, 0.5)
    assert residual_bler(row, snr_db, combining="none", attempts=3) == pytest.approx([0.5, 0.25, 0.125], rel=1e-6)
    for combining in ("ir", "chase"):
        assert residual_bler(row, snr_db, combining=combining, attempts=2)[1] < 1e-3
    # Below the waterfall new parity is worth more than the same again.
    low = snr_db - 4.0
    assert (
        residual_bler(row, low, combining="ir", attempts=2)[1]
        < residual_bler(row, low, combining="chase", attempts=2)[1]
    )


def test_what_was_counted_of_harq_lies_where_the_model_puts_it() -> None:
    """Half of the counted code blocks fail where the model, its offset taken off, says."""
    raw = json.loads((resources.files("airloom.radio.nr") / "data" / "bler.json").read_text("utf-8"))["harq"]
    assert any(":ir:" in case for case in raw["samples"])
    assert any(":chase:" in case for case in raw["samples"])
    for case, row in raw["samples"].items():
        order, _, combining, attempts = case.split(":")
        penalty = raw["penalty_db"][combining][order]
        offset = penalty[min(int(attempts), len(penalty)) - 1]
        assert row["middle_db"] == pytest.approx(row["model_db"] + offset, abs=0.02), case


def test_the_number_of_attempts_has_bounds() -> None:
    for attempts in (0, 17):
        with pytest.raises(ValueError, match="1 to 16"):
            residual_bler(mcs(1, 13), 10.0, attempts=attempts)


# --- F(r, target) -----------------------------------------------------------------------------------------------


def test_f_without_combining_is_a_logarithm() -> None:
    row = mcs(1, 13)
    assert further_attempts(0.8, 0.5, row, combining="none") == 3  # 0.8^4 = 0.41, 0.8^3 = 0.51
    assert further_attempts(0.5, 0.25, row, combining="none") == 1
    assert further_attempts(0.5, 0.5, row, combining="none") == 0
    assert further_attempts(0.9, 0.01, row, combining="none") is None
    assert independent_repetitions(0.9, 0.01) == 43


@settings(deadline=None, max_examples=60)
@given(
    row=ROWS, channel=CHANNELS, combining=SCHEMES, rate=st.floats(0.0, 1.0), target=st.floats(0.0, 1.0),
    most=st.integers(1, 16),
)  # fmt: skip
def test_f_is_the_least_number_that_is_enough(
    row: Mcs, channel: Channel, combining: Combining, rate: float, target: float, most: int
) -> None:
    n = further_attempts(rate, target, row, channel=channel, combining=combining, most=most)
    if rate <= target:
        assert n == 0
        return
    if n is None:
        if 0.0 < rate < 1.0 and target > 0.0 and combining == "none":
            assert rate**most > target * (1 - 1e-9)
        return
    assert 1 <= n < most
    if combining == "none":
        assert rate ** (n + 1) <= target * (1 + 1e-9) < rate**n * (1 + 1e-6)
        return
    # A tenth of a permille of the rate is lost in looking up its SNR.
    left = residual_bler(row, snr_for(row, min(rate, 1 - 1e-9), channel), channel=channel, combining=combining)
    assert left[n] <= target
    assert left[n - 1] > target or math.isclose(left[n - 1], target, rel_tol=1e-3)


@settings(deadline=None, max_examples=40)
@given(rate=st.floats(0.05, 0.99), targets=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_f_falls_as_more_may_stay_wrong(rate: float, targets: tuple[float, float]) -> None:
    strict, lax = sorted(targets)
    for combining, channel in itertools.product(("ir", "chase"), ("awgn", "cdl-c")):
        n_strict = further_attempts(rate, strict, mcs(1, 13), channel=channel, combining=combining)
        n_lax = further_attempts(rate, lax, mcs(1, 13), channel=channel, combining=combining)
        assert n_strict is not None
        assert n_lax is not None
        assert n_lax <= n_strict


@pytest.mark.parametrize(("rate", "target"), [(-0.1, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 1.5), (math.nan, 0.5)])
def test_f_takes_rates_only(rate: float, target: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        further_attempts(rate, target, mcs(1, 13))
