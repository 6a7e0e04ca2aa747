"""What the hops from a host cost: every cut over the link to each next host, and the result's way back.

A hop's price holds the link's fixed overhead (HiveMind Eq. 10, psi: `Link.overhead_s`, into which deployments put
the measured handling of a message) once for each transfer, beside propagation and the bytes.
"""

from __future__ import annotations

from itertools import pairwise

from airloom.core.problem import Floats, HopCost, Option
from airloom.core.topology import LinkState
from airloom.engine.config import HostConfig
from airloom.engine.radios import link_choices
from airloom.errors import NoRoute
from airloom.planner.contract import hop_floors, runs_rest
from airloom.planner.pricing import hop_cost
from airloom.planner.route import chain


class Hop:
    """The hop to one next host, priced.

    Attributes:
        dst: the next host.
        whole: with every option of every cut.
    """

    def __init__(self, whole: HopCost) -> None:
        self.dst, self.whole = whole.dst, whole

    @property
    def cost_s(self) -> Floats:
        """`[L+1]` seconds of each cut in its fastest option, the result's way back included."""
        return self.whole.cost_s

    def option(self, cut: int) -> Option:
        """The fastest way for a live set to go."""
        return self.whole.best(cut)

    def relayed(self, cut: int, coding: str) -> Option:
        """How a live set that came in this coding goes on."""
        whole = self.whole
        row = (*whole.options[cut], *(whole.relayed[cut] if whole.relayed else ()))
        same = [option for option in row if option.coding == coding]
        return min(same, key=lambda option: option.total_s, default=Option(coding=coding))


class Hops:
    """Prices the hops from one host, and those to it."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._links = {(link.src, link.dst): link for link in config.topology.links}
        self._devices = {device.id: device for device in config.topology.devices}
        self._fixed: dict[tuple[str, str], tuple[float | None, bool]] = {}

    def can_price(self, key: tuple[str, str]) -> bool:
        """Whether there is such a link, and one back where the result returns."""
        return key in self._links and (not self._config.result_returns or key[::-1] in self._links)

    def price(
        self, key: tuple[str, str], state: LinkState | None, back_state: LinkState | None, load: float = 0.0
    ) -> Hop:
        """The hop over the link `key` as that and its reverse are now; `load` is that of the sender."""
        config, link, back = self._config, self._links[key], self._links.get((key[1], key[0]))
        here, there = self._devices[link.src], self._devices[link.dst]
        floor, tuned = self._terms(link.src, link.dst)
        return Hop(
            hop_cost(
                link, back, config.profile, config.framing, state=state, back_state=back_state,
                result_returns=config.result_returns, power=here.power, back_power=there.power,
                contract=config.contract, floor=floor, tuned=tuned,
                choices=link_choices(link), back_choices=() if back is None else link_choices(back),
                factors=(here.factor * (1.0 + load), there.factor),
            )
        )  # fmt: skip

    def _terms(self, src: str, dst: str) -> tuple[float | None, bool]:
        """What the hop must leave, as everybody who plans for this topology has it.

        And whether tuned weights may follow it.
        """
        if self._config.contract is None:
            return None, False
        if (src, dst) not in self._fixed:
            self._fixed[src, dst] = _terms(self._config, src, dst)
        return self._fixed[src, dst]


def _terms(config: HostConfig, here: str, dst: str) -> tuple[float | None, bool]:
    contract, topology = config.contract, config.topology
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
