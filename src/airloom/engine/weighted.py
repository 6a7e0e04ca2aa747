"""Deciding by one weighted sum of several metrics: messages stay one number for each cut (HiveMind Eq. 11)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, Floats, HostCost, Option
from airloom.core.topology import Topology
from airloom.engine.bounded import Priced
from airloom.engine.decision import Incoming, OneNumber, Scalar, Way
from airloom.engine.hops import Hop
from airloom.planner.objective.vectors import Crossing


class Weighted(OneNumber):
    """The least weighted sum.

    Args:
        weights: `[M]` of the objective's metrics; None takes its own.
    """

    def __init__(
        self, objective: Objective, topology: Topology, num_operators: int, weights: Floats | None = None
    ) -> None:
        super().__init__(num_operators)
        self._priced = Priced(objective, topology)
        self._weights = self._priced.weights if weights is None else weights

    def decide(self, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> Scalar:
        own = self._priced.host(host)
        weighed = dataclasses.replace(
            host, elapsed_s=self._weights @ own.elapsed, constant_s=float(self._weights @ own.constant), haul=None
        )
        tails, picks = list[Floats](), dict[str, tuple[Crossing, Cuts]]()
        for way in ways:
            crossing = self._priced.hop(host, way.hop)
            with np.errstate(
                invalid="ignore"
            ):  # a way that is not there has infinite costs, of which some may not count
                costs = np.tensordot(self._weights, crossing.costs, axes=(0, 1))
            costs = np.where(np.isnan(costs), np.inf, costs)
            picks[way.hop.dst] = crossing, costs.argmin(axis=0)
            tails.append(costs.min(axis=0) + way.said.cost_s.astype(np.float64))

        def option(hop: Hop, cut: int) -> Option:
            crossing, best = picks[hop.dst]
            return crossing.route(int(best[cut]), cut)[0]

        return Scalar(weighed, tails, tuple(way.hop for way in ways), in_seconds=False, option=option)
