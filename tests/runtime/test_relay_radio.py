"""The relay's links over 5G radios: what commands may change, and what not."""

from __future__ import annotations

import pytest

from airloom.core.topology import Link, NrRadio
from airloom.errors import ConfigError
from airloom.radio.nr.link import NrLink
from airloom.runtime.relay_control import SetLink
from airloom.runtime.relay_link import EmulatedLink


def emulated(radio: NrRadio | None) -> EmulatedLink:
    link = Link(src="ue", dst="gnb", rate_bps=50e6, delay_s=0.001, nr=radio)
    return EmulatedLink(link, seed=0, index=0, origin_s=0.0)


def test_the_relay_carries_a_radio_link() -> None:
    link = emulated(NrRadio(snr_db=30.0, channel="cdl-c", mcs=13))
    assert isinstance(link.model, NrLink)
    assert link.offer_datagram(1200, 0.0001) == pytest.approx(0.0005 + 0.0005 + 0.0005 + 0.001)
    link.change(SetLink(src="ue", dst="gnb", snr_db=0.0, delay_s=0.002))
    assert [link.offer_datagram(1200, 0.01) for _ in range(50)] == [None] * 50
    state = link.state(0.0)
    assert (state.snr_db, state.delay_s, state.loss) == (0.0, 0.002, pytest.approx(1.0, abs=1e-3))
    assert state.rate_bps == pytest.approx(60.432e6)
    assert link.stats().lost == 50
    assert link.next_change_s(0.0) is None


@pytest.mark.parametrize(
    ("radio", "change", "says"),
    [
        (NrRadio(snr_db=10.0), SetLink(src="ue", dst="gnb", rate_bps=1e6), "follow from its radio"),
        (NrRadio(snr_db=10.0), SetLink(src="ue", dst="gnb", loss=0.5), "follow from its radio"),
        (NrRadio(snr_db=10.0), SetLink(src="ue", dst="gnb", snr_db=99.0), "between -30 and 60 dB"),
        (None, SetLink(src="ue", dst="gnb", snr_db=9.0), "has no SNR"),
    ],
)
def test_what_a_link_does_not_have_cannot_change(radio: NrRadio | None, change: SetLink, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        emulated(radio).change(change)


def test_same_seed_same_fates() -> None:
    def fates() -> list[float | None]:
        link = emulated(NrRadio(snr_db=9.0, channel="cdl-c", mcs=13))
        return [link.offer_datagram(1200, 0.001 * k) for k in range(200)]

    assert fates() == fates()
    assert None in fates()
