"""Small random problems in several metrics, and the plainest way to solve them: try every assignment."""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import msgspec
import numpy as np
from planner_instances import random_problem

from airloom.core.objective import Bound, Objective, Term
from airloom.core.problem import Floats, HopCost, Option, Problem
from airloom.planner.objective.vectors import VectorProblem

ROLES = {"h0": "ue", **{f"h{p}": "mec" for p in range(1, 12)}}


def rich_problem(rng: np.random.Generator, hosts: int, operators: int, *, coarse: bool = False) -> Problem:
    """`random_problem` with powers, prices, bytes and joules; small integers if `coarse`."""
    problem = random_problem(rng, hosts, operators, coarse=coarse)

    def spend(option: Option) -> Option:
        return msgspec.structs.replace(
            option,
            nbytes=int(rng.integers(0, 9)),
            energy_j=float(rng.integers(0, 9)),
            receive_j=float(rng.integers(0, 3)),
        )

    return dataclasses.replace(
        problem,
        hosts=tuple(
            dataclasses.replace(
                host, energy_w=float(rng.integers(0, 5)), price_per_s=float(rng.integers(0, 5)), min_stop=host.min_stop
            )
            for host in problem.hosts
        ),
        hops=tuple(
            dataclasses.replace(
                hop,
                options=tuple(tuple(spend(option) for option in row) for row in hop.options),
                back=spend(hop.back),
            )
            for hop in problem.hops
        ),
    )


def coded_problem(rng: np.random.Generator, hosts: int, operators: int) -> Problem:
    """A problem whose cuts may travel coded, over several hops in one coding."""
    problem = rich_problem(rng, hosts, operators)

    def option(coding: str) -> Option:
        return Option(
            coding=coding,
            transfer_s=float(rng.exponential(1.0)),
            code_s=0.0 if coding == "raw" else float(rng.exponential(0.3)),
            decode_s=0.0 if coding == "raw" else float(rng.exponential(0.3)),
            nbytes=int(rng.integers(1, 9)),
            energy_j=float(rng.integers(0, 9)),
            receive_j=float(rng.integers(0, 3)),
        )

    def rows(most: int) -> tuple[tuple[Option, ...], ...]:
        return tuple(
            tuple(option(coding) for coding in ("raw", "a", "b") for _ in range(int(rng.integers(0, most))))
            for _ in range(operators + 1)
        )

    hops: list[HopCost] = [
        dataclasses.replace(hop, options=rows(3), relayed=rows(2) if rng.random() < 0.8 else ()) for hop in problem.hops
    ]
    return dataclasses.replace(problem, hops=tuple(hops))


def random_objective(rng: np.random.Generator, *, least: int = 0) -> Objective:
    """Energy of all or of the UE, latency now and then, under up to four bounds that may or may not be met."""
    bounds = (
        Bound("latency", float(rng.integers(1, 20))),
        Bound("bytes", float(rng.integers(1, 20))),
        Bound("money", float(rng.integers(1, 60))),
        Bound("energy", float(rng.integers(1, 60)), ("ue",)),
    )
    chosen = sorted(rng.choice(4, int(rng.integers(least, 5)), replace=False).tolist())
    minimize = [Term("energy", 1.0, () if rng.random() < 0.7 else ("ue",))]
    if rng.random() < 0.3:
        minimize.append(Term("latency", 0.5))
    return Objective(minimize=tuple(minimize), require=tuple(bounds[i] for i in chosen))


class Tried(NamedTuple):
    """An assignment with its ways and costs `[M]`."""

    stops: tuple[int, ...]
    ways: tuple[int, ...]
    costs: Floats


def try_all(problem: VectorProblem) -> list[Tried]:
    """Every assignment that the limits allow, in every way of carrying its cuts."""
    last, found = problem.num_operators, []
    for head in itertools.combinations_with_replacement(range(last + 1), len(problem.hosts) - 1):
        stops = (*head, last)
        counts = [len(problem.crossing(p, q).costs) for p, q in problem.transfers(stops)]
        for ways in itertools.product(*(range(count) for count in counts)):
            costs = problem.cost(stops, ways)
            if np.isfinite(costs).all():
                found.append(Tried(stops, ways, costs))
    return found
