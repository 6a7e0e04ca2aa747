"""What the hops from a host cost: every cut over the link to each next host, and the result's way back.

A hop's price holds the link's fixed overhead (HiveMind Eq. 10, psi: `Link.overhead_s`, into which deployments put
the measured handling of a message) once for each transfer, beside propagation and the bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from airloom.core.problem import Floats, HopCost, Option
from airloom.core.topology import Link, LinkState, Topology
from airloom.engine.config import HostConfig
from airloom.engine.radios import link_choices
from airloom.errors import NoRoute
from airloom.planner.carrying import Way, carry, ways
from airloom.planner.contract import hop_floors, runs_rest
from airloom.planner.pricing import hop_cost, result_nbytes
from airloom.planner.route import chain


class Hop:
    """The hop to one next host, priced.

    Attributes:
        dst: the next host.
        cost_s: `[L+1]` seconds of each cut, the result's way back included.
    """

    def __init__(self, dst: str, cost_s: Floats, option: Callable[[int], Option], whole: Callable[[], HopCost]) -> None:
        self.dst, self.cost_s, self.option, self._whole = dst, cost_s, option, whole

    @functools.cached_property
    def whole(self) -> HopCost:
        """With every option of every cut."""
        return self._whole()

    def relayed(self, cut: int, coding: str) -> Option:
        """How a live set that came in this coding goes on."""
        whole = self.whole
        row = (*whole.options[cut], *(whole.relayed[cut] if whole.relayed else ()))
        same = [option for option in row if option.coding == coding]
        return min(same, key=lambda option: option.total_s, default=Option(coding=coding))


class Hops:
    """Prices the hops from one host."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._links = {(link.src, link.dst): link for link in config.topology.links}
        self._nbytes: Floats | None = None
        self._fixed: dict[str, tuple[float | None, bool]] = {}

    def price(self, dst: str, state: LinkState | None, back_state: LinkState | None, load: float) -> Hop:
        """The hop to `dst` with its two links as they are now; `load` is this host's."""
        here = self._config.device
        link, back = self._links[here, dst], self._links.get((dst, here))
        whole = functools.partial(self._whole, link, back, state, back_state, load)
        if self._config.contract is not None or link.nr is not None or (back is not None and back.nr is not None):
            priced = whole()
            return Hop(dst, priced.cost_s, priced.best, lambda: priced)
        (onward,) = ways(link, state=state)
        cost_s = self._raw_s(onward) + self._back_s(back, back_state)
        return Hop(dst, cost_s, lambda cut: self._raw(onward, cut), whole)

    # Cuts that go raw over a link without a radio cost what `pricing.hop_cost` says, here as arrays.

    def _raw_s(self, way: Way) -> Floats:
        if self._nbytes is None:
            framing = self._config.framing
            self._nbytes = np.array([framing.wire_nbytes(cut.tensor_nbytes) for cut in self._config.profile.cuts])
        if not way.is_open:
            return np.full(len(self._nbytes), np.inf)
        return way.fixed_s + 8 * self._nbytes * (1.0 + way.loss / (1.0 - way.loss)) / way.rate_bps

    def _back_s(self, back: Link | None, state: LinkState | None) -> float:
        if not self._config.result_returns or back is None:
            return 0.0
        (way,) = ways(back, state=state)
        return self._carried(way, result_nbytes(self._config.profile)).total_s

    def _raw(self, way: Way, cut: int) -> Option:
        return self._carried(way, self._config.profile.cuts[cut].tensor_nbytes)

    def _carried(self, way: Way, sizes: tuple[int, ...]) -> Option:
        framing = self._config.framing
        blocks = framing.num_blocks(framing.message_nbytes(sizes))
        return carry(way, framing.wire_nbytes(sizes), blocks=blocks, power=self._config.own.power)

    def _whole(
        self, link: Link, back: Link | None, state: LinkState | None, back_state: LinkState | None, load: float
    ) -> HopCost:
        config, there = self._config, self._config.topology.device(link.dst)
        floor, tuned = self._terms(link.dst)
        return hop_cost(
            link, back, config.profile, config.framing, state=state, back_state=back_state,
            result_returns=config.result_returns, power=config.own.power, back_power=there.power,
            contract=config.contract, floor=floor, tuned=tuned,
            choices=link_choices(link), back_choices=() if back is None else link_choices(back),
            factors=(config.own.factor * (1.0 + load), there.factor),
        )  # fmt: skip

    def _terms(self, dst: str) -> tuple[float | None, bool]:
        """What the hop to `dst` must leave, as everybody who plans for this topology has it.

        And whether tuned weights may follow it.
        """
        if self._config.contract is None:
            return None, False
        if dst not in self._fixed:
            self._fixed[dst] = _terms(self._config, self._config.topology, dst)
        return self._fixed[dst]


def _terms(config: HostConfig, topology: Topology, dst: str) -> tuple[float | None, bool]:
    contract, here = config.contract, config.device
    assert contract is not None
    for source in (topology.source, here):
        try:
            hosts = chain(topology, source, result_returns=config.result_returns)
        except NoRoute:
            continue
        hops = list(pairwise(hosts))
        if (here, dst) in hops:
            position = hops.index((here, dst))
            return hop_floors(contract, topology, hosts)[position], runs_rest(topology, hosts)[position]
    return contract.tolerance.clean, False
