"""Small random problems and the plainest way to solve them: try every assignment."""

from __future__ import annotations

import itertools

import numpy as np

from airloom.core.problem import HopCost, HostCost, Option, Problem
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Device
from airloom.planner.pricing import host_cost


def random_problem(rng: np.random.Generator, hosts: int, operators: int, *, coarse: bool = False) -> Problem:
    """Random costs with, each now and then, memory limits, privacy, constants, cuts that cannot be carried.

    `coarse` draws small integers, so that ties are common and sums are exact.
    """

    def seconds(size: int) -> np.ndarray:
        return rng.integers(0, 4, size).astype(float) if coarse else rng.exponential(rng.choice([0.1, 1.0, 5.0]), size)

    weights = tuple(
        Weights(
            nbytes=int(rng.integers(0, 9)),
            operators=tuple(
                int(op) for op in rng.choice(operators, size=int(rng.integers(1, min(3, operators) + 1)), replace=False)
            ),
        )
        for _ in range(int(rng.integers(0, 2 * operators)))
    )
    profile_cuts = tuple(CutSize(tensor_nbytes=()) for _ in range(operators + 1))
    private = int(rng.integers(0, operators + 1)) if rng.random() < 0.3 else 0
    built: list[HostCost] = []
    for p in range(hosts):
        costs = tuple(OperatorCost(name=f"op{i}", compute_s=float(s)) for i, s in enumerate(seconds(operators)))
        profile = Profile(
            model="random",
            device=f"h{p}",
            operators=costs,
            cuts=profile_cuts,
            weights=weights,
            stage_constant_s=float(seconds(1)[0]) if rng.random() < 0.5 else 0.0,
        )
        memory = int(rng.integers(0, 30)) if rng.random() < 0.4 else None
        device = Device(id=f"h{p}", role="mec", memory_bytes=memory, computes=bool(rng.random() < 0.9))
        built.append(host_cost(device, profile, private_operators=private, is_source=p == 0))
    hops = []
    for p in range(hosts - 1):
        carried = seconds(operators + 1)
        barred = rng.random(operators + 1) < (0.15 if rng.random() < 0.3 else 0.0)
        options = tuple(
            () if no else (Option(coding="slow", transfer_s=float(s) + 9.0), Option(transfer_s=float(s)))
            for s, no in zip(carried, barred, strict=True)
        )
        back = Option(transfer_s=float(seconds(1)[0])) if rng.random() < 0.5 else Option()
        hops.append(HopCost(src=f"h{p}", dst=f"h{p + 1}", options=options, back=back))
    return Problem(hosts=tuple(built), hops=tuple(hops), weights=weights)


def enumerate_all(problem: Problem) -> list[tuple[float, tuple[int, ...]]]:
    """Every assignment that the limits allow with its seconds, cheapest first."""
    last = problem.num_operators
    priced = (
        (problem.chain_s((*stops, last)), (*stops, last))
        for stops in itertools.combinations_with_replacement(range(last + 1), len(problem.hosts) - 1)
    )
    return sorted(p for p in priced if p[0] != float("inf"))


def plain_problem(rng: np.random.Generator, hosts: int, operators: int, *, constant_s: float = 0.001) -> Problem:
    """A large problem without limits."""
    costs = [
        HostCost(
            device=f"h{p}",
            elapsed_s=np.concatenate([[0.0], np.cumsum(rng.exponential(0.01 / (p + 1), operators))]),
            constant_s=constant_s,
        )
        for p in range(hosts)
    ]
    hops = [
        HopCost(
            src=f"h{p}",
            dst=f"h{p + 1}",
            options=tuple((Option(transfer_s=float(s)),) for s in rng.exponential(0.05, operators + 1)),
            back=Option(transfer_s=0.002),
        )
        for p in range(hosts - 1)
    ]
    return Problem(hosts=tuple(costs), hops=tuple(hops))
