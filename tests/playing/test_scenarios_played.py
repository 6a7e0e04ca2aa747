"""Scenarios in virtual time: the closed form, baselines on the same draw, handovers, contention, determinism."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from engine_cases import chain_profile, line
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import PROFILE, held, moving

from airloom.core.scenario import Forecast, Scenario, Tasks
from airloom.core.simulated import SimulationRecord
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.files import read_value
from airloom.planner.chain import solve
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain
from airloom.playing.crowd import begun_further, with_ues
from airloom.playing.play import Play
from airloom.playing.schemes import TITLES, schemes_of, topology_of
from airloom.playing.simulated import play_simulated
from airloom.radio.cell.network import ScenarioNetwork
from airloom.report.folder import RECORD, SIMULATION, TRACES, read_run
from airloom.report.trace import read_trace


def took(folder: Path, scheme: str = "airloom") -> dict[tuple[str, int | None], float]:
    return {(e.host, e.request): e.took_s for e in read_trace(folder / TRACES / scheme) if e.kind == "result"}


def events(folder: Path, scheme: str = "airloom") -> list[Event]:
    return list(read_trace(folder / TRACES / scheme))


def play(scenario: Scenario, folder: Path, **more: object) -> SimulationRecord:
    what = Play(scenario, {"": PROFILE}, **more)  # type: ignore[arg-type]
    return play_simulated(what, folder=folder)[1]


@settings(deadline=None, max_examples=12)
@given(
    rates=st.tuples(*[st.floats(2e6, 3e8)] * 3), factors=st.tuples(*[st.floats(0.3, 30.0)] * 4),
    seed=st.integers(0, 1000), replan=st.sampled_from(["ideal", "event"]),
)  # fmt: skip
def test_over_a_network_that_holds_still_airloom_is_never_worse_than_any_baseline(
    tmp_path_factory: pytest.TempPathFactory,
    rates: tuple[float, ...],
    factors: tuple[float, ...],
    seed: int,
    replan: str,
) -> None:
    """Trial by trial, on the same draw, each trial within the time for which rates hold."""
    folder = tmp_path_factory.mktemp("held")
    scenario = held(line(factors, rates), coherence_s=5.0, tasks=Tasks(every_s=2.5, deadline_s=2.4), seed=seed)
    record = play(scenario, folder, schemes=("all",), requests=8, replan=replan)
    mine = took(folder)
    slack = 1.02 if replan == "event" else 1.0 + 1e-6  # hosts of their own accord let a tenth pass unsaid
    assert all(tally.requests == 8 for tally in record.schemes)
    for name in TITLES:
        for key, theirs in took(folder, name).items():
            assert mine[key] <= theirs * slack + 1e-7, (name, key)


@pytest.mark.parametrize("seed", range(5))
def test_law_3_latency_over_a_held_network_equals_the_closed_form(tmp_path: Path, seed: int) -> None:
    scenario = held(coherence_s=2.0, seed=seed, tasks=Tasks(every_s=1.0, deadline_s=5.0))
    play(scenario, tmp_path, requests=6, replan="ideal")
    network = ScenarioNetwork(scenario)
    for (_, request), seconds in sorted(took(tmp_path).items(), key=lambda item: item[0][1] or 0):
        rates = network.rates((request or 0) // 2)
        now = Conditions(
            links=tuple(
                LinkState(src=src, dst=dst, rate_bps=float(rate))
                for (src, dst), rate in zip(network.links, rates, strict=True)
            )
        )
        net = network.topology
        best = solve(build_problem(net, chain(net), {"": PROFILE}, conditions=now))
        assert seconds == pytest.approx(best.seconds, rel=1e-9)


def test_planning_for_each_task_is_part_of_its_latency(tmp_path: Path) -> None:
    scenario = held(coherence_s=2.0)
    free = play(scenario, tmp_path / "ideal", requests=5, replan="ideal").schemes[0]
    asked = play(scenario, tmp_path / "task", requests=5, replan="task").schemes[0]
    assert free.planning_s == 0.0
    assert asked.planning_s is not None
    assert asked.planning_s > 0.01
    assert asked.mean_s == pytest.approx((free.mean_s or 0.0) + asked.planning_s, rel=1e-6)


def test_same_seed_same_trace_and_every_scheme_has_the_same_draw(tmp_path: Path) -> None:
    first = play(moving(2), tmp_path / "1", requests=40, schemes=("all",))
    again = play(moving(2), tmp_path / "2", requests=40, schemes=("all",))
    other = play(moving(2), tmp_path / "3", requests=40, schemes=("all",), seed=8)
    for scheme in TITLES:
        files = [sorted((tmp_path / k / TRACES / scheme).iterdir()) for k in ("1", "2")]
        assert [f.name for f in files[0]] == [f.name for f in files[1]]
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    assert first.links == again.links != other.links
    conditions = [
        [e.data for e in events(tmp_path / "1", scheme) if e.kind == "condition"] for scheme in ("ue-only", "airloom")
    ]
    shortest = min(map(len, conditions))
    assert shortest > 0
    assert conditions[0][:shortest] == conditions[1][:shortest]


@pytest.mark.parametrize("replan", ["event", "task", "ideal"])
def test_a_handover_keeps_one_outcome_for_each_request(tmp_path: Path, replan: str) -> None:
    record = play(moving(2), tmp_path, seconds=30.0, replan=replan)
    tally = record.schemes[0]
    assert tally.handovers >= 4
    assert tally.results == tally.requests == 300
    trace = events(tmp_path)
    ends = Counter((e.host, e.request) for e in trace if e.kind in ("result", "error"))
    assert len(ends) == 300
    assert set(ends.values()) == {1}
    ran = {e.host for e in trace if e.kind == "stage"}
    assert {"a", "b"} <= {e.host for e in trace if e.kind == "arrive"}
    assert ran


def test_two_ues_that_share_a_host_wait_for_each_other(tmp_path: Path) -> None:
    """A host runs one stage after the other: of two that come at once the second one waits for the first."""
    devices = (
        Device(id="ue", role="ue", computes=False), Device(id="ue2", role="ue", computes=False),
        Device(id="mec", role="mec"),
    )  # fmt: skip
    links = tuple(
        Link(src=s, dst=t, rate_bps=1e9, delay_s=0.001) for a in ("ue", "ue2") for s, t in ((a, "mec"), ("mec", a))
    )
    net = Topology(devices=devices, links=links, source="ue", sink="mec")
    profile = chain_profile((0.1,), (1000, 40))
    one, two = (
        msgspec.structs.replace(
            held(net, links=()), ues=tuple(msgspec.structs.replace(held(net, links=()).ues[0], id=id) for id in ids),
            tasks=Tasks(kind="back-to-back", deadline_s=5.0),
        )
        for ids in (("ue",), ("ue", "ue2"))
    )  # fmt: skip
    alone, _ = (play_simulated(Play(one, {"": profile}, seconds=2.0), folder=tmp_path / "1"), None)
    both = play_simulated(Play(two, {"": profile}, seconds=2.0), folder=tmp_path / "2")
    mean_alone, mean_both = alone[1].schemes[0].mean_s, both[1].schemes[0].mean_s
    assert mean_alone == pytest.approx(0.102, abs=0.001)
    assert mean_both == pytest.approx(0.2, abs=0.01)
    waits = [e.data["wait_s"] for e in events(tmp_path / "2") if e.kind == "stage"]
    assert max(waits) == pytest.approx(0.098, abs=0.005)


def test_a_mec_that_goes_and_comes_back_loses_no_request(tmp_path: Path) -> None:
    changes = (
        Conditions(at_s=2.05, devices=(DeviceState(id="mec", up=False),)),
        Conditions(at_s=4.0, devices=(DeviceState(id="mec"),)),
    )
    record = play(
        held(coherence_s=1.0, changes=changes, tasks=Tasks(every_s=0.1, deadline_s=3.0)), tmp_path, seconds=7.0
    )
    tally = record.schemes[0]
    assert tally.results == tally.requests == 70
    assert tally.devices_down == 1
    assert not [e for e in events(tmp_path) if e.kind == "stage" and e.host == "mec" and 2.06 < e.at_s < 4.0]


def test_baselines_run_where_their_names_say(tmp_path: Path) -> None:
    record = play(moving(), tmp_path, requests=20, schemes=("all",))
    ran = {tally.name: set(tally.operators) for tally in record.schemes}
    assert ran["ue-only"] == {"ue"}
    assert ran["cloud-only"] == {"cloud"}
    assert ran["single-split"] <= {"ue", "cloud"}
    assert [tally.name for tally in record.schemes] == ["ue-only", "cloud-only", "single-split", "airloom"]


def test_a_run_folder_is_read_back_and_has_what_traces_do_not(tmp_path: Path) -> None:
    record = play(moving(2), tmp_path, requests=30, schemes=("ue-only", "airloom"))
    summary = read_run([tmp_path]).summary()
    assert summary.simulated
    assert [s.results for s in summary.schemes] == [30, 30]
    for tally, shown in zip(record.schemes, summary.schemes, strict=True):
        assert shown.mean_s is not None
        assert tally.mean_s == pytest.approx(shown.mean_s.value)
    assert read_value(tmp_path / SIMULATION, SimulationRecord) == record
    assert {(link.src, link.label) for link in record.links if link.published_mean_bps} == {("mec", "G"), ("cloud", "")}


def test_a_run_that_is_ended_leaves_a_folder_that_reads(tmp_path: Path) -> None:
    left = 3

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    what = Play(moving(), {"": PROFILE}, schemes=("all",), requests=5000)
    record, simulation = play_simulated(what, folder=tmp_path, stop=stop)
    assert simulation.interrupted
    assert "ended before its time" in record.emulated
    assert len(simulation.schemes) == 1
    assert read_run([tmp_path]).summary().schemes[0].requests == simulation.schemes[0].requests


def test_an_oracle_knows_what_comes_and_an_error_spoils_it(tmp_path: Path) -> None:
    scenario = held(coherence_s=0.05, tasks=Tasks(every_s=0.2, deadline_s=3.0))
    means = []
    for error in (0.0, 3.0):
        told = msgspec.structs.replace(scenario, forecast=Forecast(method="perfect", error=error))
        found = play(told, tmp_path / str(error), requests=60, replan="task")
        assert found.schemes[0].results == 60
        means.append(found.schemes[0].mean_s)
    assert means[0] < means[1]


def test_ues_are_copied_along_the_way_of_the_source() -> None:
    many = with_ues(moving(), 5)
    assert [ue.id for ue in many.ues] == ["ue", "ue2", "ue3", "ue4", "ue5"]
    starts = {ue.path.waypoints[:2] for ue in many.ues}  # where, and which way
    assert len(starts) == 5
    assert {link.src for link in many.topology.links if link.dst == "a"} >= {"ue5", "mec"}
    assert len(with_ues(moving(4), 2).topology.devices) == len(moving(2).topology.devices)
    with pytest.raises(ConfigError, match="--ues: at least one UE, got 0"):
        with_ues(moving(), 0)


def test_a_way_begun_further_is_as_long() -> None:
    path = moving().ues[0].path
    later = begun_further(path, 0.25)
    assert later.waypoints[0] == pytest.approx((300.0, 100.0))
    assert later.waypoints[1:] == (path.waypoints[1], path.waypoints[0])


def test_schemes_by_name() -> None:
    assert schemes_of(["all"]) == ("ue-only", "cloud-only", "single-split", "airloom")
    assert schemes_of(["airloom", "ue-only", "airloom"]) == ("ue-only", "airloom")
    with pytest.raises(
        ConfigError, match="no scheme 'best': there are ue-only, cloud-only, single-split, airloom, all"
    ):
        schemes_of(["best"])
    net = moving().topology
    assert [d.id for d in topology_of("single-split", net).devices if d.computes] == ["ue", "cloud"]


def test_figures_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    what = Play(held(), {"": PROFILE, "gnb": PROFILE}, requests=1)
    with pytest.raises(ConfigError, match="gnb has a profile that was measured on it and is 4 times as slow"):
        play_simulated(what, folder=tmp_path)


def test_what_is_modelled_is_said(tmp_path: Path) -> None:
    record = play(moving(), tmp_path, requests=1)
    assert "ue: a measured profile (bench), 10 times as slow" in record.modelled
    assert "ue: energy from power figures (assumed)" in record.modelled
    run = read_value(tmp_path / RECORD, type(read_run([tmp_path]).record))  # type: ignore[type-var]
    assert run.emulated == record.modelled


def test_a_run_needs_an_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a run without end"):
        play(held(), tmp_path)
