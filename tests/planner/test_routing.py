"""The choice of the path: next hops that lead nearer, all paths where they are few, bounds where they are many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.config import load_topology
from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Problem
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.errors import ConfigError, Infeasible, NoRoute
from airloom.planner import candidates, routing
from airloom.planner.candidates import routes_by_cost
from airloom.planner.chain import solve
from airloom.planner.decide import decide
from airloom.planner.deciding import UnreachablePlan
from airloom.planner.modes import Modes
from airloom.planner.objective.outcome import Unreachable
from airloom.planner.objective.solvers import solve_objective
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain, feasible_next_hops, parents, way_between
from airloom.planner.routing import best_route, check_route, every_next_hop, simple_routes

IAB = Path("examples/hivemind_mmwave_iab.yaml")


def random_network(rng: np.random.Generator, between: int) -> Topology:
    """A UE, hosts with random links between them, a cloud; every host can get to the cloud and back."""
    ids = ["ue", *(f"m{k}" for k in range(between)), "cloud"]
    pairs = [(a, b) for a, b in itertools.combinations(ids, 2) if rng.random() < 0.6]
    pairs += [pair for pair in itertools.pairwise(ids) if pair not in pairs]
    links = [
        Link(s, d, rate_bps=float(rng.choice([1e6, 5e6, 2e7])), delay_s=float(rng.choice([0.001, 0.01])))
        for a, b in pairs
        for s, d in ((a, b), (b, a))
    ]
    devices = tuple(
        Device(
            id,
            "ue" if id == "ue" else "cloud" if id == "cloud" else "mec",
            factor=float(rng.uniform(0.2, 6.0)),
            power=Power(busy_w=float(rng.uniform(1, 30)), radio_j_per_bit=float(rng.uniform(0, 1e-6))),
            memory_bytes=int(rng.integers(5, 40)) if rng.random() < 0.3 else None,
        )
        for id in ids
    )
    return Topology(devices=devices, links=tuple(links), source="ue", sink="cloud")


def random_profile(rng: np.random.Generator, operators: int) -> Profile:
    return Profile(
        model="m",
        device="d",
        operators=tuple(OperatorCost(f"op{k}", float(rng.exponential(0.02))) for k in range(operators)),
        cuts=tuple(CutSize((int(rng.integers(0, 40_000)),)) for _ in range(operators + 1)),
        weights=tuple(Weights(int(rng.integers(1, 9)), (k,)) for k in range(operators)),
    )


def roles(topology: Topology) -> dict[str, str]:
    return {device.id: device.role for device in topology.devices}


@given(seed=st.integers(0, 2**32 - 1), between=st.integers(0, 4))
@settings(deadline=None, max_examples=60)
def test_next_hops_lead_nearer_and_never_in_circles(seed: int, between: int) -> None:
    rng = np.random.default_rng(seed)
    topology = random_network(rng, between)
    down = tuple(DeviceState(d.id, up=False) for d in topology.devices[1:] if rng.random() < 0.2)
    cut = tuple(LinkState(link.src, link.dst, up=False) for link in topology.links if rng.random() < 0.1)
    conditions = Conditions(devices=down, links=cut)
    ways = feasible_next_hops(topology, conditions)
    usual = parents(topology, conditions=conditions)
    assert {id: dsts[0] if dsts else None for id, dsts in ways.items()} == usual
    end = {id: next(iter(simple_routes(id, {i: d[:1] for i, d in ways.items()})))[-1] for id in ways}
    for source in ways:
        for path in simple_routes(source, ways):
            # Whatever hosts choose, requests end where they would have ended.
            assert path[-1] == end[source]
        left = list(simple_routes(source, ways))
        assert routing.mesh_is_acyclic(source, ways)
        assert len(set(left)) == len(left)
    gone = {state.id for state in down}
    closed = {(state.src, state.dst) for state in cut}
    for src, dsts in ways.items():
        for dst in dsts:
            assert not {src, dst} & gone
            assert not {(src, dst), (dst, src)} & closed  # the result has to come back


def test_a_ue_may_choose_among_the_base_stations_it_hears() -> None:
    """gnb2 is as far from the sink as the UE is; but UEs pass nothing on, so it counts as nearer."""
    ways = feasible_next_hops(load_topology(IAB))
    assert ways["ue"] == ("gnb1", "gnb2")
    assert ways["gnb2"] == ("gnb3",)
    assert ways["gnb5"] == ("gnb6",)
    assert ways["cloud"] == ()


def test_two_ues_do_not_pass_on_for_each_other_but_where_nothing_else_is() -> None:
    pairs = ("ue1-gnb1", "ue1-ue2", "ue2-gnb2", "gnb1-cloud", "gnb2-cloud", "ue3-ue2")
    links = [Link(s, d, 1e6) for pair in pairs for a, b in [pair.split("-")] for s, d in ((a, b), (b, a))]
    devices = tuple(
        Device(id, "ue" if id[0] == "u" else "gnb") for id in ("ue1", "ue2", "ue3", "gnb1", "gnb2", "cloud")
    )
    topology = Topology(devices=devices, links=tuple(links), source="ue1", sink="cloud")
    ways = feasible_next_hops(topology)
    assert (ways["ue1"], ways["ue2"], ways["ue3"]) == (("gnb1",), ("gnb2",), ("ue2",))
    without = feasible_next_hops(topology, Conditions(devices=(DeviceState("gnb1", up=False),)))
    assert without["ue1"] == ("ue2",)


@given(seed=st.integers(0, 2**32 - 1), between=st.integers(1, 3), operators=st.integers(1, 4), everywhere=st.booleans())
@settings(deadline=None, max_examples=60)
def test_no_other_path_is_quicker(seed: int, between: int, operators: int, everywhere: bool) -> None:
    rng = np.random.default_rng(seed)
    topology, profile = random_network(rng, between), random_profile(rng, operators)
    ways = every_next_hop(topology) if everywhere else feasible_next_hops(topology)

    def price(path: Sequence[str]) -> Problem:
        return build_problem(topology, path, {"": profile}, private_operators=1 if seed % 3 == 0 else 0)

    found: list[float] = []
    for path in simple_routes("ue", ways):
        try:
            found.append(solve(price(path)).seconds)
        except Infeasible:
            continue
    if not found:
        with pytest.raises(Infeasible):
            solve(price(best_route("ue", ways, price).chain))  # a path that is alone is not priced before
        return
    route = best_route("ue", ways, price)
    assert route.proven
    assert solve(price(route.chain)).seconds == pytest.approx(min(found), rel=1e-9)


BOUNDED = Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.08),))


@given(
    seed=st.integers(0, 2**32 - 1),
    between=st.integers(1, 3),
    operators=st.integers(1, 4),
    few=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_under_bounds_no_other_path_is_better(seed: int, between: int, operators: int, few: bool) -> None:
    """Where paths are many they are taken in the order of a lower bound: with the same result."""
    rng = np.random.default_rng(seed)
    topology, profile = random_network(rng, between), random_profile(rng, operators)
    ways = feasible_next_hops(topology)

    def price(path: Sequence[str]) -> Problem:
        return build_problem(topology, path, {"": profile})

    met, broken = [], []
    for path in simple_routes("ue", ways):
        try:
            met.append(solve_objective(price(path), BOUNDED, roles(topology)).value)
        except Unreachable as error:
            broken.append(float((error.closest.costs / error.closest.bounds).max()))
        except Infeasible:
            continue
    if not met and not broken:
        return
    with pytest.MonkeyPatch.context() as patch:
        if not few:
            patch.setattr(routing, "simple_routes", _many)
        route = best_route("ue", ways, price, objective=BOUNDED, roles=roles(topology))
    assert route.proven
    if met:
        chosen = solve_objective(price(route.chain), BOUNDED, roles(topology))
        assert chosen.value == pytest.approx(min(met), rel=1e-6)
    else:
        with pytest.raises(Unreachable) as raised:
            solve_objective(price(route.chain), BOUNDED, roles(topology))
        closest = raised.value.closest
        assert float((closest.costs / closest.bounds).max()) == pytest.approx(min(broken), rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), between=st.integers(1, 3), operators=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_where_ways_go_in_circles_what_is_called_proven_is(seed: int, between: int, operators: int) -> None:
    rng = np.random.default_rng(seed)
    topology, profile = random_network(rng, between), random_profile(rng, operators)
    ways = every_next_hop(topology)
    energy = Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.2),))

    def price(path: Sequence[str]) -> Problem:
        return build_problem(topology, path, {"": profile})

    met = []
    for path in simple_routes("ue", ways):
        try:
            met.append(solve_objective(price(path), energy, roles(topology)).value)
        except Infeasible:
            continue
    if not met:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "MOST_ROUTES", 3)
        route = best_route("ue", ways, price, objective=energy, roles=roles(topology))
    assert route.considered <= 3
    if route.proven:
        chosen = solve_objective(price(route.chain), energy, roles(topology))
        assert chosen.value == pytest.approx(min(met), rel=1e-6)


def test_a_bound_that_no_path_looked_at_keeps_is_not_called_impossible_on_all() -> None:
    topology = load_topology(IAB)
    profile = random_profile(np.random.default_rng(3), 4)
    never = Objective(minimize=(Term("energy"),), require=(Bound("latency", 1e-9),))
    with pytest.raises(UnreachablePlan) as every:
        decide(topology, {"": profile}, objective=never, modes=Modes(any_route=True))
    assert "looked at" not in str(every.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "MOST_ROUTES", 1)
        with pytest.raises(UnreachablePlan, match="of the paths, 1 were looked at and there are more") as some:
            decide(topology, {"": profile}, objective=never, modes=Modes(any_route=True))
    assert some.value.plan.costs


def test_how_many_paths_there_are() -> None:
    """Ten diamonds in a row have 2^10 paths; nobody walks them all to know."""
    ways: dict[str, tuple[str, ...]] = {}
    for k in range(40):
        ways |= {f"a{k}": (f"b{k}", f"c{k}"), f"b{k}": (f"a{k + 1}",), f"c{k}": (f"a{k + 1}",)}
    assert routing.count_routes("a30", ways) == len(list(simple_routes("a30", ways))) == 2**10
    assert routing.count_routes("a0", ways) == 2**40
    assert routing.count_routes("x", {"x": ("y",), "y": ("x", "z"), "z": ()}) == 1


def _many(source: str, ways: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """`simple_routes` that pretends there are more than are solved one by one."""
    found = list(simple_routes(source, ways))
    return iter(found if len(found) == 1 else found * (candidates.MOST_ROUTES + 1))


@given(seed=st.integers(0, 2**32 - 1), between=st.integers(0, 4), operators=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_paths_come_in_the_order_of_their_best_plan(seed: int, between: int, operators: int) -> None:
    rng = np.random.default_rng(seed)
    topology, profile = random_network(rng, between), random_profile(rng, operators)
    ways = feasible_next_hops(topology)

    def price(path: Sequence[str]) -> Problem:
        return build_problem(topology, path, {"": profile})

    expected = {}
    for path in simple_routes("ue", ways):
        try:
            expected[path] = solve(price(path)).seconds
        except Infeasible:
            continue
    try:
        came = list(routes_by_cost(routing.mesh_of("ue", ways, price), "ue"))
    except Infeasible:
        assert not expected
        return
    assert sorted(path for _, path in came) == sorted(expected)
    assert [cost for cost, _ in came] == pytest.approx(sorted(expected.values()), rel=1e-9)
    for cost, path in came:
        assert cost == pytest.approx(expected[path], rel=1e-9)


def test_a_slow_access_link_sends_the_ue_to_the_other_base_station() -> None:
    topology = load_topology(IAB)
    profile = Profile(
        model="m",
        device="d",
        operators=tuple(OperatorCost(f"op{k}", 0.005) for k in range(4)),
        cuts=tuple(CutSize((30_000,)) for _ in range(5)),
    )
    plan, _ = decide(topology, {"": profile})
    assert plan.chain == chain(topology)
    assert not any(other.scheme == "nominal-route" for other in plan.alternatives)
    slow = Conditions(links=(LinkState("ue", "gnb1", rate_bps=1e6),))
    plan, _ = decide(topology, {"": profile}, conditions=slow)
    assert plan.chain[:3] == ("ue", "gnb2", "gnb3")
    assert plan.notes == ("path ue - gnb2 - gnb3 - gnb4 - gnb6 - core7 - core8 - cloud: the best of 2",)
    usual = next(other for other in plan.alternatives if other.scheme == "nominal-route")
    assert usual.chain == chain(topology)
    assert usual.predicted_s > plan.predicted_s
    by_hand, _ = decide(topology, {"": profile}, conditions=slow, modes=Modes(route=chain(topology)))
    assert (by_hand.chain, by_hand.predicted_s) == (usual.chain, usual.predicted_s)


def test_any_route_may_turn_aside_to_a_quick_host() -> None:
    """gnb5 lies beside the way to the sink: only a plan that hosts are told to follow uses it."""
    topology = load_topology(IAB)
    devices = tuple(
        msgspec.structs.replace(d, factor=0.001) if d.id == "gnb5" else msgspec.structs.replace(d, factor=10.0)
        for d in topology.devices
    )
    topology = msgspec.structs.replace(topology, devices=devices)
    profile = Profile(model="m", device="d", operators=(OperatorCost("op", 0.5),), cuts=(CutSize((99,)),) * 2)
    nearer, _ = decide(topology, {"": profile})
    anywhere, _ = decide(topology, {"": profile}, modes=Modes(any_route=True))
    assert anywhere.chain[:5] == ("ue", "gnb1", "gnb4", "gnb6", "gnb5")
    assert anywhere.predicted_s < nearer.predicted_s / 10


def test_paths_by_hand_that_cannot_be() -> None:
    topology = load_topology(IAB)
    good = ("ue", "gnb1", "gnb4", "gnb6", "core7", "core8", "cloud")
    assert check_route(good, topology) == good
    for route, said in (
        (("ue", "gnb9"), "no device 'gnb9'"),
        (("ue", "gnb1", "ue"), "comes back to ue"),
        (("gnb1", "gnb4"), "starts at the source, ue"),
        ((), "got nothing"),
        ((*good, "core7"), "comes back to core7"),
        ((*good, "gnb5"), "goes on after the sink"),
    ):
        with pytest.raises(ConfigError, match=f"--route: .*{said}"):
            check_route(route, topology)
    with pytest.raises(NoRoute, match="the link ue->cloud is not in the topology"):
        check_route(("ue", "cloud"), topology)
    down = Conditions(links=(LinkState("ue", "gnb1", up=False),))
    with pytest.raises(NoRoute, match="the link ue->gnb1 is down"):
        check_route(good, topology, down)
    one_way = msgspec.structs.replace(
        topology, links=tuple(link for link in topology.links if (link.src, link.dst) != ("gnb1", "ue"))
    )
    with pytest.raises(NoRoute, match="ue->gnb1 has no link back for the result"):
        check_route(good, one_way)
    assert check_route(good, one_way, result_returns=False) == good


def test_the_way_between_two_hosts() -> None:
    topology = load_topology(IAB)

    def hosts(src: str, dst: str, conditions: Conditions | None = None) -> list[str] | None:
        links = way_between(topology, src, dst, conditions)
        return None if links is None else [src, *(link.dst for link in links)]

    assert hosts("cloud", "gnb1") == ["cloud", "core8", "core7", "gnb6", "gnb4", "gnb1"]
    assert hosts("gnb1", "gnb5") == ["gnb1", "gnb4", "gnb6", "gnb5"]
    assert hosts("gnb1", "gnb1") == ["gnb1"]
    assert hosts("gnb1", "gnb2") == ["gnb1", "gnb4", "gnb3", "gnb2"]  # not over the UE, though that is shorter
    assert hosts("gnb1", "cloud", Conditions(devices=(DeviceState("gnb6", up=False),))) is None
    assert hosts("gnb1", "gnb2", Conditions(devices=(DeviceState("gnb4", up=False),))) == ["gnb1", "ue", "gnb2"]
