"""The source's commands to the other hosts."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from airloom.core.topology import Topology
from airloom.runtime.certs import HostCerts
from airloom.runtime.commands import Ack, Command, HostStatus
from airloom.runtime.control import Operator

_TIMEOUT_S = 5.0


class Commander:
    """Asks and commands hosts from one thread, so that commands keep their order; used from any other.

    Its session opens when first needed: most deployments never command anybody.
    """

    def __init__(self, topology: Topology, certs: HostCerts) -> None:
        self._topology, self._certs = topology, certs
        self._operator: Operator | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="airloom operator")

    def status(self, host: str) -> HostStatus | None:
        """The host's status, None where it does not answer."""
        return self._thread.submit(lambda: self._session().status(host)).result()

    def command(self, host: str, command: Command) -> Future[Ack]:
        """Have `host` carry out `command`, after those given before."""
        return self._thread.submit(lambda: self._session().command(host, command, timeout_s=_TIMEOUT_S))

    def close(self) -> None:
        """End the session, after the commands given before."""
        self._thread.submit(self._leave).result()
        self._thread.shutdown()

    def _session(self) -> Operator:
        if self._operator is None:
            self._operator = Operator(self._topology, self._certs, name=self._topology.source)
        return self._operator

    def _leave(self) -> None:
        if self._operator is not None:
            self._operator.close()
