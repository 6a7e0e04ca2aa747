"""The `nr:` section: what it means, the links that follow from it, and mistakes that name their place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom import units
from airloom.config import dump_topology, parse_topology
from airloom.config.changes import merged, parse_change
from airloom.config.nr import with_radio
from airloom.core.topology import NrRadio, Topology
from airloom.errors import ConfigError
from airloom.radio.nr.adaptation import adapted

HEAD = "source: ue\nsink: gnb\ndevices: [{id: ue, role: ue}, {id: gnb, role: gnb}]\n"


def parsed(nr: str, more: str = "") -> Topology:
    return parse_topology(f"{HEAD}links: [{{from: ue, to: gnb, nr: {nr}, both: true{more}}}]", where="net.yaml")


def test_a_radio_gives_the_link_its_rate_and_loss() -> None:
    link = parsed("{snr: 10 dB, channel: cdl-c, mcs: 13}", ", delay: 2 ms, overhead: 1 ms").links[0]
    assert link.nr == NrRadio(snr_db=10.0, channel="cdl-c", mcs=13)
    assert link.rate_bps == pytest.approx(60.432e6)
    assert 0.15 < link.loss < 0.4  # BLER about 0.2, and packets that lie in two blocks
    assert (link.delay_s, link.overhead_s) == (0.002, 0.001)


def test_an_open_mcs_is_adapted_at_10_percent() -> None:
    link = parsed("{snr: 10 dB, channel: cdl-c}").links[0]
    found = adapted(NrRadio(snr_db=10.0, channel="cdl-c"))
    assert (link.rate_bps, link.loss) == (found.rate_bps, found.packet_loss)
    assert link.nr is not None
    assert link.nr.mcs is None


def test_everything_can_be_said() -> None:
    text = (
        "{snr: -1.5 dB, channel: awgn, prb: 106, scs: 15 kHz, layers: 1, mcs_table: 3, mcs: 4, attempts: 16,"
        ' combining: "none", round_trip: 8 ms, processes: 4, processing: 1 ms}'
    )
    assert parsed(text).links[0].nr == NrRadio(
        snr_db=-1.5, channel="awgn", prb=106, scs_khz=15, mimo_layers=1, mcs_table=3, mcs=4, attempts=16,
        combining="none", round_trip_s=0.008, processes=4, processing_s=0.001,
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    radio=st.builds(
        NrRadio,
        snr_db=st.floats(6, 30).map(lambda x: round(x, 3)),
        channel=st.sampled_from(["awgn", "cdl-c"]),
        prb=st.integers(1, 275),
        scs_khz=st.sampled_from([15, 30, 60, 120]),
        mcs=st.one_of(st.none(), st.integers(0, 5)),
        mcs_table=st.integers(1, 3),
        attempts=st.integers(1, 16),
        combining=st.sampled_from(["ir", "chase", "none"]),
        round_trip_s=st.floats(0, 0.1),
        processes=st.integers(1, 16),
        processing_s=st.floats(0, 0.01),
    )
)
def test_what_is_written_reads_back(radio: NrRadio) -> None:
    first = parsed("{snr: 20 dB, mcs: 0}")
    topology = Topology(devices=first.devices, links=(with_radio(first.links[0], radio),), source="ue", sink="gnb")
    text = dump_topology(topology)
    assert parse_topology(text, result_returns=False) == topology
    assert "rate:" not in text


@pytest.mark.parametrize(
    ("nr", "more", "where", "says"),
    [
        ("{}", "", "$.links[0].nr", "`snr` is missing"),
        ("{snr: 10}", "", "$.links[0].nr.snr", "a ratio in dB needs its unit, got 10: write 10 dB"),
        ("{snr: -3}", "", "$.links[0].nr.snr", "needs its unit, got -3: write -3 dB"),
        ("{snr: loud}", "", "$.links[0].nr.snr", "expected a ratio in dB"),
        ("{snr: 70 dB}", "", "$.links[0].nr.snr", "between -30 and 60 dB"),
        ("{snr: .nan}", "", "$.links[0].nr.snr", "finite"),
        ("{snr: 10 dB, channel: rayleigh}", "", "$.links[0].nr.channel", "awgn|cdl-c|rayleigh"),
        ("{snr: 10 dB, prb: 0}", "", "$.links[0].nr.prb", "1 to 275, got 0"),
        ("{snr: 10 dB, scs: 20 kHz}", "", "$.links[0].nr.scs", "15, 30, 60, 120, 240 kHz"),
        ("{snr: 10 dB, scs: 30}", "", "$.links[0].nr.scs", "a frequency needs its unit"),
        ("{snr: 10 dB, layers: 5}", "", "$.links[0].nr.layers", "1 to 4, got 5"),
        ("{snr: 10 dB, layers: 1, channel: cdl-c}", "", "$.links[0].nr.layers", "2x2 MIMO with 2 layers, got 1"),
        ("{snr: 10 dB, mcs_table: 4}", "", "$.links[0].nr.mcs_table", "1 to 3, got 4"),
        ("{snr: 10 dB, mcs: 29}", "", "$.links[0].nr.mcs", "indices of MCS table 1: 0 to 28, got 29"),
        ("{snr: 10 dB, mcs: 28, mcs_table: 2}", "", "$.links[0].nr.mcs", "0 to 27, got 28"),
        ("{snr: 10 dB, attempts: 0}", "", "$.links[0].nr.attempts", "1 to 16, got 0"),
        ("{snr: 10 dB, attempts: 17}", "", "$.links[0].nr.attempts", "1 to 16, got 17"),
        ("{snr: 10 dB, processes: 17}", "", "$.links[0].nr.processes", "1 to 16, got 17"),
        ("{snr: 10 dB, round_trip: 4}", "", "$.links[0].nr.round_trip", "a time needs its unit"),
        ("{snr: 10 dB, round_trip: 2 s}", "", "$.links[0].nr.round_trip", "more than a second"),
        ("{snr: 10 dB, combining: turbo}", "", "$.links[0].nr.combining", "turbo"),
        ("{snr: 10 dB, colour: red}", "", "$.links[0].nr", "colour"),
        ("{snr: -20 dB}", "", "$.links[0].nr", "nothing gets through with MCS 0 at -20 dB: raise the SNR"),
        ("{snr: 0 dB, mcs: 20}", "", "$.links[0].nr", "or take a lower MCS"),
        ("{snr: 10 dB}", ", rate: 5 Mbit/s", "$.links[0].rate", "follows from its radio: leave it out"),
        ("{snr: 10 dB}", ", loss: 1 %", "$.links[0].loss", "follows from its radio"),
        ("{snr: 10 dB}", ", burst: 5 ms", "$.links[0].burst", "follows from its radio"),
        ("{snr: 10 dB}", ", trace: x.csv", "$.links[0].trace", "follows from its radio"),
    ],
)
def test_a_mistake_names_its_place(nr: str, more: str, where: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(nr, more)
    assert caught.value.where == f"net.yaml: {where}"
    assert any(text in str(caught.value) for text in says.split("|"))
    assert "\n" not in str(caught.value)


def test_conditions_change_an_snr() -> None:
    first = parse_change("link=ue->gnb,snr=4 dB")
    assert first.links[0].snr_db == 4.0
    both = merged(first, parse_change("link=ue->gnb,delay=2 ms"))
    assert (both.links[0].snr_db, both.links[0].delay_s) == (4.0, 0.002)
    with pytest.raises(ConfigError, match="between -30 and 60 dB"):
        parse_change("link=ue->gnb,snr=99 dB")
    with pytest.raises(ConfigError, match="are a link's"):
        parse_change("device=ue,snr=4 dB")


def test_units_of_radios() -> None:
    assert units.parse_decibels("-3.5 dB") == -3.5
    assert units.parse_decibels(0) == 0.0
    assert units.parse_hertz("30 kHz") == 30e3
    assert units.format_decibels(9.96) == "10.0 dB"
    with pytest.raises(ConfigError, match="above 0"):
        units.parse_hertz("-1 kHz")
