"""Path loss, noise, SNR and bit rate against values worked out by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from airloom.core.scenario import Antenna
from airloom.radio.cell.friis import noise_dbm, path_loss_db, reach_m, snr_db
from airloom.radio.cell.throughput import throughput
from airloom.radio.nr.adaptation import cqi
from airloom.radio.nr.numerology import carrier_prbs

MMWAVE = Antenna(carrier_hz=28e9, bandwidth_hz=50e6, loss_db=10.0)
SUB6 = Antenna(carrier_hz=3.5e9, bandwidth_hz=10e6, scs_khz=15, mcs_table=2)


def test_path_loss_is_32_4_db_at_a_kilometre_and_a_megahertz() -> None:
    # ITU-R P.525: 32.45 + 20 log10 f/MHz + 20 log10 d/km.
    assert path_loss_db(1000.0, 1e6) == pytest.approx(32.45, abs=0.01)
    assert path_loss_db(200.0, 28e9) == pytest.approx(32.45 + 88.94 - 13.98, abs=0.02)


def test_path_loss_rises_6_db_with_twice_the_distance_and_stops_at_a_metre() -> None:
    assert path_loss_db(400.0, 28e9) - path_loss_db(200.0, 28e9) == pytest.approx(6.0206, abs=1e-3)
    assert path_loss_db(0.0, 28e9) == path_loss_db(1.0, 28e9)


def test_noise_is_minus_174_dbm_a_hertz() -> None:
    assert noise_dbm(1.0) == pytest.approx(-173.98, abs=0.01)
    assert noise_dbm(50e6, 7.0) == pytest.approx(-173.98 + 76.99 + 7.0, abs=0.01)


def test_snr_by_hand() -> None:
    # 40 dBm - 107.41 dB - 10 dB + 89.99 dBm
    assert snr_db(MMWAVE, 200.0) == pytest.approx(12.57, abs=0.03)


def test_reach_is_where_the_snr_is_the_least() -> None:
    metres = reach_m(MMWAVE)
    assert snr_db(MMWAVE, metres) == pytest.approx(MMWAVE.min_snr_db, abs=1e-9)


def test_carriers_of_38_101() -> None:
    assert (carrier_prbs(120, 50), carrier_prbs(120, 100), carrier_prbs(30, 100), carrier_prbs(15, 10)) == (
        32,
        66,
        273,
        52,
    )
    with pytest.raises(ValueError, match="50, 100, 200, 400 MHz"):
        carrier_prbs(120, 60)


def test_cqi_is_that_of_link_adaptation() -> None:
    table = throughput(MMWAVE)
    for at_db in np.arange(-12.0, 28.0, 0.73):
        assert table.cqi(at_db) == cqi(float(at_db), table=1)


@pytest.mark.parametrize(("antenna", "most_bps"), [(MMWAVE, 221.25e6), (SUB6, 60.3e6)])
def test_rates_rise_with_the_snr_to_the_highest_mcs(antenna: Antenna, most_bps: float) -> None:
    table = throughput(antenna)
    rates = table.rate_bps(np.linspace(-20.0, 40.0, 200))
    assert (np.diff(rates) >= 0.0).all()
    assert rates[0] == 0.0
    # 32 PRB x 156 RE x 5.55 bit in 125 us; 52 x 156 x 7.41 in 1 ms: to the standard's block sizes.
    assert rates[-1] == pytest.approx(most_bps, rel=0.005)


def test_no_such_carrier() -> None:
    with pytest.raises(ValueError, match="carriers"):
        throughput(msgspec.structs.replace(MMWAVE, bandwidth_hz=60e6))
