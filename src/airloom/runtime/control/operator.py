"""Asking and commanding the hosts of a deployment from outside."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import zenoh

from airloom.core.topology import Topology
from airloom.runtime import commands
from airloom.runtime.certs import OPERATOR, HostCerts
from airloom.runtime.control.settings import key, zenoh_config
from airloom.runtime.places import control_endpoint


class Operator:
    """Asks and commands hosts; blocking, for commands of the terminal and for launchers.

    Args:
        certs: of the operator or the topology's source: hosts obey nobody else.
        name: in those certificates.
    """

    def __init__(self, topology: Topology, certs: HostCerts, *, name: str = OPERATOR) -> None:
        self._name = name
        self._hosts = tuple(device.id for device in topology.devices)
        endpoints = [control_endpoint(device) for device in topology.devices]
        self._session = zenoh.open(zenoh_config(certs, listen=[], connect=endpoints))

    def status(self, host: str, *, timeout_s: float = 1.0) -> commands.HostStatus | None:
        """The host's status, None where it does not answer."""
        reply = self._ask("status", host, b"", timeout_s)
        return None if reply is None else commands.decode_status(reply)

    def status_of_all(self, *, timeout_s: float = 2.0) -> dict[str, commands.HostStatus | None]:
        """Every host's status by id, asked at once."""
        with ThreadPoolExecutor(len(self._hosts)) as pool:
            answers = pool.map(lambda host: self.status(host, timeout_s=timeout_s), self._hosts)
            return dict(zip(self._hosts, answers, strict=True))

    def command(self, host: str, command: commands.Command, *, timeout_s: float = 2.0) -> commands.Ack:
        """Have `host` carry out `command`; an answer that does not come is an answer."""
        reply = self._ask("command", host, commands.encode(command), timeout_s)
        return commands.Ack(ok=False, error="no answer") if reply is None else commands.decode_ack(reply)

    def _ask(self, kind: str, host: str, payload: bytes, timeout_s: float) -> bytes | None:
        until = time.monotonic() + timeout_s
        asked = key(kind, self._name, host)
        while True:
            for reply in self._session.get(asked, payload=payload, timeout=max(0.05, until - time.monotonic())):
                if reply.ok is not None:
                    return reply.ok.payload.to_bytes()
            # Nobody declared it yet: the session may still be dialling.
            if time.monotonic() >= until:
                return None
            time.sleep(0.05)

    def close(self) -> None:
        self._session.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
