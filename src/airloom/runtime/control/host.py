"""A host's side of the control plane: neighbours that come and go, keys with them, and what they say.

The earlier of two neighbours in the topology dials the later one, again and again until it is there,
and offers the keys.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Protocol

import zenoh

from airloom.core.topology import Topology
from airloom.errors import DeploymentError, WireError
from airloom.runtime import commands, roster
from airloom.runtime.certs import OPERATOR, HostCerts
from airloom.runtime.control.session import Session
from airloom.runtime.control.settings import access_control, zenoh_config
from airloom.runtime.keys import Identity, PairKeys
from airloom.runtime.places import control_endpoint

_KEY_TIMEOUT_S = 1.0
_KEY_RETRY_S = 0.05
# A put to a neighbour whose subscription has not come through yet is lost without a word, so what is
# known is said again: soon after a neighbour came, and then now and again.
_SAY_AGAIN_S = (0.05, 0.2, 0.5)
_SAY_ALWAYS_S = 1.0


class Listener(Protocol):
    """What the control plane tells its host; called on the event loop."""

    def on_cost(self, src: str, data: bytes) -> None: ...
    def on_keys(self, keys: PairKeys) -> None: ...
    def on_keys_void(self, peer: str) -> None: ...
    def on_peer(self, peer: str, up: bool) -> None: ...
    def status(self) -> commands.HostStatus: ...
    def on_command(self, asker: str, command: commands.Command) -> commands.Ack: ...


class Control:
    """The control plane of host `me`; all methods run on the event loop."""

    def __init__(
        self, me: str, topology: Topology, certs: HostCerts, listener: Listener, *, counters: Counter[str]
    ) -> None:
        self.me, self.topology, self.certs, self.listener, self.counters = me, topology, certs, listener, counters
        self.incarnation = time.time_ns()
        self.neighbours = roster.neighbours(topology, me)
        self._order = {device.id: index for index, device in enumerate(topology.devices)}
        self._identity = Identity(me, certs)
        self._roster = roster.Roster(topology, me, self.incarnation)
        self._alive: dict[str, int] = {}  # neighbour -> incarnation of its token
        self._up: frozenset[str] = frozenset()
        self._session: Session | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen and dial; neighbours are reported as they come up."""
        here = control_endpoint(self.topology.device(self.me))
        # A neighbour's certificate carries the address at which it is dialled, and its name is checked by
        # access control: another member's certificate at that address is of no use.
        config = zenoh_config(
            self.certs,
            listen=[here],
            connect=[control_endpoint(self.topology.device(p)) for p in self.neighbours if self._dials(p)],
            access=access_control(self.neighbours, (OPERATOR, self.topology.source)),
        )
        session = Session(self.me, self.counters)
        try:
            await session.open(config)
        except zenoh.ZError as error:
            raise DeploymentError(f"{self.me}: cannot listen for control on {here}: {error}") from None
        self._session = session
        session.on_put("cost", self._cost)
        session.on_put("roster", self._heard_roster)
        session.on_question("key", self._answer_key)
        session.on_question("status", lambda asker, data: commands.encode(self.listener.status()))
        session.on_question("command", self._answer_command)
        session.on_alive(self._token)
        # Last: whoever sees the token may ask for keys at once.
        session.declare_alive(self.incarnation)
        self._spawn(self._say_always())

    async def close(self) -> None:
        """Leave: neighbours see it at once. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    @property
    def up(self) -> frozenset[str]:
        """The other hosts that can be reached now."""
        return self._up

    def send_cost(self, dst: str, data: bytes) -> None:
        """Put a split cost message to the neighbour `dst`."""
        self._put("cost", dst, data)

    def _put(self, kind: str, dst: str, data: bytes) -> None:
        if self._session is not None:
            self._session.put(kind, dst, data)

    # --- neighbours and their keys ------------------------------------------------------------------

    def _dials(self, peer: str) -> bool:
        return self._order[self.me] < self._order[peer]

    def _token(self, peer: str, digits: str, present: bool) -> None:
        if peer not in self.neighbours or not digits.isdigit():
            return
        incarnation = int(digits)
        if present:
            self._alive[peer] = incarnation
            # The keys of its earlier life, if it had one, are void.
            self._lost(peer)
            if self._dials(peer):
                self._spawn(self._agree(peer, incarnation))
        elif self._alive.get(peer) == incarnation:
            del self._alive[peer]
            self._lost(peer)

    async def _agree(self, peer: str, incarnation: int) -> None:
        """Offer keys to `peer` until it answers or is gone."""
        session = self._session
        assert session is not None
        while session.is_open and self._alive.get(peer) == incarnation:
            offer = self._identity.offer(peer)
            reply = await session.ask("key", peer, offer.data, timeout_s=_KEY_TIMEOUT_S)
            if reply is not None and self._alive.get(peer) == incarnation:
                try:
                    keys = self._identity.finish(offer, reply)
                except WireError:
                    self.counters["keys_refused"] += 1
                else:
                    self._agreed(keys)
                    return
            await asyncio.sleep(_KEY_RETRY_S)

    def _answer_key(self, peer: str, offer: bytes) -> bytes | None:
        if peer not in self._alive:
            # Its offer overtook its token: it will offer again.
            return None
        try:
            reply, keys = self._identity.answer(offer, peer=peer)
        except WireError:
            self.counters["keys_refused"] += 1
            return None
        # Before the answer leaves: what the peer then seals can be opened at once.
        self._agreed(keys)
        return reply

    def _agreed(self, keys: PairKeys) -> None:
        self.counters["keys_agreed"] += 1
        self.listener.on_keys(keys)
        self._neighbour(keys.peer, up=False)
        self._say_everything(keys.peer)
        self._neighbour(keys.peer, up=True)
        for delay_s in _SAY_AGAIN_S:
            asyncio.get_running_loop().call_later(delay_s, self._say_everything, keys.peer)

    def _lost(self, peer: str) -> None:
        self._neighbour(peer, up=False)
        self.listener.on_keys_void(peer)

    # --- who is up ----------------------------------------------------------------------------------

    def _neighbour(self, peer: str, *, up: bool) -> None:
        news = self._roster.set_neighbour(peer, up)
        if news is not None:
            self._flood((news,), but="")

    def _heard_roster(self, src: str, data: bytes) -> None:
        try:
            news = self._roster.hear(data)
        except WireError:
            self.counters["control_dropped"] += 1
            return
        if news:
            self._flood(news, but=src)

    def _flood(self, news: tuple[roster.Reach, ...], *, but: str) -> None:
        data = roster.encode(news)
        for peer in self._alive:
            if peer != but:
                self._put("roster", peer, data)
        up, before = self._roster.up(), self._up
        self._up = up
        for peer in sorted(before - up):
            self.listener.on_peer(peer, False)
        for peer in sorted(up - before):
            self.listener.on_peer(peer, True)

    def _say_everything(self, peer: str) -> None:
        if peer in self._alive:
            self._put("roster", peer, self._roster.everything())

    async def _say_always(self) -> None:
        while True:
            await asyncio.sleep(_SAY_ALWAYS_S)
            for peer in tuple(self._alive):
                self._say_everything(peer)

    # --- costs and commands -------------------------------------------------------------------------

    def _cost(self, src: str, data: bytes) -> None:
        if src not in self._alive:
            self.counters["control_dropped"] += 1
            return
        self.counters["control_received_bytes"] += len(data)
        self.listener.on_cost(src, data)

    def _answer_command(self, asker: str, data: bytes) -> bytes:
        try:
            command = commands.decode_command(data)
        except WireError as error:
            self.counters["control_dropped"] += 1
            return commands.encode(commands.Ack(ok=False, error=str(error)))
        return commands.encode(self.listener.on_command(asker, command))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
