"""What a network of one depth costs at every cut of the UE, with the best rest behind it.

For a cut of the UE and the last host that may compute, the split cost wave of the hosts behind the UE
(`planner.chain.fold`) has the best rest for all cuts at once, so all cuts of the UE are compared, not sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from airloom.core.delivery_plan import DeliveryAsked
from airloom.core.problem import HopCost, HostCost, PlainOptions, Problem
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.planner.chain import fold, follow
from airloom.planner.pricing import FRAMED, Choices, build_problem
from airloom.planner.progressive.download import Pair, best_way
from airloom.planner.wave import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rest:
    """The best rest behind each cut of the UE, with the hosts up to `last`."""

    last: int
    latency_s: Floats
    tables: list[Table]


@dataclass(frozen=True)
class DepthPrices:
    """What a network of one depth costs on the chain under a rate of requests.

    Attributes:
        problem: with stages and cuts that hosts and links could not keep up with taken out.
        weightless: the last cut up to which the UE needs no weights.
        part_of: of each operator, the part whose weights it reads; -1 where it reads none.
        energy_j: `[L+1]` of the UE for a request that it hands over at each cut, result included; at L it runs all.
    """

    problem: Problem
    part_of: tuple[int, ...]
    rests: tuple[Rest, ...]
    energy_j: Floats
    loads: tuple[dict[Pair, float], ...] = field(default=())

    @property
    def num_operators(self) -> int:
        return self.problem.num_operators

    def reach(self, there: frozenset[int]) -> int:
        """The last cut that the UE can hand over at with the weights of these parts; L where it can run all."""
        for k, part in enumerate(self.part_of):
            if part >= 0 and part not in there:
                return k
        return self.num_operators

    def stops(self, rest: Rest, cut: int) -> tuple[int, ...]:
        """The assignment: the UE up to `cut`, then as the tables say."""
        after = follow(rest.tables, cut)
        return (cut, *after, *(self.num_operators,) * (len(self.problem.hosts) - 1 - len(after)))


def depth_prices(
    profiles: Mapping[str, Profile],
    part_of: tuple[int, ...],
    topology: Topology,
    chain: tuple[str, ...],
    asked: DeliveryAsked,
    *,
    conditions: Conditions | None,
    choices: Choices | None,
    private: int,
) -> DepthPrices:
    """Price a depth's network on the chain.

    Args:
        profiles: of the network of this depth, by device.
        part_of: of each operator the part it belongs to.
        private: how many of the first operators stay on the UE.
    """
    problem = build_problem(
        topology, chain, profiles, conditions=conditions, framing=FRAMED, private_operators=private, choices=choices
    )
    rate = asked.requests_per_s
    hosts = tuple(_keeping_up(host, rate) for host in problem.hosts)
    hops, backs = [], []
    for hop in problem.hops:
        ahead = best_way(topology, (hop.src, hop.dst), conditions, choices)
        home = best_way(topology, (hop.dst, hop.src), conditions, choices)
        back_bps = 8.0 * hop.back.nbytes * rate / max(1.0 - home.loss, 1e-9)
        backs.append(((hop.dst, hop.src), back_bps))
        most = ahead.rate_bps * (1.0 - ahead.loss) / (8.0 * rate) if back_bps <= home.rate_bps else -1.0
        hops.append(_not_over(hop, most))
    limited = dataclasses.replace(problem, hosts=hosts, hops=tuple(hops))
    source, count = hosts[0], limited.num_operators
    stage = np.array([source.stage_s(0, k) for k in range(count + 1)])
    rests, loads = [], []
    for last in range(1, len(hosts)):
        behind = dataclasses.replace(limited, hosts=hosts[1 : last + 1], hops=tuple(hops[1:last]))
        told = fold(behind)
        latency = stage + hops[0].cost_s + told[0][0]
        rests.append(Rest(last, latency, [table for _, table in told]))
        loads.append(dict(backs[:last]))
    energy = stage * source.energy_w
    if hops:
        sending = np.array([hops[0].best(k).energy_j if hops[0].options[k] else np.inf for k in range(count)])
        energy[:count] += np.where(np.isfinite(sending), sending, 0.0) + hops[0].back.receive_j
    return DepthPrices(limited, part_of, tuple(rests), energy, tuple(loads))


def _keeping_up(host: HostCost, requests_per_s: float) -> HostCost:
    """The host with only the stages that it finishes before the next request comes."""
    limit = 1.0 / requests_per_s
    starts = np.zeros(host.num_operators + 1, dtype=np.intp) if host.last_start is None else host.last_start.copy()
    start = 0
    for stop in range(1, host.num_operators + 1):
        start = max(start, int(starts[stop]))
        while start < stop and host.stage_s(start, stop) > limit:
            start += 1
        starts[stop] = start
    return dataclasses.replace(host, last_start=starts)


def _not_over(hop: HopCost, most_nbytes: float) -> HopCost:
    """The hop with only the cuts that its link carries before the next request comes."""
    if isinstance(hop.options, PlainOptions):
        plain = hop.options
        seconds = np.where(plain.nbytes <= most_nbytes, plain.total_s, np.inf)
        limited = PlainOptions(seconds, plain.nbytes, lambda: (plain.energy_j, plain.receive_j), lambda k: plain[k][0])
        return dataclasses.replace(hop, options=limited)
    rows = tuple(tuple(option for option in row if option.nbytes <= most_nbytes) for row in hop.options)
    return dataclasses.replace(hop, options=rows)
