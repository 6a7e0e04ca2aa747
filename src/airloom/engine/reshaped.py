"""Deciding by HiveMind's reshaped edges (Eq. 12): Algorithm 1 at one host, O(L^2).

An edge is a host's stage with the transfer into it, and what it costs grows without end as one of its metrics nears
that metric's bound (`planner.objective.convex`). So a host's message is about a transfer over the link from the host
that it speaks to, and what it does with a task depends on where that came from. Messages stay one number for each
cut; a bound on the whole path is not promised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Objective
from airloom.core.problem import Cuts, Floats, HostCost
from airloom.core.topology import Topology
from airloom.engine.bounded import Priced
from airloom.engine.decision import Choice, Incoming, OneNumber, Said, Way, told
from airloom.engine.hops import Hop
from airloom.planner.objective.convex import SHARE
from airloom.planner.objective.vectors import option_costs


class Reshaped(OneNumber):
    """Reshaped edges.

    Args:
        value: the least value of the best-effort sum, to which bounded metrics are held.
    """

    heeds_upstream = True

    def __init__(
        self, objective: Objective, topology: Topology, num_operators: int, *, value: float, share: float = SHARE
    ) -> None:
        super().__init__(num_operators)
        self.priced, self._value, self._share = Priced(objective, topology), value, share

    def decide(self, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> ReshapedDecision:
        return ReshapedDecision(self, host, ways, incoming)

    def edges(self, phi: Floats) -> Floats:
        """What edges cost whose metrics are `phi`, `[M, L+1, L+1]`."""
        total: Floats = np.tensordot(self.priced.weights / self._value, phi, axes=1)
        for cost, bound in zip(phi, self.priced.bounds, strict=True):
            if np.isfinite(bound):
                over = cost >= bound
                total = total + np.where(over, np.inf, self._share * cost / np.where(over, 1.0, bound - cost))
        return total

    def carried(self, hop: Hop, child: str, here: HostCost) -> Floats:
        """`[M, L+1]` what the fastest way of each cut over the hop from `child` costs, infinity at L."""
        priced, sender = self.priced, self.priced.devices[child]
        cuts = range(len(hop.cost_s) - 1)
        paid = [option_costs(hop.option(cut), sender, here, priced.counted, priced.roles) for cut in cuts]
        back = np.array(option_costs(hop.whole.back, here, sender, priced.counted, priced.roles))
        whole = np.full((len(priced.weights), len(hop.cost_s)), np.inf)
        whole[:, :-1] = np.array(paid).T + back[:, None]
        return whole


class ReshapedDecision:
    """The stops of one state of the network, by the host that a task comes from."""

    def __init__(self, decider: Reshaped, host: HostCost, ways: Sequence[Way], incoming: Incoming) -> None:
        self._decider, self._host, self._ways, self._incoming = decider, host, ways, incoming
        own = decider.priced.host(host)
        cuts = np.arange(host.num_operators + 1)
        stays, later = cuts[None, :] == cuts[:, None], cuts[None, :] > cuts[:, None]
        self._allowed = stays | (later & (cuts[None, :] <= own.last_stop[:, None]))
        runs = own.elapsed[:, None, :] - own.elapsed[:, :, None] + own.constant[:, None, None]
        self._stages = np.where(stays, 0.0, runs)
        rows = np.array([way.said.cost_s.astype(np.float64) for way in ways])
        self._beyond = rows.min(axis=0) if ways else np.full(host.num_operators + 1, np.inf)
        self._pick = rows.argmin(axis=0) if ways else np.zeros(host.num_operators + 1, dtype=np.intp)
        self._beyond[: host.min_stop] = np.inf
        self._beyond[-1] = 0.0
        self._found: dict[str, tuple[Floats, Cuts]] = {}

    @property
    def costs(self) -> Floats:
        return self._from("")[0]

    @property
    def stops(self) -> Cuts:
        return self._from("")[1]

    def seconds(self, cut: int) -> float:
        return float("nan") if np.isfinite(self.costs[cut]) else float("inf")

    def choose(self, cut: int, left: tuple[float, ...], came_from: str) -> Choice | None:
        costs, stops = self._from(came_from)
        if not np.isfinite(costs[cut]):
            return None
        stop = int(stops[cut])
        if stop == self._host.num_operators:
            return Choice(stop)
        hop = self._ways[int(self._pick[stop])].hop
        return Choice(stop, hop.dst, hop.option(stop))

    def message(self, child: str) -> Said:
        cost_s = told(self._from(child)[0])
        cost_s[-1] = 0.0
        return Said(cost_s)

    def _from(self, child: str) -> tuple[Floats, Cuts]:
        """`[L+1]` what is left to pay for a task that comes from `child`, and where to stop."""
        if child not in self._found:
            phi = self._stages
            hop = self._incoming(child) if child else None
            if hop is not None:
                carried = self._decider.carried(hop, child, self._host)
                barred: NDArray[np.bool_] = np.logical_or.reduce(np.isinf(carried), axis=0)
                phi = phi + np.where(barred, 0.0, carried)[:, :, None]
                allowed = self._allowed & ~barred[:, None]
            else:
                allowed = self._allowed
            total = np.where(allowed, self._decider.edges(np.where(allowed, phi, 0.0)) + self._beyond, np.inf)
            stop = total.shape[1] - 1 - total[:, ::-1].argmin(axis=1)
            self._found[child] = total[np.arange(len(stop)), stop], stop
        return self._found[child]
