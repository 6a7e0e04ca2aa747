"""The split cost wave at one host: its table, and what it says upstream.

From its own costs, its hops and the messages of its next hosts a host makes its table and its own message, when
somebody asks for either. The wave starts at the end of the chain; a host whose link or load moved speaks in
between without waiting for the next wave. Nothing that comes from upstream touches the table.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from airloom.engine.coded import graph_key
from airloom.engine.config import HostConfig
from airloom.engine.events import LinkMeasured, SendAsk
from airloom.engine.messages import Ask, SplitCost
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.engine.reckoning import Reckoning
from airloom.engine.speaking import WAVE_TIMER, Speaking
from airloom.radio.forecast.forecaster import Forecaster
from airloom.wire.splitcost import split_cost_nbytes

__all__ = ["REFRESH_TIMER", "TOGETHER_TIMER", "WAVE_TIMER", "Wave", "graph_key"]

REFRESH_TIMER, TOGETHER_TIMER = "refresh", "together"


class Wave(Reckoning):
    """The host's part in waves, on top of what it reckons.

    Attributes:
        complete: number of the last wave of which all next hosts were heard, or had their time.
    """

    def __init__(
        self, config: HostConfig, peers: Peers, outbox: Outbox,
        forecasters: Mapping[tuple[str, str], Forecaster] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, peers, outbox, forecasters)
        self._policy = config.wave
        self._graph = graph_key(config.profile.graph_digest)
        self._index = {device.id: index for index, device in enumerate(config.topology.devices)}
        self._neighbours = {link.dst for link in config.topology.links if link.src == config.device}
        each = self._decider.heeds_upstream
        self._speaking = Speaking(config, peers, outbox, self._graph, self._ahead, each=each)
        # Of each next host, by the end that it spoke of, the newest wave and update.
        self._heard: dict[str, dict[int, tuple[int, int]]] = {}
        self._early: dict[str, SplitCost] = {}
        self._due: int | None = None
        self.complete = -1
        self._table: tuple[object, ...] = ()

    @property
    def number(self) -> int:
        """Of the wave that this host's message belongs to."""
        return self._speaking.number

    @property
    def parent(self) -> str | None:
        return self._peers.parent

    # --- events -------------------------------------------------------------------------------

    def start(self) -> None:
        self._turn()
        self._speak(-1, new=True)
        self._out.start_timer(self._out.now_s + self._policy.refresh_s, REFRESH_TIMER)

    def on_split_cost(self, src: str, message: SplitCost) -> None:
        """Take a next host's message, unless it is of another model, older than the last, or misshapen."""
        if message.graph != self._graph or not self._decider.accepts(message):
            return self._out.drop("cost of another model", src=src)
        rows = (message.cost_s, *(() if not message.labels else (np.concatenate(message.labels),)))
        if self._index.get(src) != message.host or not all(bool((row >= 0).all()) for row in rows):  # also refuses NaN
            return self._out.drop("malformed cost", src=src)
        if max(message.source, message.sink) >= len(self._index) or not message.loss >= 1.0:
            return self._out.drop("malformed cost", src=src)
        if src not in self._nexts:
            # News of hosts and their messages travel apart: it may be a next host in a moment.
            self._early[src] = message
            return self._out.drop("cost not from the parent", src=src)
        return self._take(src, message)

    def _take(self, src: str, message: SplitCost) -> None:
        heard = self._heard.setdefault(src, {})
        order, last = (message.wave, message.update), heard.get(message.sink, (-1, -1))
        if order <= last:
            return self._out.drop("older cost", src=src)
        heard[message.sink] = order
        self._said[src] = message
        self._out.emit(
            "wave", {"src": src, "sink": self._device_at(message.sink), "wave": message.wave, "update": message.update,
                     "wire_nbytes": split_cost_nbytes(message),
                     "cost_s": _finite(message.cost_s[0])},
        )  # fmt: skip
        self._decision = None
        newest = max(self._speaking.number, message.wave) if message.sink == self._speaking.sink else message.wave
        # A new wave goes all the way up, whether or not it changes anything: it shows who can be heard.
        is_new = newest > self._speaking.number or message.sink != self._speaking.sink
        self._speaking.sink, self._speaking.number = message.sink, newest
        if is_new or self._due is not None or not self._policy.spontaneous:
            self._pass_on(message.source)
        else:
            self._accord()
        return None

    def _pass_on(self, source: int) -> None:
        """Speak of the wave at hand once all next hosts have, or when they have had their time."""
        number = self._speaking.number
        missing = [n for n in self._nexts if n not in self._said or self._said[n].wave < number]
        if missing and self._due is None:
            self._out.start_timer(self._out.now_s + self._policy.min_interval_s, TOGETHER_TIMER)
        self._due = source if self._due in (None, source) else -1
        if not missing:
            if len(self._nexts) > 1:
                self._out.stop_timer(TOGETHER_TIMER)
            self._speak_due()

    def _speak_due(self) -> None:
        if self._due is not None:
            source, self._due = self._due, None
            self.complete = self._speaking.number
            self._speak(source)

    def on_asked(self, ask: Ask) -> None:
        """A source wants a wave: start it, or pass the question on toward the end."""
        if ask.graph != self._graph or not 0 <= ask.source < len(self._index):
            return self._out.drop("question of another model")
        if not self._is_end:
            if self.parent is not None:
                self._out.add(SendAsk(self.parent, ask))
            return None
        if not self._speaking.has_started(ask.number, ask.source):
            self._speak(ask.source, new=True)
        return None

    def on_peers(self, peer: str, *, up: bool) -> None:
        """`peer` came or went."""
        for heard in self._heard.values():
            heard.pop(self._index[peer], None)
        # It starts (again) with nothing said: its counting may have begun anew.
        self._heard.pop(peer, None)
        if self._index[peer] == self._speaking.sink:
            self._speaking.number = 0
        if not up:
            self._early.clear()
        if self._config.own.role == "ue" and peer not in self._neighbours:
            # Nobody waits for a UE's word: what this changes shows when it is asked.
            self._decision = None
            self._nexts = self._peers.nexts
            return
        self._turn()
        self._speak(-1, new=True)
        for src in [src for src in self._early if src in self._nexts]:
            self._take(src, self._early.pop(src))

    def on_ways(self, ends: tuple[str, str]) -> None:
        """A link came or went, and with it perhaps next hosts here, or a host upstream, who hears where it is now."""
        if self._peers.nexts != self._nexts:
            self._turn()
            self._accord()
            for src in [src for src in self._early if src in self._nexts]:
                self._take(src, self._early.pop(src))
        for end in ends:
            if self._policy.spontaneous and end in self._peers.children:
                self._speak(self._index[end])

    def on_link(self, measured: LinkMeasured) -> None:
        key = self.links.take(measured, self._out.now_s)
        if key is None:
            return self._out.drop("malformed measurement", src=measured.src, dst=measured.dst)
        if self.links.forecasts:
            self._forget(key)  # every measurement may change what is to be expected
        if not self.links.moved(key):
            return None
        state = self.links.get(key)
        assert state is not None
        self._out.emit(
            "link", {"src": state.src, "dst": state.dst, "rate_bps": state.rate_bps, "delay_s": state.delay_s,
                     "loss": state.loss},
        )  # fmt: skip
        if self._forget(key):
            self._accord()
        return None

    def on_load(self, load: float) -> None:
        # Back at 0 is always worth saying: a host must not stay a little too dear for ever.
        if load == self.load or (load > 0 and abs(load - self.load) <= self._policy.change * (1.0 + self.load)):
            return
        self.load = load
        self._out.emit("load", {"load": load})
        self._price_host()
        self._decision = None
        self._accord()

    def on_timer(self, key: object) -> None:
        if key == WAVE_TIMER:
            self._accord()
        elif key == TOGETHER_TIMER:
            self._speak_due()
        elif key == REFRESH_TIMER:
            if self._is_end:
                self._speak(-1, new=True)
            self._out.start_timer(self._out.now_s + self._policy.refresh_s, REFRESH_TIMER)

    def trace(self) -> None:
        """Say which table is in force, where it is another one than before and hosts speak of their own accord."""
        if self._decision is None or not self._policy.spontaneous:
            return
        stops = self._decision.stops
        table = (self.parent, stops.tobytes())
        if table == self._table:
            return
        self._table = table
        choice = self._decision.choose(0, (), "")
        self._out.emit(
            "table", {"parent": self.parent if choice is None or choice.onward is None else choice.onward,
                      "end": self._peers.end, "wave": self.number, "stop": int(stops[0]), "stops": stops.tolist(),
                      "cost_s": _finite(np.float64(self._decision.seconds(0)))},
        )  # fmt: skip

    @property
    def _is_end(self) -> bool:
        return self._peers.end == self._config.device

    def _device_at(self, index: int) -> str | None:
        devices = self._config.topology.devices
        return devices[index].id if 0 <= index < len(devices) else None

    def _turn(self) -> None:
        """The next hosts may be others: what those said that are none now no longer holds."""
        self._nexts = self._peers.nexts
        for gone in [host for host in self._said if host not in self._nexts]:
            del self._said[gone]
        for gone in [host for host in self._heard if host not in self._nexts]:
            del self._heard[gone]
        self._priced = {dst: hop for dst, hop in self._priced.items() if dst in self._nexts}
        self._decision = None

    # --- speaking -----------------------------------------------------------------------------

    def ask(self) -> int | None:
        """Ask the end of the chain for a wave; its number at least, None where this host is the end."""
        parent, number = self.parent, self.number + 1
        if parent is None:
            return None
        self._out.add(SendAsk(parent, Ask(self._config.index, number, self._graph)))
        return number

    def _accord(self) -> None:
        """Something moved: say so where it is worth saying."""
        if self._is_end or self._said:
            self._speaking.own_accord(self._message)

    def _speak(self, source: int = -1, *, new: bool = False) -> None:
        """Say what it costs from here on, to everybody upstream or on the way to `source`."""
        if self._is_end and new:
            self._speaking.next_wave(source)
        if self._is_end or self._said:
            self._speaking.at_once(self._message, source)


def _finite(seconds: np.floating) -> float | None:
    return float(seconds) if np.isfinite(seconds) else None
