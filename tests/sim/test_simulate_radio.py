"""A simulated network whose first link is a 5G uplink: the same engine, slots, lost blocks, and an SNR that changes."""

from __future__ import annotations

import msgspec
import pytest
from engine_cases import chain_profile, line

from airloom.config.nr import with_radio
from airloom.core.messages import Parcel
from airloom.core.topology import Conditions, LinkState, NrRadio, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.sim.simulate import Arrival, Simulation

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))


def uplink(radio: NrRadio) -> Topology:
    """`line()`, its link ue->gnb over `radio`."""
    topology = line()
    links = tuple(
        with_radio(msgspec.structs.replace(link, burst_s=0.0), radio) if (link.src, link.dst) == ("ue", "gnb") else link
        for link in topology.links
    )
    return msgspec.structs.replace(topology, links=links)


def run(radio: NrRadio, *, seed: int = 0, changes: tuple[Conditions, ...] = ()) -> tuple[Simulation, list[Event]]:
    arrivals = [Arrival(0.3 * k, deadline_s=2.0) for k in range(20)]
    simulation = Simulation(uplink(radio), SMALL, arrivals, changes=list(changes), seed=seed)
    return simulation, simulation.run()


def mean_s(trace: list[Event]) -> float:
    times = [e.took_s for e in trace if e.kind == "result"]
    return sum(times) / len(times)


@pytest.mark.parametrize("radio", [
    NrRadio(snr_db=30.0, channel="cdl-c", mcs=13),
    NrRadio(snr_db=9.0, channel="cdl-c", mcs=13),
    NrRadio(snr_db=9.0, channel="cdl-c", mcs=13, attempts=4),
    NrRadio(snr_db=9.0, channel="cdl-c"),
])  # fmt: skip
def test_every_request_ends_well(radio: NrRadio) -> None:
    simulation, trace = run(radio)
    assert len(simulation.outcomes) == 20
    assert all(isinstance(outcome, Parcel) for (outcome,) in simulation.outcomes.values())
    assert mean_s(trace) < 1.0


def test_same_seed_same_trace() -> None:
    radio = NrRadio(snr_db=9.0, channel="cdl-c", mcs=13, attempts=2)
    first, again = (msgspec.json.encode(run(radio, seed=3)[1]) for _ in range(2))
    assert first == again


def test_an_snr_that_falls_makes_requests_slower() -> None:
    radio = NrRadio(snr_db=30.0, channel="cdl-c", mcs=13)
    falls = Conditions(at_s=0.0, links=(LinkState(src="ue", dst="gnb", snr_db=8.5),))
    assert mean_s(run(radio, changes=(falls,))[1]) > mean_s(run(radio)[1])


def test_conditions_cannot_give_a_radio_link_a_rate() -> None:
    change = Conditions(at_s=0.1, links=(LinkState(src="ue", dst="gnb", rate_bps=1e6),))
    with pytest.raises(ConfigError, match="follow from its radio"):
        run(NrRadio(snr_db=30.0), changes=(change,))
