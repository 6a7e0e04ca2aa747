"""Waves in a mesh: next host and stop per cut, the way back, and what happens when a next host dies."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from engine_cases import chain_profile, contract, random_profile
from engine_pump import Pump

from airloom.core.topology import Device, Link, Topology
from airloom.engine.events import LinkMeasured
from airloom.engine.messages import FrameKind, Parcel
from airloom.planner.pricing import build_problem
from airloom.planner.route import feasible_next_hops

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))


def diamond(rng: np.random.Generator | None = None) -> Topology:
    """ue - gnb, from there over mec1 or mec2 to the core and the cloud; mec1 and mec2 see each other."""
    names = ("ue", "gnb", "mec1", "mec2", "core", "cloud")
    roles = ("ue", "gnb", "mec", "mec", "mec", "cloud")
    factors = (20.0, 8.0, 3.0, 2.0, 1.5, 1.0) if rng is None else tuple(rng.uniform(0.5, 20.0, 6))
    pairs = (("ue", "gnb"), ("gnb", "mec1"), ("gnb", "mec2"), ("mec1", "mec2"), ("mec1", "core"), ("mec2", "core"),
             ("core", "cloud"))  # fmt: skip
    rates = (60e6, 300e6, 100e6, 300e6, 100e6, 200e6, 40e6) if rng is None else tuple(10 ** rng.uniform(6, 8.5, 7))
    delays = (0.002,) * 7 if rng is None else tuple(rng.uniform(0.0, 0.006, 7))
    links = tuple(
        Link(src=s, dst=d, rate_bps=float(rate), delay_s=float(delay), overhead_s=0.0003)
        for (a, b), rate, delay in zip(pairs, rates, delays, strict=True)
        for s, d in ((a, b), (b, a))
    )
    devices = tuple(
        Device(id=id, role=role, factor=float(f))  # type: ignore[arg-type]
        for id, role, f in zip(names, roles, factors, strict=True)
    )
    return Topology(devices=devices, links=links, source="ue", sink="cloud", name="diamond")


def routes(topology: Topology) -> list[tuple[str, ...]]:
    """Every way that feasible next hops allow, to the end of the chain."""
    ahead = feasible_next_hops(topology)

    def beyond(host: str) -> list[tuple[str, ...]]:
        return [(host, *rest) for onward in ahead[host] for rest in beyond(onward)] if ahead[host] else [(host,)]

    return beyond(topology.source)


def least_s(topology: Topology, profile: object) -> float:
    """By trying every way and every assignment."""
    best = np.inf
    for way in routes(topology):
        problem = build_problem(topology, way, {"": profile})  # type: ignore[dict-item]
        L = problem.num_operators
        for stops in itertools.combinations_with_replacement(range(L + 1), len(way) - 1):
            best = min(best, problem.chain_s((*stops, L)))
    return float(best)


def walked(pump: Pump) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The hosts that the request 0 went to in order, and where each of them stopped."""
    sends = [e for e in pump.events("send") if e.data["what"] == "task" and e.request == 0]
    hosts = [pump.topology.source, *(e.data["dst"] for e in sends)]
    cuts = [*(e.data["cut"] for e in sends), pump.profile.num_operators]
    return tuple(hosts), tuple(cuts)


@pytest.mark.parametrize("seed", range(25))
def test_the_wave_finds_the_best_way_and_the_best_stops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    topology, profile = diamond(rng), random_profile(rng, 5)
    pump = Pump(topology, profile)
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    way, stops = walked(pump)
    problem = build_problem(topology, way, {"": profile})
    taken = problem.chain_s(stops)
    assert taken == pytest.approx(least_s(topology, profile), rel=1e-6)
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(taken, rel=1e-6)


def test_several_seeds_do_take_the_other_way() -> None:
    taken = set()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        pump = Pump(diamond(rng), random_profile(rng, 5))
        pump.submit(0)
        taken |= set(walked(pump)[0])
    assert taken == {"ue", "gnb", "mec1", "mec2", "core", "cloud"}


def test_a_link_that_slows_down_turns_tasks_to_the_other_host() -> None:
    pump = Pump(diamond(), SMALL)
    pump.submit(0)
    before = walked(pump)[0]
    assert before[2] == "mec1"
    pump.tell("gnb", LinkMeasured("gnb", "mec1", rate_bps=1e5))
    pump.submit(1)
    sends = [e.data["dst"] for e in pump.events("send", "gnb") if e.request == 1 and e.data["what"] == "task"]
    assert sends == ["mec2"]
    pump.tell("gnb", LinkMeasured("gnb", "mec1", loss=1.0))
    pump.submit(2)
    assert isinstance(pump.outcome(2), Parcel)


def test_results_go_back_the_way_the_task_came() -> None:
    pump = Pump(diamond(), SMALL)
    pump.tell("gnb", LinkMeasured("gnb", "mec1", rate_bps=1e5))
    pump.submit(0)
    way, _ = walked(pump)
    back = [(e.host, e.data["dst"]) for e in pump.events("send") if e.data["what"] == "result"]
    assert back == list(itertools.pairwise(reversed(way)))


@pytest.mark.parametrize("noticed", ["mec1", "mec2"])
def test_a_next_host_that_dies_is_replaced_by_the_other_one(noticed: str) -> None:
    pump = Pump(diamond(), SMALL)
    pump.down(noticed)
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    assert noticed not in walked(pump)[0]
    pump.up(noticed)
    pump.submit(1)
    assert isinstance(pump.outcome(1), Parcel)


def test_a_next_host_that_dies_with_a_task_costs_one_more_attempt() -> None:
    pump = Pump(diamond(), SMALL)
    pump.hold_frames = lambda device, effect: device in ("mec1", "mec2") and effect.frame.kind == FrameKind.TASK
    pump.submit(0)
    ((holder, _),) = pump.held
    pump.hold_frames = lambda device, effect: False
    pump.down(holder)
    assert isinstance(pump.outcome(0), Parcel)
    assert len(pump.events("attempt")) <= 3  # the UE may hear of it before the gNB does


def test_coded_live_sets_are_passed_on_over_any_next_host() -> None:
    topology = msgspec.structs.replace(
        diamond(),
        devices=tuple(
            msgspec.structs.replace(d, computes=d.id not in ("gnb", "mec1", "mec2", "core")) for d in diamond().devices
        ),
    )
    agreed = contract(SMALL)
    pump = Pump(topology, SMALL, contract=agreed)
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    codings = [e.data.get("coding") for e in pump.events("send") if e.data["what"] == "task"]
    coded = [coding for coding in codings if coding is not None]
    assert coded
    assert codings[-len(coded) :] == [coded[0]] * len(coded)  # once coded it stays as it is


def test_each_host_says_a_wave_once_and_waits_for_its_next_hosts() -> None:
    pump = Pump(diamond(), SMALL)
    pump.wait(0.5)
    pump.costs.clear()
    before = pump.hosts["ue"].snapshot().wave
    pump.wait(2.0)
    assert pump.hosts["ue"].snapshot().wave > before
    said = [device for device, _ in pump.costs]
    # One message over each link that a task may take.
    assert len(said) == sum(len(onward) for onward in feasible_next_hops(diamond()).values())


def test_a_next_host_that_says_nothing_does_not_hold_a_wave_up() -> None:
    pump = Pump(diamond(), SMALL)
    before = pump.hosts["ue"].snapshot().wave
    pump.down("mec2", noticed=False)
    pump.wait(2.5)
    assert pump.hosts["ue"].snapshot().wave > before
