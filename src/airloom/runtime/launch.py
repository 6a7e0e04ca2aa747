"""The hosts of a deployment as processes of this machine, and the relay that stands for their links.

A child lives as long as the pipe to its standard input: whatever ends the launcher, be it SIGKILL,
ends its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError, DeploymentError
from airloom.runtime.places import data_address
from airloom.runtime.relay_control import RelaySpec, Stream
from airloom.runtime.relay_process import RelayProcess, start_relay

_READY_S = 60.0
_STOP_S = 5.0


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    log: Path


@dataclass(frozen=True)
class Emulation:
    """How the links between the hosts of this machine are acted out; None of it where `links` is False."""

    links: bool = True
    transport: Literal["udp", "tcp"] = "udp"
    seed: int = 0
    slow: float = 1.0
    streams: tuple[Stream, ...] = ()


@dataclass(frozen=True)
class NodeCommand:
    """What a child needs to know to become `host`: given to the caller's function that makes its command line."""

    host: str
    routes: Mapping[str, str] = field(default_factory=dict)


class Launcher:
    """Processes of the hosts `hosts`; everything runs on one event loop.

    Args:
        topology: with an address for every device, see `places.with_local_addresses`.
        command: the command line that starts a host; it must say one line of JSON when it is ready,
            and end when its standard input does.
        folder: where the children's logs go.
        on_event: gets the relay's `condition` events.
    """

    def __init__(
        self,
        topology: Topology,
        hosts: Iterable[str],
        command: Callable[[NodeCommand], list[str]],
        *,
        folder: Path,
        emulation: Emulation = Emulation(),
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.topology, self.hosts, self.emulation = topology, tuple(hosts), emulation
        self._command, self._folder, self._on_event = command, folder, on_event
        self._environment = dict(environment or {})
        self._children: dict[str, _Child] = {}
        self.relay: RelayProcess | None = None

    async def start(self, *, progress: Callable[[str], None] | None = None) -> None:
        """Start the relay and every host; returns when all are ready. `progress` hears of each."""
        try:
            if self.emulation.links:
                addresses = {d.id: "{}:{}".format(*data_address(d)) for d in self.topology.devices}
                spec = RelaySpec(
                    links=self.topology.links,
                    hosts=addresses,
                    transport=self.emulation.transport,
                    seed=self.emulation.seed,
                    slow=self.emulation.slow,
                    streams=self.emulation.streams,
                )
                self.relay = await start_relay(spec, on_event=self._on_event)
            tasks = [asyncio.ensure_future(self._start(host, progress)) for host in self.hosts]
            try:
                await asyncio.gather(*tasks)
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
        except BaseException:
            await self.close()
            raise

    def routes(self, host: str) -> dict[str, str]:
        """Where `host` sends what is meant for each neighbour: the relay's ports; empty without a relay."""
        if self.relay is None:
            return {}
        near = {link.dst for link in self.topology.links if link.src == host}
        near |= {link.src for link in self.topology.links if link.dst == host}
        return {peer: self.relay.address(host, peer) for peer in near}

    def stream(self, name: str) -> str:
        """`ip:port` at which a service is called over the emulated links; ConfigError where they are not emulated."""
        if self.relay is None:
            raise ConfigError("links run as they are: call the service where it is")
        return self.relay.stream(name)

    def pid(self, host: str) -> int:
        """Of the process of `host`."""
        return self._child(host).process.pid

    @property
    def running(self) -> tuple[str, ...]:
        """The hosts whose processes live."""
        return tuple(host for host, child in self._children.items() if child.process.returncode is None)

    async def kill(self, host: str) -> None:
        """End the process of `host` at once (SIGKILL), as a crash would."""
        child = self._child(host)
        with contextlib.suppress(ProcessLookupError):
            child.process.kill()
        await child.process.wait()

    async def revive(self, host: str, *, progress: Callable[[str], None] | None = None) -> None:
        """Start `host` again where it was; returns when it is ready."""
        if self._child(host).process.returncode is None:
            raise ConfigError(f"{host} is running")
        await self._start(host, progress)

    async def set_link(
        self,
        src: str,
        dst: str,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        loss: float | None = None,
        up: bool | None = None,
        snr_db: float | None = None,
    ) -> None:
        """Change an emulated link; ConfigError where links are not emulated."""
        if self.relay is None:
            raise ConfigError("links run as they are: deploy with emulated links to change them")
        await self.relay.set_link(src, dst, rate_bps=rate_bps, delay_s=delay_s, loss=loss, up=up, snr_db=snr_db)

    async def rewind(self) -> None:
        """The traces of emulated links begin again now; ConfigError where links are not emulated."""
        if self.relay is None:
            raise ConfigError("links run as they are: deploy with emulated links to replay traces")
        await self.relay.rewind()

    async def apply_links(self, conditions: Conditions) -> None:
        """Bring about what `conditions` say of links."""
        for state in conditions.links:
            await self.set_link(
                state.src, state.dst, rate_bps=state.rate_bps, delay_s=state.delay_s, loss=state.loss, up=state.up,
                snr_db=state.snr_db,
            )  # fmt: skip

    async def close(self) -> None:
        """End everything that was started; children that do not listen are killed. Safe to call twice."""
        children, self._children = self._children, {}
        await asyncio.gather(*(_stop(child) for child in children.values()))
        relay, self.relay = self.relay, None
        if relay is not None:
            await relay.stop()

    def _child(self, host: str) -> _Child:
        if host not in self._children:
            raise ConfigError(f"no host {host!r} was started here: there are {', '.join(self.hosts)}")
        return self._children[host]

    async def _start(self, host: str, progress: Callable[[str], None] | None) -> None:
        log = self._folder / "logs" / f"{host}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *self._command(NodeCommand(host, self.routes(host))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=os.environ | self._environment,
                # Ctrl-C at the terminal is the launcher's to handle.
                start_new_session=True,
            )
        self._children[host] = _Child(process, log)
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
        except TimeoutError:
            raise DeploymentError(f"{host} was not ready within {_READY_S:g} s: see {log}") from None
        try:
            said = json.loads(line) if line else {}
        except ValueError:
            said = {}
        if not isinstance(said, dict) or said.get("ready") != host:
            await process.wait()
            raise DeploymentError(f"{host} did not start: {_last_line(log)}")
        if progress is not None:
            progress(host)


async def _stop(child: _Child) -> None:
    process = child.process
    if process.returncode is None and process.stdin is not None:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    # Without this the pipes are closed by the garbage collector, which warns.
    process._transport.close()  # type: ignore[attr-defined]


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("airloom: ") if lines else f"it said nothing; see {log}"
