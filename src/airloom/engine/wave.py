"""The split cost wave at one host: its table, and when it speaks upstream.

From its own costs, its own link and the message of its parent a host makes its table and its own
message. The wave starts at the end of the chain; a host whose link or load moved speaks in between
without waiting for the next wave. Nothing that comes from upstream touches the table.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import HopCost, Option
from airloom.core.topology import LinkState
from airloom.engine.coded import graph_key
from airloom.engine.config import HostConfig
from airloom.engine.events import LinkMeasured, SendSplitCost
from airloom.engine.messages import SplitCost
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.engine.radios import link_choices
from airloom.errors import NoRoute
from airloom.planner.contract import hop_floors, runs_rest
from airloom.planner.pricing import hop_cost, host_cost
from airloom.planner.route import chain
from airloom.planner.wave import step
from airloom.wire.splitcost import HEADER_NBYTES

WAVE_TIMER, REFRESH_TIMER = "wave", "refresh"


class Wave:
    """A host's own costs, its table, its message.

    Attributes:
        cost_s: `[L+1]` the host's own message in float64.
        table: where to stop, for each cut.
        parent: the host that the table hands over to; None where it runs everything to the end.
        number: of the wave the message belongs to.
    """

    def __init__(self, config: HostConfig, peers: Peers, outbox: Outbox) -> None:
        self._config, self._peers, self._out = config, peers, outbox
        self._policy = config.wave
        self._graph = graph_key(config.profile.graph_digest)
        self._static = {(link.src, link.dst): link for link in config.topology.links}
        self._links: dict[tuple[str, str], LinkState] = {}
        self._priced_links: dict[tuple[str, str], LinkState] = {}
        self.load = 0.0
        self._hop: HopCost | None = None
        self._downstream: NDArray[np.floating] | None = None
        self._heard: dict[int, tuple[int, int]] = {}
        self._early: dict[str, SplitCost] = {}
        self._sink = config.index
        self.number = 0
        self._update = 0
        self._said: NDArray[np.float32] | None = None
        self._said_at_s = -np.inf
        self.parent: str | None = None
        self._price_host()
        self.cost_s, self.table = step(self._host, None, None)

    # --- what the rest of the host asks -------------------------------------------------------

    def stop(self, cut: int) -> int | None:
        """Where to stop from `cut` on, or None where the limits allow no way."""
        return int(self.table.stop[cut]) if np.isfinite(self.cost_s[cut]) else None

    def can_run(self, start: int, stop: int) -> bool:
        """Whether the stage fits this host's memory."""
        return self._host.fits(start, stop)

    def predicted_s(self, cut: int) -> float:
        return float(self.cost_s[cut])

    def own_s(self, start: int, stop: int) -> float:
        """Seconds of the stage on this host, load included."""
        return self._host.stage_s(start, stop)

    def option(self, cut: int) -> Option:
        """How the table has the live set of `cut` go to the parent."""
        return Option() if self._hop is None else self._hop.best(cut)

    def relayed(self, cut: int, coding: str) -> Option:
        """How a live set that came in this coding goes to the parent."""
        if self._hop is None:
            return Option(coding=coding)
        row = (*self._hop.options[cut], *(self._hop.relayed[cut] if self._hop.relayed else ()))
        same = [option for option in row if option.coding == coding]
        return min(same, key=lambda option: option.total_s, default=Option(coding=coding))

    def link(self, src: str, dst: str) -> LinkState | None:
        return self._links.get((src, dst))

    # --- events -------------------------------------------------------------------------------

    def start(self) -> None:
        self._turn_to_parent()
        self._decide()
        self._trace_table()
        self._speak(at_once=True)
        self._out.start_timer(self._out.now_s + self._policy.refresh_s, REFRESH_TIMER)

    def on_split_cost(self, src: str, message: SplitCost) -> None:
        """Take the parent's message, unless it is of another model, older than the last, or misshapen."""
        if message.graph != self._graph or message.cost_s.shape != self.cost_s.shape:
            return self._out.drop("cost of another model", src=src)
        if not bool((message.cost_s >= 0).all()) or self._device_at(message.host) != src:  # also refuses NaN
            return self._out.drop("malformed cost", src=src)
        if src != self._peers.parent:
            # News of hosts and their messages travel apart: it may be the parent in a moment.
            self._early[src] = message
            return self._out.drop("cost not from the parent", src=src)
        return self._take(src, message)

    def _take(self, src: str, message: SplitCost) -> None:
        order = (message.wave, message.update)
        last = self._heard.get(message.sink, (-1, -1))
        if order <= last:
            return self._out.drop("older cost", src=src)
        self._heard[message.sink] = order
        # A new wave goes all the way up, whether or not it changes anything: it shows who can be heard.
        new_wave = message.wave > last[0]
        self._sink, self.number = message.sink, message.wave
        self._downstream = message.cost_s.astype(np.float64)
        self._out.emit(
            "wave", {"src": src, "sink": self._device_at(message.sink), "wave": message.wave, "update": message.update,
                     "wire_nbytes": HEADER_NBYTES + message.cost_s.nbytes,
                     "cost_s": _finite(message.cost_s[0])},
        )  # fmt: skip
        self._decide()
        self._speak(at_once=new_wave)
        return None

    def on_peers(self, peer: str, *, up: bool) -> None:
        """`peer` came or went, and `Peers` has derived anew."""
        devices = self._config.topology.devices
        self._heard.pop([d.id for d in devices].index(peer), None)
        if peer == self._peers.parent:
            # It starts (again) with nothing said: its counting may have begun anew.
            self._heard.clear()
        if not up:
            self._early.clear()
        if self._peers.parent != self.parent:
            self._turn_to_parent()
        self._decide()
        self._speak(at_once=True)
        early = self._early.pop(self.parent, None) if self.parent is not None else None
        if early is not None and self.parent is not None:
            self._take(self.parent, early)

    def on_link(self, measured: LinkMeasured) -> None:
        key = (measured.src, measured.dst)
        figures = (measured.rate_bps, measured.delay_s, measured.loss)
        if key not in self._static or any(
            figure is not None and not figure >= 0 for figure in figures
        ):  # also refuses NaN
            self._out.drop("malformed measurement", src=measured.src, dst=measured.dst)
            return
        old = self._links.get(key, LinkState(src=measured.src, dst=measured.dst))
        self._links[key] = LinkState(
            src=measured.src, dst=measured.dst,
            rate_bps=old.rate_bps if measured.rate_bps is None else measured.rate_bps,
            delay_s=old.delay_s if measured.delay_s is None else measured.delay_s,
            loss=old.loss if measured.loss is None else measured.loss,
        )  # fmt: skip
        if not self._link_moved(key):
            return
        state = self._priced_links[key] = self._links[key]
        self._out.emit(
            "link", {"src": state.src, "dst": state.dst, "rate_bps": state.rate_bps, "delay_s": state.delay_s,
                     "loss": state.loss},
        )  # fmt: skip
        if self.parent is not None and set(key) == {self._config.device, self.parent}:
            self._price_hop()
            self._decide()
            self._speak()

    def on_load(self, load: float) -> None:
        # Back at 0 is always worth saying: a host must not stay a little too dear for ever.
        if load == self.load or (load > 0 and abs(load - self.load) <= self._policy.change * (1.0 + self.load)):
            return
        self.load = load
        self._out.emit("load", {"load": load})
        self._price_host()
        self._decide()
        self._speak()

    def on_timer(self, key: object) -> None:
        if key == WAVE_TIMER:
            self._speak()
        elif key == REFRESH_TIMER:
            if self._is_end:
                self._speak(at_once=True)
            self._out.start_timer(self._out.now_s + self._policy.refresh_s, REFRESH_TIMER)

    # --- pricing and deciding -----------------------------------------------------------------

    @property
    def _is_end(self) -> bool:
        return self._peers.end == self._config.device

    def _device_at(self, index: int) -> str | None:
        devices = self._config.topology.devices
        return devices[index].id if 0 <= index < len(devices) else None

    def _turn_to_parent(self) -> None:
        """The next host downstream is another one: what the last one said no longer holds."""
        self.parent = self._peers.parent
        self._downstream = None
        self._heard.clear()
        self._price_hop()

    def _price_host(self) -> None:
        config = self._config
        self._host = host_cost(
            config.own, config.profile, load=self.load,
            private_operators=config.private_operators, is_source=config.is_source,
        )  # fmt: skip

    def _price_hop(self) -> None:
        config, here, parent = self._config, self._config.device, self.parent
        if parent is None:
            self._hop = None
            return
        link, back = config.topology.link(here, parent), config.topology.link(parent, here)
        floor, tuned = self._terms(parent)
        self._hop = hop_cost(
            link, back, config.profile, config.framing,
            state=self._links.get((here, parent)), back_state=self._links.get((parent, here)),
            result_returns=config.result_returns, contract=config.contract, floor=floor, tuned=tuned,
            choices=link_choices(link), back_choices=link_choices(back),
            factors=(config.own.factor * (1.0 + self.load), config.topology.device(parent).factor),
        )  # fmt: skip

    def _terms(self, parent: str) -> tuple[float | None, bool]:
        """What the hop to `parent` must leave, as everybody who plans for this topology has it.

        And whether tuned weights may follow it.
        """
        contract, topology, here = self._config.contract, self._config.topology, self._config.device
        if contract is None:
            return None, False
        for source in (topology.source, here):
            try:
                hosts = chain(topology, source, result_returns=self._config.result_returns)
            except NoRoute:
                continue
            hops = list(pairwise(hosts))
            if (here, parent) in hops:
                position = hops.index((here, parent))
                return hop_floors(contract, topology, hosts)[position], runs_rest(topology, hosts)[position]
        return contract.tolerance.clean, False

    def _link_moved(self, key: tuple[str, str]) -> bool:
        """Whether the link differs from what was last priced by more than the policy's change."""
        now, link = self._links[key], self._static[key]
        priced = self._priced_links.get(key, LinkState(src=link.src, dst=link.dst))

        def moved(new: float | None, old: float | None, static: float, least: float) -> bool:
            was = static if old is None else old
            if new is None or new == was:
                return False
            return abs(new - was) > max(self._policy.change * abs(was), least) or not np.isfinite(was)

        return (
            moved(now.rate_bps, priced.rate_bps, link.rate_bps, 0.0)
            or moved(now.delay_s, priced.delay_s, link.delay_s, 2e-4)
            or moved(now.loss, priced.loss, link.loss, self._policy.change / 10)
        )

    def _decide(self) -> None:
        old = self.table.stop
        self.cost_s, self.table = step(self._host, self._hop, self._downstream)
        if not np.array_equal(old, self.table.stop):
            self._trace_table()

    def _trace_table(self) -> None:
        self._out.emit(
            "table", {"parent": self.parent, "end": self._peers.end, "wave": self.number,
                      "stop": int(self.table.stop[0]), "stops": self.table.stop.tolist(),
                      "cost_s": _finite(self.cost_s[0])},
        )  # fmt: skip

    # --- speaking -----------------------------------------------------------------------------

    def _speak(self, *, at_once: bool = False) -> None:
        """Send the message upstream if it changed, or in any case `at_once`."""
        if not self._peers.children or not (self._is_end or self._downstream is not None):
            return
        cost = self.cost_s.astype(np.float32)
        if not at_once:
            if self._said is not None and not _differs(cost, self._said, self._policy.cost_change):
                return
            due_s = self._said_at_s + self._policy.min_interval_s
            if self._out.now_s < due_s:
                self._out.start_timer(due_s, WAVE_TIMER)
                return
        if self._is_end:
            # The clock keeps a restarted end from counting below what was heard of it before.
            self.number = max(self.number + 1, int(self._out.now_s * 1e3))
            self._sink = self._config.index
        self._update += 1
        self._said, self._said_at_s = cost, self._out.now_s
        message = SplitCost(self._config.index, self._sink, self.number, self._graph, cost, self._update)
        for child in self._peers.children:
            self._out.add(SendSplitCost(child, message))


def _differs(new: NDArray[np.float32], old: NDArray[np.float32], change: float) -> bool:
    finite = np.isfinite(new)
    if not np.array_equal(finite, np.isfinite(old)):
        return True
    return bool((np.abs(new[finite] - old[finite]) > change * np.maximum(old[finite], 1e-9)).any())


def _finite(seconds: np.floating) -> float | None:
    return float(seconds) if np.isfinite(seconds) else None
