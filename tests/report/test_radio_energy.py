"""Energy of radios in reports: at the rate that a link had when a message left, or will have after an outage."""

from __future__ import annotations

import pytest

from airloom.core.topology import Device, Link, Power, Topology
from airloom.report.costs import energy_j
from airloom.report.series import Sending, Series

TOPOLOGY = Topology(
    devices=(
        Device(id="ue", role="ue", power=Power(send_w=((1e6, 2.0),), receive_w=((1e6, 1.0),))),
        Device(id="gnb", role="gnb"),
    ),
    links=(Link(src="ue", dst="gnb", rate_bps=8e6), Link(src="gnb", dst="ue", rate_bps=8e6)),
    source="ue",
    sink="gnb",
)


def series(rates: list[tuple[float, float | None]]) -> Series:
    return Series(
        chain=("ue", "gnb"),
        sendings=[Sending(0, 1.0, "ue", "gnb", "task", 1_000_000), Sending(0, 1.0, "gnb", "ue", "result", 1_000_000)],
        set_rates={("ue", "gnb"): rates, ("gnb", "ue"): rates},
    )


@pytest.mark.parametrize(
    ("rates", "holds_bps"),
    [
        ([], 8e6),
        ([(0.5, 4e6), (2.0, 1e6)], 4e6),
        ([(0.5, 0.0), (2.0, 1e6)], 1e6),
        ([(0.5, 0.0), (2.0, None)], 8e6),
        ([(0.5, 0.0)], 8e6),
    ],
)
def test_a_message_takes_what_its_rate_takes(rates: list[tuple[float, float | None]], holds_bps: float) -> None:
    found = energy_j(TOPOLOGY, series(rates))
    assert found == {"ue": pytest.approx(3.0 * 8e6 / holds_bps)}
