"""Virtual time: the closed form, the same trace from the same seed, failures, loss, adaptation."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from engine_cases import chain_profile, line, random_profile, tree
from test_pinned import BRANCHED, branched_plan

from airloom.core.messages import Parcel
from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.planner.chain import solve
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain
from airloom.radio.link import IdealLink
from airloom.sim.simulate import Arrival, Simulation, simulate

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
HOSTS = ("ue", "gnb", "mec", "cloud")


def took(trace: list[Event]) -> list[float]:
    return [e.took_s for e in trace if e.kind == "result"]


def lossy(topology: Topology, loss: float, burst_s: float = 0.0) -> Topology:
    links = tuple(msgspec.structs.replace(link, loss=loss, burst_s=burst_s) for link in topology.links)
    return msgspec.structs.replace(topology, links=links)


@pytest.mark.parametrize("seed", range(40))
def test_simulated_time_over_ideal_links_equals_the_closed_form(seed: int) -> None:
    """Law 3."""
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, int(rng.integers(1, 12)))
    topology = line(
        tuple(float(f) for f in rng.uniform(0.5, 20, 4)), tuple(float(r) for r in 10 ** rng.uniform(6, 9, 3)),
        tuple(float(d) for d in rng.uniform(0, 0.01, 3)), overhead_s=float(rng.uniform(0, 0.001)),
    )  # fmt: skip
    best = solve(build_problem(topology, HOSTS, {"": profile}))
    arrivals = [Arrival(3.0 * k, deadline_s=5.0) for k in range(3)]
    trace = Simulation(topology, profile, arrivals, probe_s=None).run()
    assert took(trace) == pytest.approx([best.seconds] * 3, abs=1e-9)


def test_every_ue_of_a_tree_gets_the_closed_form() -> None:
    trace = Simulation(tree(), SMALL, [Arrival(0.0, source="ue1"), Arrival(5.0, source="ue2")], probe_s=None).run()
    expected = [solve(build_problem(tree(), chain(tree(), ue), {"": SMALL})).seconds for ue in ("ue1", "ue2")]
    assert took(trace) == pytest.approx(expected, abs=1e-9)


def test_loaded_devices_and_changed_links_equal_the_closed_form() -> None:
    conditions = Conditions(
        at_s=-0.9,
        links=(LinkState(src="mec", dst="cloud", rate_bps=500e6, delay_s=0.001),),
        devices=(DeviceState(id="cloud", load=1.5),),
    )
    arrivals = [Arrival(4.0 + 0.5 * k) for k in range(40)]
    trace = simulate(line(), SMALL, arrivals, changes=[conditions])
    # Hosts learn rates and loads by measuring; once they have, no plan is better than theirs by much.
    best = solve(build_problem(line(), HOSTS, {"": SMALL}, conditions=conditions))
    assert took(trace)[-1] == pytest.approx(best.seconds, rel=0.1)


def test_same_seed_same_trace() -> None:
    """Law 7."""
    topology = lossy(line(), 0.05, 0.005)
    arrivals = [Arrival(0.2 * k) for k in range(20)]
    changes = [Conditions(at_s=1.0, devices=(DeviceState(id="mec", up=False),)), Conditions(at_s=2.0)]
    first, again, other = (simulate(topology, SMALL, arrivals, changes=changes, seed=seed) for seed in (1, 1, 2))
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert msgspec.json.encode(first) != msgspec.json.encode(other)


@pytest.mark.parametrize("seed", range(30))
def test_one_outcome_whatever_dies(seed: int) -> None:
    """Law 9."""
    rng = np.random.default_rng(seed)
    arrivals = [Arrival(float(t), deadline_s=1.5) for t in np.arange(15) / 3.0 + rng.uniform(0, 0.1, 15)]
    changes = []
    for at_s in np.sort(rng.uniform(0, 5, 6)):
        devices = tuple(DeviceState(id=id, up=bool(rng.random() < 0.5)) for id in ("gnb", "mec", "cloud"))
        links = (LinkState(src="ue", dst="gnb", up=bool(rng.random() < 0.7)),)
        changes.append(Conditions(at_s=float(at_s), devices=devices, links=links))
    simulation = Simulation(lossy(line(), 0.05, 0.005), SMALL, arrivals, changes=changes, seed=seed)
    simulation.run()
    assert len(simulation.outcomes) == 15
    assert all(len(outcome) == 1 for outcome in simulation.outcomes.values())
    # The UE alone takes 0.2 s: time enough for every request.
    assert all(isinstance(outcome, Parcel) for (outcome,) in simulation.outcomes.values())


def test_a_killed_host_loses_no_request_and_is_used_again() -> None:
    arrivals = [Arrival(0.1 * k) for k in range(40)]
    changes = [Conditions(at_s=1.02, devices=(DeviceState(id="mec", up=False),)), Conditions(at_s=2.0)]
    trace = simulate(line(), SMALL, arrivals, changes=changes)
    assert len(took(trace)) == 40
    stages = [e for e in trace if e.kind == "stage" and e.host == "mec"]
    assert any(e.at_s < 1.02 for e in stages)
    assert not any(1.02 < e.at_s < 2.0 for e in stages)
    assert any(e.at_s > 2.5 for e in stages)


def test_the_plan_follows_a_link_that_drops_and_comes_back() -> None:
    topology = line((20.0, 4.0, 2.0, 0.1), (40e6, 400e6, 200e6), (0.004, 0.001, 0.001))
    drop = Conditions(at_s=3.0, links=tuple(LinkState(src=s, dst=d, rate_bps=1e6) for s, d in (("mec", "cloud"),)))
    trace = simulate(topology, SMALL, [Arrival(0.1 * k) for k in range(140)], changes=[drop, Conditions(at_s=6.0)])
    cloud = [e.request or 0 for e in trace if e.kind == "stage" and e.host == "cloud"]
    assert {*range(25)} <= {*cloud}
    assert not [k for k in cloud if 40 <= k < 60]
    assert {*range(120, 140)} <= {*cloud}
    assert len(took(trace)) == 140


def test_repairs_fill_gaps_and_what_is_left_is_reported() -> None:
    topology = lossy(line(), 0.05)
    arrivals = [Arrival(0.3 * k) for k in range(40)]
    missing = {}
    for rounds in (0, 4):
        simulation = Simulation(topology, SMALL, arrivals, repair_rounds=rounds, seed=3)
        trace = simulation.run()
        missing[rounds] = [e.data["missing_share"] for e in trace if e.kind == "result"]
    assert sum(share > 0 for share in missing[0]) > 10
    assert sum(missing[4]) == 0
    assert len(missing[4]) == 40


def test_a_dead_link_sends_everything_home_until_probes_find_it_alive() -> None:
    down = tuple(LinkState(src=s, dst=d, up=False) for s, d in (("ue", "gnb"), ("gnb", "ue")))
    trace = simulate(
        line(), SMALL, [Arrival(0.25 * k) for k in range(40)],
        changes=[Conditions(at_s=3.0, links=down), Conditions(at_s=6.0)],
    )  # fmt: skip
    assert len(took(trace)) == 40
    where = {e.request: e.host for e in trace if e.kind == "stage" and e.data["stop"] == 5}
    assert where[2] != "ue"
    assert all(where[k] == "ue" for k in range(18, 24))
    assert where[39] != "ue"


def test_queues_build_up_and_are_first_in_first_out() -> None:
    trace = simulate(line(), SMALL, [Arrival(0.0), Arrival(0.0), Arrival(0.0)])
    times = took(trace)
    assert times == sorted(times)
    assert times[2] > times[0]


def test_a_request_may_be_withdrawn() -> None:
    trace = simulate(line(), SMALL, [Arrival(0.0, cancel_s=0.01), Arrival(1.0)])
    assert [e.data["error"] for e in trace if e.kind == "error"] == ["Cancelled"]
    assert len(took(trace)) == 1


def test_a_pinned_graph_runs_side_by_side() -> None:
    trace = simulate(line((1.0, 1.0, 1.0, 1.0)), BRANCHED, [Arrival(0.0)], pinned=branched_plan())
    spans = {e.data["stage"]: (e.at_s - e.took_s, e.at_s) for e in trace if e.kind == "stage"}
    assert set(spans) == {"stem", "left", "right", "join"}
    assert spans["right"][0] < spans["left"][1]
    assert spans["join"][0] >= max(spans["left"][1], spans["right"][1])
    assert len(took(trace)) == 1


def test_profiles_without_tensor_ids_will_do() -> None:
    cuts = tuple(msgspec.structs.replace(cut, tensors=()) for cut in SMALL.cuts)
    trace = simulate(line(), msgspec.structs.replace(SMALL, cuts=cuts), [Arrival(0.0)])
    assert took(trace) == pytest.approx([solve(build_problem(line(), HOSTS, {"": SMALL})).seconds], abs=1e-9)


def test_own_link_models() -> None:
    models = {(link.src, link.dst): IdealLink(0.001) for link in line().links}
    trace = simulate(line(rates=(math.inf, math.inf, math.inf)), SMALL, [Arrival(5.0)], models=models)
    assert len(took(trace)) == 1
    change = Conditions(at_s=0.0, links=(LinkState(src="ue", dst="gnb", rate_bps=1e6),))
    with pytest.raises(ConfigError, match="a model of its own"):
        simulate(line(), SMALL, [Arrival(1.0)], models=models, changes=[change])


def test_a_device_without_a_profile() -> None:
    with pytest.raises(ConfigError, match="no profile for gnb"):
        simulate(line(), {"ue": SMALL}, [Arrival(0.0)])
