"""The control plane of a host: zenoh over mutual TLS between adjacent hosts.

Keys, with the sender second, so that access control by certificate name can hold each sender to its own:

    airloom/alive/SRC/INCARNATION    liveliness token
    airloom/cost/SRC/DST             split cost message (put)
    airloom/roster/SRC/DST           who reaches whom (put)
    airloom/key/SRC/DST              key agreement (query)
    airloom/status/ASKER/DST         status (query)
    airloom/command/ASKER/DST        command (query); only of the operator's and the source's certificate

zenoh calls back on its own threads; everything crosses to the event loop through `_Inbox`, which is
bounded. The earlier of two neighbours in the topology dials the later one, again and again until it is
there, and offers the keys; no central router, no multicast, no gossip.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import zenoh

from airloom.core.topology import Topology
from airloom.errors import DeploymentError, WireError
from airloom.runtime import commands, roster
from airloom.runtime.certs import OPERATOR, HostCerts
from airloom.runtime.keys import Identity, PairKeys
from airloom.runtime.places import control_endpoint

_ROOT = "airloom"
# A neighbour that says nothing for this long is gone; one that is killed is noticed at once by its socket.
LEASE_S = 2.0
_KEY_TIMEOUT_S = 1.0
_KEY_RETRY_S = 0.05
# A put to a neighbour whose subscription has not come through yet is lost without a word, so what is
# known is said again: soon after a neighbour came, and then now and again.
_SAY_AGAIN_S = (0.05, 0.2, 0.5)
_SAY_ALWAYS_S = 1.0
_MAX_PENDING = 4096
_FLOWS = [
    "put", "delete", "declare_subscriber", "query", "reply", "declare_queryable",
    "liveliness_token", "declare_liveliness_subscriber", "liveliness_query",
]  # fmt: skip
_DECLARATIONS = [
    "declare_subscriber", "declare_queryable", "declare_liveliness_subscriber", "liveliness_query", "reply",
]  # fmt: skip


class Listener(Protocol):
    """What the control plane tells its host; called on the event loop."""

    def on_cost(self, src: str, data: bytes) -> None: ...
    def on_keys(self, keys: PairKeys) -> None: ...
    def on_keys_void(self, peer: str) -> None: ...
    def on_peer(self, peer: str, up: bool) -> None: ...
    def status(self) -> commands.HostStatus: ...
    def on_command(self, asker: str, command: commands.Command) -> commands.Ack: ...


def zenoh_config(
    certs: HostCerts, *, listen: list[str], connect: list[str], access: dict[str, Any] | None = None
) -> zenoh.Config:
    """Settings that all of Airloom's sessions share."""
    config = zenoh.Config()
    settings: dict[str, Any] = {
        "mode": "peer",
        "listen/endpoints": listen,
        "connect/endpoints": connect,
        # Dial for ever in the background: a neighbour may start tomorrow.
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        "connect/retry": {"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5},
        "open/return_conditions/connect_scouted": False,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "transport/link/protocols": ["tls"],
        "transport/link/tx/lease": int(LEASE_S * 1000),
        "transport/link/rx/max_message_size": commands.MAX_BYTES,
        "transport/shared_memory/enabled": False,
        "transport/unicast/max_sessions": 64,
        "transport/unicast/accept_timeout": 3000,
        "transport/link/tls": {
            "root_ca_certificate": str(certs.ca),
            "enable_mtls": True,
            "verify_name_on_connect": True,
            "close_link_on_expiration": True,
            "listen_certificate": str(certs.certificate),
            "listen_private_key": str(certs.key),
            "connect_certificate": str(certs.certificate),
            "connect_private_key": str(certs.key),
        },
    }
    if access is not None:
        settings["access_control"] = access
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return config


def access_control(near: tuple[str, ...], commanders: tuple[str, ...]) -> dict[str, Any]:
    """Each neighbour may speak for itself only; commanders may ask and command; nobody else anything."""
    everything = f"{_ROOT}/**"
    rules = [
        {"id": "out", "permission": "allow", "flows": ["egress"], "messages": _FLOWS, "key_exprs": [everything]},
        {
            "id": "in",
            "permission": "allow",
            "flows": ["ingress"],
            "messages": _DECLARATIONS,
            "key_exprs": [everything],
        },
    ]
    subjects, policies = [], []
    for name in dict.fromkeys((*near, *commanders)):
        keys = [f"{_ROOT}/{kind}/{name}/**" for kind in ("alive", "cost", "roster", "key") if name in near]
        keys += [f"{_ROOT}/{kind}/{name}/**" for kind in ("status", "command") if name in commanders]
        rules.append(
            {
                "id": f"from {name}",
                "permission": "allow",
                "flows": ["ingress"],
                "messages": ["put", "query", "liveliness_token"],
                "key_exprs": keys,
            }
        )
        subjects.append({"id": name, "cert_common_names": [name]})
        policies.append({"rules": ["in", "out", f"from {name}"], "subjects": [name]})
    return {
        "enabled": True,
        "default_permission": "deny",
        "rules": rules,
        "subjects": subjects,
        "policies": policies,
    }


class _Inbox:
    """Carries zenoh's calls to the event loop; drops and counts what a slow loop cannot take."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: Counter[str]) -> None:
        self._loop, self._counters, self._pending = loop, counters, 0
        self.open = True

    def put(self, handler: Callable[..., None], *args: Any) -> None:
        # Both sides of the count run under the interpreter's lock; being off by a few does no harm.
        if not self.open or self._pending >= _MAX_PENDING:
            self._counters["control_overflow"] += 1
            return
        self._pending += 1
        try:
            self._loop.call_soon_threadsafe(self._take, handler, args)
        except RuntimeError:  # the loop has closed: nobody is left to tell
            self.open = False

    def _take(self, handler: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._pending -= 1
        if self.open:
            handler(*args)


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
        self._session: zenoh.Session | None = None
        self._held: list[Any] = []  # subscribers, queryables, token: they live as long as they are referred to
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen and dial; neighbours are reported as they come up."""
        loop = asyncio.get_running_loop()
        self._inbox = _Inbox(loop, self.counters)
        # A neighbour's certificate carries the address at which it is dialled, and its name is checked by
        # access control: another member's certificate at that address is of no use.
        config = zenoh_config(
            self.certs,
            listen=[control_endpoint(self.topology.device(self.me))],
            connect=[control_endpoint(self.topology.device(p)) for p in self.neighbours if self._dials(p)],
            access=access_control(self.neighbours, (OPERATOR, self.topology.source)),
        )
        try:
            session = await asyncio.to_thread(zenoh.open, config)
        except zenoh.ZError as error:
            raise DeploymentError(
                f"{self.me}: cannot listen for control on {control_endpoint(self.topology.device(self.me))}: {error}"
            ) from None
        self._session = session
        put = self._inbox.put
        me = self.me

        def on_sample(handler: Callable[[str, bytes], None]) -> Callable[[zenoh.Sample], None]:
            def callback(sample: zenoh.Sample) -> None:
                payload = sample.payload
                if len(payload) > commands.MAX_BYTES:
                    self.counters["control_oversized"] += 1
                    return
                put(handler, str(sample.key_expr).split("/")[2], payload.to_bytes())

            return callback

        def on_token(sample: zenoh.Sample) -> None:
            put(self._token, str(sample.key_expr), sample.kind == zenoh.SampleKind.PUT)

        self._held = [
            session.declare_subscriber(f"{_ROOT}/cost/*/{me}", on_sample(self._cost)),
            session.declare_subscriber(f"{_ROOT}/roster/*/{me}", on_sample(self._heard_roster)),
            session.declare_queryable(f"{_ROOT}/key/*/{me}", lambda query: put(self._key_query, query)),
            session.declare_queryable(f"{_ROOT}/status/*/{me}", lambda query: put(self._status_query, query)),
            session.declare_queryable(f"{_ROOT}/command/*/{me}", lambda query: put(self._command_query, query)),
            session.liveliness().declare_subscriber(f"{_ROOT}/alive/*/*", on_token, history=True),
            # Last: whoever sees the token may ask for keys at once.
            session.liveliness().declare_token(f"{_ROOT}/alive/{me}/{self.incarnation}"),
        ]
        self._spawn(self._say_always())

    async def close(self) -> None:
        """Leave: neighbours see it at once."""
        if self._session is None:
            return
        self._inbox.open = False
        for task in self._tasks:
            task.cancel()
        session, self._session = self._session, None
        self._held.clear()
        await asyncio.to_thread(session.close)

    @property
    def up(self) -> frozenset[str]:
        """The other hosts that can be reached now."""
        return self._up

    def send_cost(self, dst: str, data: bytes) -> None:
        """Put a split cost message to the neighbour `dst`."""
        self._put("cost", dst, data)

    # --- from here on: what the network said, on the event loop -----------------------------------

    def _dials(self, peer: str) -> bool:
        return self._order[self.me] < self._order[peer]

    def _put(self, kind: str, dst: str, data: bytes) -> None:
        if self._session is None:
            return
        try:
            self._session.put(
                f"{_ROOT}/{kind}/{self.me}/{dst}",
                data,
                express=True,
                priority=zenoh.Priority.REAL_TIME,
                congestion_control=zenoh.CongestionControl.DROP,
            )
            self.counters[f"control_sent_{kind}"] += 1
            self.counters["control_sent_bytes"] += len(data)
        except zenoh.ZError:
            self.counters["control_send_failed"] += 1

    def _cost(self, src: str, data: bytes) -> None:
        if src not in self._alive:
            self.counters["control_dropped"] += 1
            return
        self.counters["control_received_bytes"] += len(data)
        self.listener.on_cost(src, data)

    def _token(self, key: str, present: bool) -> None:
        _, _, peer, digits = key.split("/")
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
        while self._session is not None and self._alive.get(peer) == incarnation:
            offer = self._identity.offer(peer)
            reply = await self._ask(f"{_ROOT}/key/{self.me}/{peer}", offer.data)
            if reply is not None and self._alive.get(peer) == incarnation:
                try:
                    keys = self._identity.finish(offer, reply)
                except WireError:
                    self.counters["keys_refused"] += 1
                else:
                    self._agreed(keys)
                    return
            await asyncio.sleep(_KEY_RETRY_S)

    async def _ask(self, key: str, payload: bytes) -> bytes | None:
        """The first answer to a query, None where there is none in time."""
        assert self._session is not None
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def settle(value: bytes | None) -> None:
            if not future.done():
                future.set_result(value)

        def on_reply(reply: zenoh.Reply) -> None:
            sample = reply.ok
            fits = sample is not None and len(sample.payload) <= commands.MAX_BYTES
            self._inbox.put(settle, sample.payload.to_bytes() if sample is not None and fits else None)

        self._session.get(key, on_reply, payload=payload, timeout=_KEY_TIMEOUT_S)
        try:
            return await asyncio.wait_for(future, _KEY_TIMEOUT_S + 0.1)
        except TimeoutError:
            return None

    def _key_query(self, query: zenoh.Query) -> None:
        with query:
            peer = str(query.key_expr).split("/")[2]
            payload = query.payload
            if peer not in self._alive or payload is None:
                # Its offer overtook its token: it will offer again.
                query.reply_err(b"not yet")
                return
            try:
                reply, keys = self._identity.answer(payload.to_bytes(), peer=peer)
            except WireError:
                self.counters["keys_refused"] += 1
                query.reply_err(b"refused")
                return
            # Before the answer leaves: what the peer then seals can be opened at once.
            self._agreed(keys)
            query.reply(query.key_expr, reply)

    def _agreed(self, keys: PairKeys) -> None:
        self.counters["keys_agreed"] += 1
        self.listener.on_keys(keys)
        self._neighbour(keys.peer, up=False)
        self._say_everything(keys.peer)
        self._neighbour(keys.peer, up=True)
        for delay_s in _SAY_AGAIN_S:
            asyncio.get_running_loop().call_later(delay_s, self._say_everything, keys.peer)

    def _say_everything(self, peer: str) -> None:
        if peer in self._alive:
            self._put("roster", peer, self._roster.everything())

    async def _say_always(self) -> None:
        while True:
            await asyncio.sleep(_SAY_ALWAYS_S)
            for peer in tuple(self._alive):
                self._say_everything(peer)

    def _lost(self, peer: str) -> None:
        self._neighbour(peer, up=False)
        self.listener.on_keys_void(peer)

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

    def _status_query(self, query: zenoh.Query) -> None:
        with query:
            query.reply(query.key_expr, commands.encode(self.listener.status()))

    def _command_query(self, query: zenoh.Query) -> None:
        with query:
            asker = str(query.key_expr).split("/")[2]
            payload = query.payload
            try:
                command = commands.decode_command(b"" if payload is None else payload.to_bytes())
            except WireError as error:
                self.counters["control_dropped"] += 1
                query.reply(query.key_expr, commands.encode(commands.Ack(ok=False, error=str(error))))
                return
            query.reply(query.key_expr, commands.encode(self.listener.on_command(asker, command)))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Operator:
    """Asks and commands the hosts of a deployment from outside; blocking, for commands and launchers."""

    def __init__(self, topology: Topology, certs: HostCerts, *, name: str = OPERATOR) -> None:
        self._name = name
        self._hosts = tuple(device.id for device in topology.devices)
        endpoints = [control_endpoint(device) for device in topology.devices]
        self._session = zenoh.open(zenoh_config(certs, listen=[], connect=endpoints))

    def status(self, host: str, *, timeout_s: float = 1.0) -> commands.HostStatus | None:
        """The host's status, None where it does not answer."""
        reply = self._ask(f"{_ROOT}/status/{self._name}/{host}", b"", timeout_s)
        return None if reply is None else commands.decode_status(reply)

    def status_of_all(self, *, timeout_s: float = 2.0) -> dict[str, commands.HostStatus | None]:
        """Every host's status by id, asked at once."""
        with ThreadPoolExecutor(len(self._hosts)) as pool:
            answers = pool.map(lambda host: self.status(host, timeout_s=timeout_s), self._hosts)
            return dict(zip(self._hosts, answers, strict=True))

    def command(self, host: str, command: commands.Command, *, timeout_s: float = 2.0) -> commands.Ack:
        """Have `host` carry out `command`; an answer that does not come is an answer."""
        reply = self._ask(f"{_ROOT}/command/{self._name}/{host}", commands.encode(command), timeout_s)
        return commands.Ack(ok=False, error="no answer") if reply is None else commands.decode_ack(reply)

    def _ask(self, key: str, payload: bytes, timeout_s: float) -> bytes | None:
        until = time.monotonic() + timeout_s
        while True:
            for reply in self._session.get(key, payload=payload, timeout=max(0.05, until - time.monotonic())):
                if reply.ok is not None:
                    return reply.ok.payload.to_bytes()
            # Nobody declared it yet: the session may still be dialling.
            if time.monotonic() >= until:
                return None
            time.sleep(0.05)

    def close(self) -> None:
        self._session.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
