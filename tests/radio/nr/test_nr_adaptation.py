"""Choices of MCS: rates, losses, link adaptation at 10 % BLER, CQI."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import NrRadio
from airloom.radio.nr.adaptation import adapted, choice, cqi, nr_choices, packet_loss, radio_choices, with_mcs
from airloom.radio.nr.bler import bler, snr_for
from airloom.radio.nr.numerology import CARRIER_PRBS, slot_s
from airloom.radio.nr.tables import CQI_TABLES, MCS_TABLES, mcs

RADIOS = st.builds(
    NrRadio,
    snr_db=st.floats(-10, 30),
    channel=st.sampled_from(["awgn", "cdl-c"]),
    mcs_table=st.integers(1, 3),
    attempts=st.sampled_from([1, 2, 4, 16]),
    combining=st.sampled_from(["ir", "chase", "none"]),
)


def test_slots_halve_as_the_spacing_doubles() -> None:
    assert [slot_s(khz) for khz in (15, 30, 60, 120)] == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])
    assert CARRIER_PRBS[30][20] == 51
    with pytest.raises(ValueError, match="15, 30"):
        slot_s(20)


def test_the_reference_radio_carries_60_mbit_s() -> None:
    """30216 bits every 0.5 ms."""
    found = choice(NrRadio(snr_db=30.0, channel="cdl-c", mcs=13), 13)
    assert found.block_bytes == 3777
    assert found.rate_bps == pytest.approx(60.432e6)
    assert found.attempts == 1.0
    assert found.delay_s > 0.0005


@settings(deadline=None, max_examples=20)
@given(radio=RADIOS)
def test_choices_are_those_of_the_table(radio: NrRadio) -> None:
    choices = nr_choices(radio)
    assert [c.mcs for c in choices] == [row.index for row in MCS_TABLES[radio.mcs_table]]
    for c in choices:
        assert 0.0 <= c.block_loss <= c.bler <= 1.0
        assert c.block_loss - 1e-9 <= c.packet_loss <= 1.0
        assert 1.0 <= c.attempts <= radio.attempts
        assert c.rate_bps <= 8 * c.block_bytes / slot_s(radio.scs_khz) / c.attempts * (1 + 1e-9)
    if radio.attempts == 1:
        assert all(c.bler == c.block_loss for c in choices)


@settings(deadline=None, max_examples=20)
@given(radio=RADIOS, index=st.integers(0, 27))
def test_a_set_mcs_is_the_only_choice(radio: NrRadio, index: int) -> None:
    fixed = with_mcs(radio, index)
    assert nr_choices(fixed) == (nr_choices(radio)[index],)
    assert adapted(fixed).mcs == index
    assert with_mcs(fixed, None) == radio


@settings(deadline=None, max_examples=20)
@given(radio=RADIOS)
def test_adaptation_takes_the_fastest_at_10_percent(radio: NrRadio) -> None:
    found, choices = adapted(radio), nr_choices(radio)
    good = [c for c in choices if c.bler <= 0.1]
    if good:
        assert found.bler <= 0.1
        assert found.block_bytes == max(c.block_bytes for c in good)
    else:
        assert found.bler == min(c.bler for c in choices)


@settings(deadline=None, max_examples=20)
@given(radio=RADIOS)
def test_planners_get_no_choice_that_another_beats(radio: NrRadio) -> None:
    choices = radio_choices(radio)
    assert choices
    by_rate = sorted(choices, key=lambda c: c.rate_bps)
    for slow, fast in itertools.pairwise(by_rate):
        assert slow.rate_bps < fast.rate_bps
        assert slow.loss < fast.loss
    kept = {c.mcs: c for c in choices}
    for c in nr_choices(radio):
        if c.mcs in kept or c.packet_loss > 0.999:
            continue
        assert any(k.rate_bps >= c.rate_bps and (k.loss <= c.packet_loss or k.loss < 1e-6) for k in choices), c


def test_conditions_move_the_snr() -> None:
    radio = NrRadio(snr_db=10.0, channel="cdl-c")
    assert nr_choices(radio, snr_db=4.0) == nr_choices(msgspec.structs.replace(radio, snr_db=4.0))
    assert adapted(radio, snr_db=4.0).mcs < adapted(radio).mcs


@settings(deadline=None, max_examples=60)
@given(block=st.integers(1, 400), nbytes=st.integers(1, 1500), loss=st.floats(0, 1))
def test_packet_loss_counts_the_blocks_that_a_packet_touches(block: int, nbytes: int, loss: float) -> None:
    offsets = (np.arange(block) * nbytes) % block  # of a row of packets
    touched = (offsets + nbytes - 1) // block + 1
    assert packet_loss(block, loss, nbytes) == pytest.approx(float(np.mean(1 - (1 - loss) ** touched)), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(table=st.integers(1, 3), snr_db=st.floats(-15, 35))
def test_cqi_is_the_highest_at_10_percent(table: int, snr_db: float) -> None:
    reported = cqi(snr_db, table=table)
    assert 0 <= reported <= 15
    for row in CQI_TABLES[table]:
        same = next(
            m for rows in MCS_TABLES.values() for m in rows if (m.order, m.rate_1024) == (row.order, row.rate_1024)
        )
        if row.index == reported:
            assert bler(same, snr_db) <= 0.1
        if row.index > reported:
            assert bler(same, snr_db) > 0.1
    assert cqi(snr_db + 3.0, table=table) >= reported


def test_cqi_8_asks_for_what_mcs_13_needs() -> None:
    at = snr_for(mcs(1, 13), 0.1)
    assert (cqi(at - 0.05), cqi(at + 0.05)) == (7, 8)
    with pytest.raises(ValueError, match="CQI tables"):
        cqi(10.0, table=4)


def test_a_radio_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="indices 0 to 28"):
        nr_choices(NrRadio(snr_db=10.0, mcs=29))
    with pytest.raises(ValueError, match="MCS tables"):
        nr_choices(NrRadio(snr_db=10.0, mcs_table=4))
    with pytest.raises(ValueError, match="2 layers"):
        nr_choices(NrRadio(snr_db=10.0, channel="cdl-c", mimo_layers=4))
