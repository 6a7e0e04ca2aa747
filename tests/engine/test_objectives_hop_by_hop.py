"""Objectives decided host by host: what the central solvers find, bounds kept on the way, bad input."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from engine_cases import SMALL_CODING, chain_profile, contract, line, random_profile
from engine_pump import Pump
from test_mesh_wave import diamond, routes, walked

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.topology import Power, Topology
from airloom.engine.config import HostConfig
from airloom.engine.events import FrameArrived, LinkMeasured, SendFrame, SendSplitCost, SplitCostArrived
from airloom.engine.host import Host
from airloom.engine.messages import Frame, FrameKind, Parcel, SplitCost
from airloom.engine.wave import graph_key
from airloom.errors import ConfigError
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.objective.vectors import vectors
from airloom.planner.pricing import build_problem
from airloom.wire.splitcost import decode_split_cost, encode_split_cost

HOSTS = ("ue", "gnb", "mec", "cloud")


def powered(topology: Topology) -> Topology:
    """Hosts further down compute dearer, radios take their share."""
    devices = tuple(
        msgspec.structs.replace(
            device, power=Power(busy_w=3.0 + 4.0 * k, radio_j_per_bit=2e-7 / (k + 1)), price_per_s=0.01 * k * k
        )
        for k, device in enumerate(topology.devices)
    )
    return msgspec.structs.replace(topology, devices=devices)


def random_case(seed: int, operators: int = 7) -> tuple[Topology, Profile]:
    rng = np.random.default_rng(seed)
    topology = line(
        tuple(rng.uniform(0.5, 20.0, 4)), tuple(10 ** rng.uniform(6, 8.5, 3)), tuple(rng.uniform(0, 0.01, 3))
    )
    return powered(topology), random_profile(rng, operators)


def roles(topology: Topology) -> dict[str, str]:
    return {device.id: device.role for device in topology.devices}


def fastest_s(problem: Problem, topology: Topology) -> float:
    return float(solve_objective(problem, Objective(), roles(topology)).costs[0])


def taken(pump: Pump, hosts: tuple[str, ...], request: int = 0) -> tuple[int, ...]:
    """Where each host of the chain stopped."""
    cut, stops = 0, []
    ran = {e.host: e.data["stop"] for e in pump.events("stage") if e.request == request}
    for host in hosts:
        cut = ran.get(host, cut)
        stops.append(cut)
    return tuple(stops)


WEIGHTED = Objective(minimize=(Term("energy", 2.0), Term("latency", 30.0), Term("money", 5.0)))
COUNTED = Objective(minimize=(Term("energy", devices=("ue", "gnb")), Term("bytes", 1e-7)))


@pytest.mark.parametrize("objective", [WEIGHTED, COUNTED], ids=["weighted", "of some devices"])
@pytest.mark.parametrize("seed", range(12))
def test_a_weighted_sum_comes_out_as_centrally(seed: int, objective: Objective) -> None:
    topology, profile = random_case(seed)
    problem = build_problem(topology, HOSTS, {"": profile})
    best = solve_objective(problem, objective, roles(topology))
    pump = Pump(topology, profile, objective=objective)
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    priced = vectors(problem, objective, roles(topology))
    assert priced.value(priced.cost(taken(pump, HOSTS))) == pytest.approx(best.value, rel=1e-6)
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(best.value, rel=1e-6)
    # One number for each cut, as ever.
    assert all(not effect.message.labels for _, effect in pump.costs)


@pytest.mark.parametrize("solver", ["exact", "convex", "linear"])
@pytest.mark.parametrize("slack", [1.02, 1.4, 4.0])
@pytest.mark.parametrize("seed", range(6))
def test_bounds_come_out_as_centrally(seed: int, slack: float, solver: str) -> None:
    topology, profile = random_case(seed)
    problem = build_problem(topology, HOSTS, {"": profile})
    limit = slack * fastest_s(problem, topology)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", limit),), solver=solver)  # type: ignore[arg-type]
    best = solve_objective(problem, objective, roles(topology))
    pump = Pump(topology, profile, objective=objective)
    pump.submit(0, deadline_s=60.0)
    assert isinstance(pump.outcome(0), Parcel)
    priced = vectors(problem, objective, roles(topology))
    costs = priced.cost(taken(pump, HOSTS))
    if solver == "exact":
        assert costs[1] <= limit * (1 + 1e-6)
        assert not pump.events("bound")
    assert costs == pytest.approx(best.costs, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_two_bounds_and_several_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    topology, profile = powered(diamond(rng)), random_profile(rng, 4)
    problems = {way: build_problem(topology, way, {"": profile}) for way in routes(topology)}
    limit_s = 1.5 * min(fastest_s(problem, topology) for problem in problems.values())
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", limit_s), Bound("money", 0.02)))
    pump = Pump(topology, profile, objective=objective)
    pump.submit(0, deadline_s=60.0)
    assert isinstance(pump.outcome(0), Parcel)
    best, best_excess = np.inf, np.inf
    for way, problem in problems.items():
        priced = vectors(problem, objective, roles(topology))
        for stops in itertools.combinations_with_replacement(range(5), len(way) - 1):
            costs = priced.cost((*stops, 4))
            if np.isfinite(costs).all():
                best_excess = min(best_excess, priced.excess(costs))
                if priced.meets(costs):
                    best = min(best, priced.value(costs))
    way, stops = walked(pump)
    # A request may end before the end of the chain.
    whole = next(w for w in routes(topology) if w[: len(way)] == way)
    priced = vectors(problems[whole], objective, roles(topology))
    costs = priced.cost((*stops, *(4,) * (len(whole) - len(stops))))
    if np.isfinite(best):
        assert (costs <= priced.bounds * (1 + 1e-6)).all()
        assert priced.value(costs) == pytest.approx(best, rel=1e-6)
    else:
        assert priced.excess(costs) == pytest.approx(best_excess, rel=1e-6)
        assert pump.events("bound")


def test_frames_say_what_is_left_and_it_shrinks() -> None:
    topology, profile = random_case(3)
    limit = 3 * fastest_s(build_problem(topology, HOSTS, {"": profile}), topology)
    objective = Objective(minimize=(Term("money"),), require=(Bound("latency", limit), Bound("energy", 50.0)))
    for device in ("gnb", "mec"):  # so that tasks go on
        topology = msgspec.structs.replace(
            topology,
            devices=tuple(msgspec.structs.replace(d, computes=d.id != device) for d in topology.devices),
        )
    pump = Pump(topology, profile, objective=objective, private_operators=1)
    pump.submit(0, deadline_s=60.0)
    lefts = [e.frame.left for _, e in pump.frames if e.frame.kind == FrameKind.TASK]
    for left in lefts:
        assert len(left) == 2
    for before, after in itertools.pairwise([(limit, 50.0), *lefts]):
        assert all(b > a >= 0 for b, a in zip(before, after, strict=True))


def test_what_is_left_changes_what_a_host_does_and_nothing_left_is_traced() -> None:
    # What the last host computes counts: with time to spare the gNB does it all, without it hands over.
    profile = chain_profile((0.01,) * 4, (20000, 20000, 20000, 20000, 40))
    topology = powered(line((50.0, 10.0, 1.0), (100e6, 100e6), (0.001, 0.001)))
    objective = Objective(minimize=(Term("energy", devices=("mec",)),), require=(Bound("latency", 5.0),))
    pump = Pump(topology, profile, objective=objective)
    wave = pump.hosts["gnb"]._wave
    patient, hasty, late = wave.choose(0, (3.0,)), wave.choose(0, (0.1,)), wave.choose(0, (0.001,))
    assert patient is not None
    assert hasty is not None
    assert late is not None
    assert (patient.stop, patient.excess) == (4, 0.0)
    assert (hasty.stop, hasty.excess) == (0, 0.0)
    assert late.stop == 0  # the fastest, though too late
    assert late.excess > 0
    assert late.left == (0.0,)


def test_time_that_was_lost_on_the_way_is_taken_off() -> None:
    profile = chain_profile((0.01,) * 4, (20000, 20000, 20000, 20000, 40))
    topology = powered(line((50.0, 10.0, 1.0), (100e6, 100e6), (0.001, 0.001)))
    objective = Objective(minimize=(Term("energy", devices=("mec",)),), require=(Bound("latency", 5.0),))
    pump = Pump(topology, profile, objective=objective, private_operators=1)
    pump.hold_stages = lambda device, effect: device == "ue"
    pump.submit(0, deadline_s=60.0)
    for seconds in (0.0, 3.0):
        pump.now_s += seconds
    ((device, effect),) = pump.held
    pump.hold_stages = lambda device, effect: False
    pump.release(device, effect)
    left = next(e.frame.left for _, e in pump.frames if e.frame.kind == FrameKind.TASK)
    assert left[0] < 2.0
    assert isinstance(pump.outcome(0), Parcel)


def test_codings_are_chosen_under_bounds_too() -> None:
    topology, profile = random_case(1, 5)
    objective = Objective(minimize=(Term("bytes"),), require=(Bound("latency", 10.0),))
    topology = msgspec.structs.replace(
        topology, devices=tuple(msgspec.structs.replace(d, memory_bytes=2500) for d in topology.devices)
    )
    pump = Pump(topology, profile, objective=objective, contract=contract(profile))
    pump.submit(0, deadline_s=60.0)
    assert isinstance(pump.outcome(0), Parcel)
    assert SMALL_CODING.name in {e.data.get("coding") for e in pump.events("send")}


def test_a_link_that_slows_down_under_a_bound_moves_work() -> None:
    topology, profile = random_case(5)
    limit = 1.3 * fastest_s(build_problem(topology, HOSTS, {"": profile}), topology)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", limit),))
    pump = Pump(topology, profile, objective=objective)
    pump.tell("ue", LinkMeasured("ue", "gnb", rate_bps=1e3))
    pump.submit(0, deadline_s=600.0)
    assert isinstance(pump.outcome(0), Parcel)
    assert taken(pump, HOSTS) == (7, 7, 7, 7)


def test_a_link_from_upstream_moves_what_reshaped_edges_say_and_who_has_none_is_no_harm() -> None:
    topology, profile = random_case(5)
    limit = 2.0 * fastest_s(build_problem(topology, HOSTS, {"": profile}), topology)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", limit),), solver="convex")
    pump = Pump(topology, profile, objective=objective)
    pump.now_s += 1.0
    before = next(e.message for device, e in reversed(pump.costs) if device == "gnb")
    pump.tell("gnb", LinkMeasured("ue", "gnb", rate_bps=1e4))  # what it says to the UE is about that link
    after = next(e.message for device, e in reversed(pump.costs) if device == "gnb")
    assert after.update > before.update
    assert (after.cost_s[:-1] > before.cost_s[:-1]).all()
    wave = pump.hosts["gnb"]._wave
    assert wave.choose(0, (), "cloud") == wave.choose(0, (), "")  # no link leads from there


def test_foreign_and_misshapen_frontiers_are_dropped() -> None:
    topology, profile = random_case(0, 3)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1.0),))
    host = Host(HostConfig(device="ue", topology=topology, profile=profile, objective=objective))
    host.start(0.0, known=HOSTS[1:])
    good = tuple(np.zeros((1, 2), np.float32) for _ in range(4))
    flat = np.zeros(4, np.float32)
    key = graph_key(profile.graph_digest)
    for k, (labels, loss) in enumerate((
        ((), 1.0), (good[:-1], 1.0), (tuple(np.zeros((1, 3), np.float32) for _ in range(4)), 1.0),
        ((np.zeros((65, 2), np.float32), *good[1:]), 1.0), ((-np.ones((1, 2), np.float32), *good[1:]), 1.0),
        ((np.full((1, 2), np.nan, np.float32), *good[1:]), 1.0), (good, 0.5), (good, float("nan")),
    )):  # fmt: skip
        before = sum(host.snapshot().counters.values())
        host.handle(SplitCostArrived("gnb", SplitCost(1, 3, 5 + k, key, flat, 0, -1, labels, loss)), 1.0)
        assert sum(host.snapshot().counters.values()) == before + 1, (k, labels, loss)
    host.handle(SplitCostArrived("gnb", SplitCost(1, 3, 99, key, flat, 0, -1, good, 1.0)), 1.0)
    assert host.snapshot().wave == 99


def test_a_task_under_other_bounds_is_dropped_and_not_taken_as_unbounded() -> None:
    topology, profile = random_case(0, 3)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1.0),))
    data = tuple(memoryview(bytes(nbytes)) for nbytes in profile.cuts[0].tensor_nbytes)
    parcel = Parcel(profile.cuts[0].tensors, data)
    tensors = tuple((id, part.nbytes) for id, part in zip(parcel.tensors, data, strict=True))
    for own, left in ((objective, (0.5, 0.5)), (Objective(), (0.5,))):
        pump = Pump(topology, profile, objective=own)
        model = pump.hosts["gnb"].codings.key(0)
        for request, said in enumerate(((), left)):
            frame = Frame(
                kind=FrameKind.TASK, source=0, request=request, cut=0, left=said, model=model, tensors=tensors
            )
            pump.tell("gnb", FrameArrived("ue", frame, parcel))
        assert pump.drops("gnb") == {"bounds of another objective": 1}


@pytest.mark.parametrize("device", ["ue", "gnb"])
def test_a_bound_that_cannot_be_kept_is_traced_wherever_the_request_is_run(device: str) -> None:
    profile = chain_profile((0.01,) * 4, (20000, 20000, 20000, 20000, 40))
    rate = 1e3 if device == "ue" else 1e9  # the source runs it all, or hands over
    topology = powered(line((100.0, 1.0, 1.0), (rate, 1e9), (0.001, 0.001)))
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1e-4),))
    pump = Pump(topology, profile, objective=objective)
    pump.submit(0, deadline_s=600.0)
    assert isinstance(pump.outcome(0), Parcel)
    assert (taken(pump, HOSTS)[0] == 4) == (device == "ue")
    assert pump.events("bound")[0].host == "ue"
    assert pump.events("bound")[0].data["excess"] > 1.0


def test_what_a_neighbour_says_neither_fills_memory_nor_leaves_what_a_message_can_carry() -> None:
    topology, profile = random_case(0, 3)
    objective = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1.0),))
    key = graph_key(profile.graph_digest)
    many = np.stack([np.linspace(0.1, 1.0, 64), 1.0 / np.linspace(0.1, 1.0, 64)], axis=1).astype(np.float32) * 1e-3
    labels = (*(many * np.float32(1 + 0.01 * k) for k in range(3)), np.zeros((1, 2), np.float32))
    slow = msgspec.structs.replace(
        topology, links=tuple(msgspec.structs.replace(link, rate_bps=1e9) for link in topology.links)
    )
    host = Host(HostConfig(device="gnb", topology=slow, profile=profile, objective=objective))
    host.start(0.0, known=[id for id in HOSTS if id != "gnb"])
    said = []
    for sink in range(300):
        message = SplitCost(2, sink, 5, key, np.zeros(4, np.float32), 0, -1, labels, 3.4e38)
        said += host.handle(SplitCostArrived("mec", message), 1.0 + sink)
    assert host.snapshot().counters["malformed cost"] == 300 - len(HOSTS)
    messages = [effect.message for effect in said if isinstance(effect, SendSplitCost)]
    assert messages
    for own in messages:
        assert decode_split_cost(encode_split_cost(own), 4).loss == pytest.approx(own.loss)
    # A link so slow that its seconds are beyond float32 leaves no way that can be told.
    host.handle(LinkMeasured("gnb", "mec", rate_bps=1e-40), 900.0)
    told = host.handle(SplitCostArrived("mec", SplitCost(2, 3, 9, key, np.zeros(4, np.float32), 1, -1, labels)), 901.0)
    for effect in told:
        if isinstance(effect, SendSplitCost):
            decode_split_cost(encode_split_cost(effect.message), 4)


def test_more_bounds_than_a_frame_carries_are_refused_and_so_are_unknown_devices() -> None:
    topology, profile = random_case(0, 3)
    three = tuple(Bound(metric, 1.0) for metric in ("latency", "energy", "money"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at most 2 bounds"):
        Host(HostConfig(device="ue", topology=topology, profile=profile, objective=Objective(require=three)))
    nobody = Objective(minimize=(Term("energy", devices=("drone",)),))
    with pytest.raises(ConfigError, match="drone"):
        Host(HostConfig(device="ue", topology=topology, profile=profile, objective=nobody))


def test_timeouts_without_a_prediction_in_seconds_still_retry() -> None:
    topology, profile = random_case(2)
    idle_ue = msgspec.structs.replace(topology.devices[0], computes=False)
    topology = msgspec.structs.replace(topology, devices=(idle_ue, *topology.devices[1:]))
    pump = Pump(
        topology, profile, objective=Objective(minimize=(Term("bytes"), Term("energy", 1e-9))), private_operators=0
    )
    pump.hold_frames = lambda device, effect: isinstance(effect, SendFrame) and effect.frame.attempt == 0
    pump.submit(0, deadline_s=120.0)
    assert pump.held
    pump.wait(100.0)
    assert isinstance(pump.outcome(0), Parcel)
    assert len(pump.events("attempt")) >= 2
