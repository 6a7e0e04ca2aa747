"""Routes and stops of a mesh against every simple path and every multi-split of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_instances import enumerate_all, plain_problem, random_problem

from airloom.core.problem import HopCost, HostCost, Option
from airloom.errors import Infeasible
from airloom.planner.chain import solve
from airloom.planner.mesh import Mesh, solve_mesh


def simple_paths(mesh: Mesh, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for dst in mesh.ways[path[-1]]:
        if dst not in path:
            yield from simple_paths(mesh, (*path, dst))


def random_mesh(rng: np.random.Generator, hosts: int, operators: int, *, coarse: bool, circles: bool) -> Mesh:
    """Hosts and hops of `random_problem` put together at random, in circles or not."""
    problem = random_problem(rng, hosts, operators, coarse=coarse)
    ids = [host.device for host in problem.hosts]
    private = problem.hosts[0].min_stop
    costs = {host.device: dataclasses.replace(host, min_stop=0) for host in problem.hosts}
    hops: dict[tuple[str, str], HopCost] = {}
    ways: dict[str, tuple[str, ...]] = dict.fromkeys(ids, ())
    for src, dst in itertools.permutations(ids, 2):
        if rng.random() < 0.6 and (circles or ids.index(src) < ids.index(dst)):
            hop = random_problem(rng, 2, operators, coarse=coarse).hops[0]
            hops[src, dst] = dataclasses.replace(hop, src=src, dst=dst)
            ways[src] = (*ways[src], dst)
    return Mesh(hosts=costs, hops=hops, ways=ways, private_operators=private)


def least(mesh: Mesh, source: str) -> float:
    """Every simple path, every assignment of the operators to it."""
    best = float("inf")
    for path in simple_paths(mesh, (source,)):
        found = enumerate_all(mesh.chain_problem(path))
        best = min(best, found[0][0] if found else best)
    return best


@given(
    seed=st.integers(0, 2**32 - 1),
    hosts=st.integers(1, 4),
    operators=st.integers(1, 4),
    coarse=st.booleans(),
    circles=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_no_path_and_no_split_is_better(seed: int, hosts: int, operators: int, coarse: bool, circles: bool) -> None:
    mesh = random_mesh(np.random.default_rng(seed), hosts, operators, coarse=coarse, circles=circles)
    for source in mesh.hosts:
        expected = least(mesh, source)
        if expected == float("inf"):
            with pytest.raises(Infeasible):
                solve_mesh(mesh, [source])
            continue
        found = solve_mesh(mesh, [source]).sources[source]
        assert found.seconds == pytest.approx(expected, abs=1e-9)
        assert found.gap == 0.0
        assert len(set(found.chain)) == len(found.chain)
        assert mesh.chain_problem(found.chain).chain_s(found.stops) == found.seconds


@given(seed=st.integers(0, 2**32 - 1), operators=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_one_pass_serves_every_source(seed: int, operators: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = random_mesh(rng, 4, operators, coarse=False, circles=True)
    possible = [source for source in mesh.hosts if least(mesh, source) < float("inf")]
    together = solve_mesh(mesh, possible)
    for source in possible:
        assert together.sources[source] == solve_mesh(mesh, [source]).sources[source]


@given(seed=st.integers(0, 2**32 - 1), hosts=st.integers(1, 4), operators=st.integers(1, 6), coarse=st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_chain_is_a_mesh_with_one_way(seed: int, hosts: int, operators: int, coarse: bool) -> None:
    problem = random_problem(np.random.default_rng(seed), hosts, operators, coarse=coarse)
    ids = [host.device for host in problem.hosts]
    mesh = Mesh(
        hosts={host.device: dataclasses.replace(host, min_stop=0) for host in problem.hosts},
        hops={(hop.src, hop.dst): hop for hop in problem.hops},
        ways={src: (dst,) for src, dst in itertools.pairwise(ids)} | {ids[-1]: ()},
        private_operators=problem.hosts[0].min_stop,
        template=problem,
    )
    if not enumerate_all(problem):
        with pytest.raises(Infeasible) as on_chain:
            solve(problem)
        with pytest.raises(Infeasible) as in_mesh:
            solve_mesh(mesh, [ids[0]])
        assert str(in_mesh.value) == str(on_chain.value)
        return
    expected = solve(problem)
    found = solve_mesh(mesh, [ids[0]]).sources[ids[0]]
    assert (found.chain, found.stops, found.seconds) == (tuple(ids), expected.stops, expected.seconds)


def host(id: str, *seconds: float, last_start: list[int] | None = None) -> HostCost:
    starts = None if last_start is None else np.array(last_start)
    return HostCost(device=id, elapsed_s=np.concatenate([[0.0], np.cumsum(seconds)]), last_start=starts)


def hop(src: str, dst: str, *seconds: float) -> HopCost:
    return HopCost(src=src, dst=dst, options=tuple((Option(transfer_s=s),) for s in seconds))


def test_a_request_never_comes_back_to_a_host() -> None:
    """a is quick at the first and the last operator, b at the one between: a walk a-b-a would take 3 s + 2 hops."""
    mesh = Mesh(
        hosts={"a": host("a", 1, 9, 1), "b": host("b", 9, 1, 9)},
        hops={("a", "b"): hop("a", "b", 0.5, 0.5, 0.5, 0), ("b", "a"): hop("b", "a", 0.5, 0.5, 0.5, 0)},
        ways={"a": ("b",), "b": ("a",)},
    )
    solution = solve_mesh(mesh, ["a", "b"])
    assert solution.hosts["a"].cost_s[0] == 4.0  # the walk
    # a whole 11 s; a then b 1 + .5 + 10 = 11.5 s.
    assert solution.sources["a"].stops == (3, 3)
    assert solution.sources["a"].seconds == 11.0
    # b hands everything to a.
    assert (solution.sources["b"].chain, solution.sources["b"].seconds) == (("b", "a"), 11.5)


def test_two_stages_on_one_host_do_not_cheat_its_memory() -> None:
    """a holds one operator at most, b only the second: no path can run three operators."""
    mesh = Mesh(
        hosts={"a": host("a", 1, 1, 1, last_start=[0, 0, 1, 2]), "b": host("b", 1, 1, 1, last_start=[0, 1, 1, 3])},
        hops={("a", "b"): hop("a", "b", 0, 0, 0, 0), ("b", "a"): hop("b", "a", 0, 0, 0, 0)},
        ways={"a": ("b",), "b": ("a",)},
    )
    with pytest.raises(Infeasible):
        solve_mesh(mesh, ["a"])


def test_of_ways_that_cost_the_same_the_first_is_taken() -> None:
    mesh = Mesh(
        hosts={id: host(id, 9.0 if id != "sink" else 1.0) for id in ("ue", "b", "a", "sink")},
        hops={(s, d): hop(s, d, 1.0, 0.0) for s, d in (("ue", "a"), ("ue", "b"), ("a", "sink"), ("b", "sink"))},
        ways={"ue": ("b", "a"), "a": ("sink",), "b": ("sink",), "sink": ()},
    )
    solution = solve_mesh(mesh, ["ue"])
    assert solution.sources["ue"].chain == ("ue", "b", "sink")
    decision = solution.hosts["ue"]
    assert (decision.table.stop_at(0), decision.next_hop(0), decision.next_hop(1)) == (0, "b", None)


def test_too_many_hosts_to_watch_gives_a_path_and_how_far_it_may_be_from_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airloom.planner.mesh.MOST_WATCHED", 0)
    for seed in range(200):
        mesh = random_mesh(np.random.default_rng(seed), 4, 4, coarse=False, circles=True)
        expected = least(mesh, "h0")
        if expected == float("inf"):
            continue
        try:
            found = solve_mesh(mesh, ["h0"]).sources["h0"]
        except Infeasible:
            continue  # only paths that lead away from the source are looked at
        assert found.seconds * (1.0 - found.gap) <= expected + 1e-9 <= found.seconds + 2e-9
        if found.gap > 0.0:
            return
    pytest.fail("no mesh in which the best walk comes back to a host")


def test_the_messages_are_those_of_the_chain_wave() -> None:
    problem = plain_problem(np.random.default_rng(3), 6, 40)
    ids = [h.device for h in problem.hosts]
    mesh = Mesh(
        hosts={h.device: h for h in problem.hosts},
        hops={(h.src, h.dst): h for h in problem.hops},
        ways={src: (dst,) for src, dst in itertools.pairwise(ids)} | {ids[-1]: ()},
    )
    from airloom.planner.chain import fold

    for (message, _), id in zip(fold(problem), ids, strict=True):
        assert np.array_equal(solve_mesh(mesh, ids).hosts[id].cost_s, message)
