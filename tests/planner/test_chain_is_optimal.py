"""Law 1: the planner's answer equals brute force, Dijkstra on larger instances, and the float32 wave."""

from __future__ import annotations

import dataclasses

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_instances import enumerate_all, plain_problem, random_problem

from airloom.core.problem import HopCost, HostCost, Option, Problem
from airloom.errors import Infeasible
from airloom.planner.baselines import best_single_split, cloud_only, ue_only
from airloom.planner.chain import fold, follow, runner_ups, solve
from airloom.planner.wave import Table, step


def _solved(problem: Problem) -> tuple[float, tuple[int, ...]] | None:
    try:
        solution = solve(problem)
    except Infeasible:
        return None
    return solution.seconds, solution.stops


@pytest.mark.parametrize("seed", range(8))
def test_equals_brute_force_on_random_instances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    feasible = 0
    for _ in range(400):
        problem = random_problem(rng, hosts=int(rng.integers(1, 5)), operators=int(rng.integers(1, 8)))
        tried = enumerate_all(problem)
        solved = _solved(problem)
        if not tried:
            assert solved is None
            continue
        feasible += 1
        assert solved is not None
        assert solved[0] == pytest.approx(tried[0][0], abs=1e-9)
        assert fold(problem)[0][0][0] == pytest.approx(tried[0][0], abs=1e-9)
    assert 200 < feasible < 400


@given(seed=st.integers(0, 2**32), hosts=st.integers(1, 4), operators=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_message_equals_brute_force_from_every_cut(seed: int, hosts: int, operators: int) -> None:
    problem = random_problem(np.random.default_rng(seed), hosts, operators)
    message, table = fold(problem)[0]
    for start in range(operators + 1):
        costs = [
            problem.hosts[0].stage_s(start, stop)
            + (
                0.0
                if stop == operators
                else problem.hops[0].cost_s[stop] + fold(problem)[1][0][stop]
                if problem.hops
                else np.inf
            )
            for stop in range(start, operators + 1)
            if problem.hosts[0].fits(start, stop) and (stop >= problem.hosts[0].min_stop)
        ]
        best = min(costs, default=np.inf)
        assert message[start] == pytest.approx(best, abs=1e-9)
        assert start <= table.stop[start] <= operators
        assert np.isinf(best) or table.stop_at(start) == table.stop[start]
    assert message[operators] == 0.0


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_of_equal_plans_the_one_that_stays_put_longest(seed: int) -> None:
    problem = random_problem(np.random.default_rng(seed), hosts=3, operators=5, coarse=True)
    tried = enumerate_all(problem)
    solved = _solved(problem)
    if tried:
        # Small integers add without rounding: equal costs are equal.
        assert solved == (tried[0][0], max(stops for seconds, stops in tried if seconds == tried[0][0]))


@pytest.mark.parametrize("seed", range(6))
def test_runner_ups_equal_sorted_brute_force(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    for _ in range(60):
        problem = random_problem(rng, hosts=int(rng.integers(1, 5)), operators=int(rng.integers(1, 6)))
        tried = enumerate_all(problem)
        if not tried:
            with pytest.raises(Infeasible):
                runner_ups(problem, 3)
            continue
        k = int(rng.integers(1, 12))
        found = runner_ups(problem, k)
        assert [s.seconds for s in found] == pytest.approx([seconds for seconds, _ in tried[1 : k + 1]], abs=1e-9)
        stops = [s.stops for s in found]
        assert len({*stops, solve(problem).stops}) == len(stops) + 1
        assert all(problem.chain_s(s.stops) == s.seconds for s in found)


def _dijkstra(problem: Problem) -> float:
    last = problem.num_operators
    graph = nx.DiGraph()
    for p, host in enumerate(problem.hosts):
        for start in range(last + 1):
            for stop in range(start, last + 1):
                if not host.fits(start, stop) or stop < host.min_stop:
                    continue
                if stop == last:
                    graph.add_edge((p, start), "end", weight=host.stage_s(start, stop))
                elif p < len(problem.hops):
                    graph.add_edge(
                        (p, start),
                        (p + 1, stop),
                        weight=host.stage_s(start, stop) + float(problem.hops[p].cost_s[stop]),
                    )
    return float(nx.dijkstra_path_length(graph, (0, 0), "end"))


@pytest.mark.parametrize(("hosts", "operators"), [(5, 60), (3, 90), (8, 40)])
def test_equals_dijkstra_on_larger_instances(hosts: int, operators: int) -> None:
    rng = np.random.default_rng(hosts)
    problem = plain_problem(rng, hosts, operators)
    assert solve(problem).seconds == pytest.approx(_dijkstra(problem), abs=1e-9)
    tight = np.maximum(np.arange(operators + 1) - operators // 3, 0)
    limited = dataclasses.replace(
        problem, hosts=tuple(dataclasses.replace(host, last_start=tight, min_stop=0) for host in problem.hosts)
    )
    assert solve(limited).seconds == pytest.approx(_dijkstra(limited), abs=1e-9)
    assert solve(limited).seconds > solve(problem).seconds


def test_float32_wave_priced_again_is_within_1e_6() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        problem = plain_problem(rng, hosts=5, operators=50)
        tables: list[Table] = []
        message = None
        for host, hop in zip(reversed(problem.hosts), (None, *reversed(problem.hops)), strict=True):
            message, table = step(host, hop, None if message is None else message.astype(np.float32))
            tables.insert(0, table)
        stops = follow(tables)
        assert abs(problem.chain_s(stops) - solve(problem).seconds) <= 1e-6


@given(seed=st.integers(0, 2**32), hosts=st.integers(1, 4), operators=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_never_above_the_baselines(seed: int, hosts: int, operators: int) -> None:
    problem = random_problem(np.random.default_rng(seed), hosts, operators)
    solved = _solved(problem)
    for baseline in (ue_only(problem), cloud_only(problem), best_single_split(problem)):
        if baseline is not None:
            assert solved is not None
            assert solved[0] <= baseline.seconds + 1e-12
            assert baseline.seconds == problem.chain_s(baseline.stops)


@given(seed=st.integers(0, 2**32), operators=st.integers(1, 8), upstream=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_a_table_does_not_change_with_anything_upstream(seed: int, operators: int, upstream: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, 4, operators)
    other = random_problem(rng, upstream + 1, operators)
    mixed = Problem(
        hosts=(*other.hosts[:upstream], *problem.hosts[1:]), hops=(*other.hops[:upstream], *problem.hops[1:])
    )
    for (message, table), (message_2, table_2) in zip(fold(problem)[1:], fold(mixed)[upstream:], strict=True):
        assert np.array_equal(message, message_2)
        assert np.array_equal(table.stop, table_2.stop)


def test_a_constant_is_paid_by_stages_that_run_something_only() -> None:
    hosts = tuple(
        HostCost(device=name, elapsed_s=np.array([0.0, 1.0, 2.0]) / speed, constant_s=10.0)
        for name, speed in (("ue", 1), ("mec", 2))
    )
    hop = HopCost(src="ue", dst="mec", options=tuple((Option(transfer_s=s),) for s in (0.25, 0.0, 0.0)))
    solution = solve(Problem(hosts=hosts, hops=(hop,)))
    assert solution.stops == (0, 2)
    assert solution.seconds == 0.25 + 10.0 + 1.0


def test_private_operators_stay_on_the_source() -> None:
    hosts = (
        HostCost(device="ue", elapsed_s=np.array([0.0, 5.0, 10.0, 15.0]), min_stop=2),
        HostCost(device="mec", elapsed_s=np.array([0.0, 0.1, 0.2, 0.3])),
    )
    problem = Problem(hosts=hosts, hops=(HopCost(src="ue", dst="mec", options=((Option(),),) * 4),))
    assert solve(problem).stops == (2, 3)
    assert cloud_only(problem) is None
    assert best_single_split(problem) == solve(problem)
