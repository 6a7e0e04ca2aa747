"""Block error rates: the SNR convention, monotone curves and their inverse, and a file that says what was counted."""

from __future__ import annotations

import json
import math
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Channel
from airloom.radio.nr.bler import bler, snr_for, tables
from airloom.radio.nr.information import bit_information, snr_of_information
from airloom.radio.nr.tables import MCS_TABLES, Mcs, mcs
from airloom.radio.nr.tbs import Allocation

ROWS = st.sampled_from([row for rows in MCS_TABLES.values() for row in rows])
CHANNELS = st.sampled_from(["awgn", "cdl-c"])


def raw_file() -> tuple[int, dict[str, dict[str, dict[str, object]]]]:
    text = (resources.files("airloom.radio.nr") / "data" / "bler.json").read_text("utf-8")
    return len(text), json.loads(text)


def test_snr_is_that_of_a_layer_of_unit_energy() -> None:
    """2x2 CDL-C, MCS 13 of table 1, 2 layers, SNR = 1/N0: BLER about 1 at 4 dB and about 0.17 at 10 dB."""
    assert bler(mcs(1, 13), 4.0, "cdl-c") > 0.99
    assert bler(mcs(1, 13), 10.0, "cdl-c") == pytest.approx(0.2, abs=0.08)


def test_awgn_waterfalls_lie_where_information_allows() -> None:
    """No code beats the information that the channel carries, and LDPC comes within 2 dB of it."""
    for row in (mcs(1, 5), mcs(1, 13), mcs(1, 22), mcs(2, 24), mcs(3, 0)):
        needed = float(snr_of_information(row.order, row.rate))
        assert needed < snr_for(row, 0.1) < needed + 2.0


@settings(deadline=None, max_examples=150)
@given(row=ROWS, channel=CHANNELS, snr_db=st.floats(-25, 45), more_db=st.floats(0, 10))
def test_more_snr_never_means_more_errors(row: Mcs, channel: Channel, snr_db: float, more_db: float) -> None:
    low, high = bler(row, snr_db, channel), bler(row, snr_db + more_db, channel)
    assert 0.0 <= high <= low + 1e-12
    assert low <= 1.0


@settings(deadline=None, max_examples=40)
@given(row=ROWS, channel=CHANNELS, target=st.floats(0.001, 0.999))
def test_the_inverse_is_one(row: Mcs, channel: Channel, target: float) -> None:
    assert bler(row, snr_for(row, target, channel), channel) == pytest.approx(target, rel=1e-3)


def test_faster_mcs_need_more_snr() -> None:
    for rows in MCS_TABLES.values():
        needed = [snr_for(row, 0.1) for row in rows]
        falls = [
            (a.index, b.index)
            for a, b, x, y in zip(rows, rows[1:], needed, needed[1:], strict=False)
            if y < x and b.order == a.order
        ]
        assert falls == []


def test_more_code_blocks_fail_more_often() -> None:
    row = mcs(1, 13)
    snr_db = snr_for(row, 0.1)
    assert bler(row, snr_db, "awgn", Allocation(prb=200)) > bler(row, snr_db, "awgn", Allocation(prb=51)) > 0.09


def test_fading_is_wider_than_awgn() -> None:
    row = mcs(1, 13)
    steep = snr_for(row, 0.1, "awgn") - snr_for(row, 0.9, "awgn")
    assert snr_for(row, 0.1, "cdl-c") - snr_for(row, 0.9, "cdl-c") > 5 * steep


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="2 layers"):
        bler(mcs(1, 13), 10.0, "cdl-c", Allocation(layers=1))
    with pytest.raises(ValueError, match="finite"):
        bler(mcs(1, 13), math.nan)
    for target in (0.0, 1.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            snr_for(mcs(1, 13), target)


def test_the_file_is_small_and_covers_every_mcs() -> None:
    size, raw = raw_file()
    assert size < 300_000
    for rows in MCS_TABLES.values():
        for row in rows:
            assert (row.order, row.rate_1024) in tables().waterfalls
            assert (row.order, row.rate_1024) in tables().offset_db
    assert {"made_with", "snr", "samples", "reference"} <= raw.keys()


def test_what_was_counted_lies_about_the_curves() -> None:
    """Every curve said to be simulated agrees with its counts, within twice their confidence intervals."""
    _, raw = raw_file()
    for key, row in raw["awgn"].items():
        order, rate = key.split(":")
        curve = tables().waterfalls[int(order), float(rate)]
        samples = row["samples"]
        assert isinstance(samples, list)
        assert (row["kind"] == "simulated") == (sum(n for _, _, n, _, _ in samples) >= 140)
        for snr_db, errors, blocks, low, high in samples:
            assert 0 <= errors <= blocks
            assert low - 1e-9 <= errors / blocks <= high + 1e-9
            slack = high - low
            assert low - slack <= float(curve.error_rate(snr_db)) <= high + slack, (key, snr_db)
    counted = 0
    for key, row in raw["cdl-c"]["mcs"].items():
        if row["kind"] != "simulated":
            continue
        order, rate = key.split(":")
        found = next(
            r for rows in MCS_TABLES.values() for r in rows if (r.order, r.rate_1024) == (int(order), float(rate))
        )
        for snr_db, _, blocks, low, high in row["samples"]:
            slack = high - low
            assert low - slack <= bler(found, snr_db, "cdl-c") <= high + slack, (key, snr_db)
            counted += blocks
    assert counted >= 1000


# Capacity of BPSK over AWGN is 0.4859 bit at Es/N0 of 0 dB per QPSK bit (each carries half the energy).
def test_information_of_qpsk() -> None:
    assert float(bit_information(2, 0.0)) == pytest.approx(0.4859, abs=2e-3)


@settings(deadline=None, max_examples=60)
@given(order=st.sampled_from([2, 4, 6, 8]), snr_db=st.floats(-20, 25), more_db=st.floats(0.6, 5))
def test_information_rises_with_snr_and_reads_both_ways(order: int, snr_db: float, more_db: float) -> None:
    low, high = float(bit_information(order, snr_db)), float(bit_information(order, snr_db + more_db))
    assert 0.0 <= low <= high <= 1.0
    shannon = np.log2(1 + 10 ** (snr_db / 10)) / order
    assert low <= shannon + 1e-3
    if 0.01 < low < 0.99:
        assert float(snr_of_information(order, low)) == pytest.approx(snr_db, abs=1e-6)
