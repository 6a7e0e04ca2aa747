"""What a scenario in real processes replays: the rates that the simulation plays, as traces of its links."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from scenes import moving

from airloom.playing.real import emulated, rate_rows
from airloom.radio.cell.network import ScenarioNetwork
from airloom.radio.replay import read_rate_trace
from airloom.runtime.relay_link import EmulatedLink


def test_traces_replay_the_rates_that_the_simulation_plays(tmp_path: Path) -> None:
    scenario, net = emulated(moving(3), 5.0, tmp_path)
    assert [ue.id for ue in scenario.ues] == ["ue"]
    network = ScenarioNetwork(scenario)
    links = {(link.src, link.dst): link for link in net.links}
    traces = {key: read_rate_trace(Path(links[key].trace)) for key in network.links if key in links}
    for tick in range(100):
        rates = dict(zip(network.links, network.rates(tick).tolist(), strict=True))
        for key, trace in traces.items():
            assert trace.rate_bps((tick + 0.5) * network.period_s) == pytest.approx(rates[key], abs=1.0)


def test_links_that_carry_nothing_are_left_out(tmp_path: Path) -> None:
    _, net = emulated(moving(speed_mps=0.001), 2.0, tmp_path)
    assert not [link for link in net.links if {link.src, link.dst} == {"ue", "b"}]
    assert [link for link in net.links if {link.src, link.dst} == {"ue", "a"}]


def test_rows_are_only_where_a_rate_changes() -> None:
    rows = rate_rows(ScenarioNetwork(moving()), 1.0)
    for row in rows.values():
        *inner, last = row
        assert last[0] == pytest.approx(1.0)
        assert all(a[1] != b[1] for a, b in itertools.pairwise(inner))


def test_a_trace_begins_again_over_an_idle_link(tmp_path: Path) -> None:
    _, net = emulated(moving(), 5.0, tmp_path)
    link = EmulatedLink(next(a for a in net.links if a.trace), seed=0, index=0, origin_s=0.0)
    first = link.state(0.01).rate_bps
    link.model.queue.idle_at_s = 1e9  # an outage has held something back
    link.rewind(100.0)
    assert link.state(100.01).rate_bps == first
    assert link.model.queue.idle_at_s == 100.0
