"""Start a relay as a child process and command it, from asyncio."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys
from collections.abc import Callable

from airloom.core.trace import Event
from airloom.core.value import Value
from airloom.errors import ConfigError, DeploymentError
from airloom.runtime.relay_control import (
    Command,
    Done,
    GetStats,
    Happened,
    Ready,
    Refused,
    RelaySpec,
    Rewind,
    Said,
    SetHost,
    SetLink,
    Stats,
    Stop,
    decode_said,
    encode_line,
)

_START_S = 20.0
_ANSWER_S = 10.0


class RelayProcess:
    """A running relay. Use as `async with await RelayProcess.start(spec) as relay:`.

    Attributes:
        pid: of the child process.
    """

    def __init__(self, child: asyncio.subprocess.Process, on_event: Callable[[Event], None] | None) -> None:
        self._child, self._on_event = child, on_event
        self.pid = child.pid
        self._addresses: dict[tuple[str, str], str] = {}
        self._streams: dict[str, str] = {}
        self._waiting: collections.deque[asyncio.Future[Said]] = collections.deque()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        spec: Value,
        *,
        on_event: Callable[[Event], None] | None = None,
        module: str = "airloom.runtime.relay",
    ) -> RelayProcess:
        """Start the relay of `spec`; returns when its ports are open.

        Args:
            spec: a `RelaySpec`, or what `module` takes.
            on_event: called with every `condition` trace event, from the running event loop.

        Raises:
            ConfigError: the relay refused the spec, with its reason.
            DeploymentError: it did not start.
        """
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            # Ctrl-C at the terminal is for whoever started it: what is under way may still need its links.
            start_new_session=True,
        )  # fmt: skip
        relay = cls(child, on_event)
        try:
            assert child.stdin is not None
            child.stdin.write(encode_line(spec))
            relay._reader = asyncio.get_running_loop().create_task(relay._read())
            said = await relay._expect(_START_S)
        except BaseException:
            await relay.stop()
            raise
        if isinstance(said, Refused):
            await relay.stop()
            raise ConfigError(said.error)
        assert isinstance(said, Ready)
        relay._addresses = {(a.src, a.dst): a.address for a in said.addresses}
        relay._streams = dict(said.streams)
        return relay

    def address(self, src: str, dst: str) -> str:
        """`ip:port` to which `src` sends what is meant for `dst`, and from which `dst`'s answers come."""
        return self._addresses[src, dst]

    def stream(self, name: str) -> str:
        """`ip:port` at which a service is called over the links (`RelaySpec.streams`)."""
        return self._streams[name]

    async def set_link(
        self,
        src: str,
        dst: str,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        loss: float | None = None,
        burst_s: float | None = None,
        up: bool | None = None,
        snr_db: float | None = None,
    ) -> None:
        """Change a directed link from now on; None leaves a figure as it is.

        Raises:
            ConfigError: no such link, or a value that it cannot have.
        """
        command = SetLink(
            src=src, dst=dst, rate_bps=rate_bps, delay_s=delay_s, loss=loss, burst_s=burst_s, up=up, snr_db=snr_db
        )
        await self._ask(command)

    async def set_host(self, host: str, address: str) -> None:
        """From now on the data plane of `host` listens at `address` (`ip:port`)."""
        await self._ask(SetHost(host=host, address=address))

    async def rewind(self) -> None:
        """The traces of all links begin again now."""
        await self._ask(Rewind())

    async def stats(self) -> Stats:
        said = await self._ask(GetStats())
        assert isinstance(said, Stats)
        return said

    async def stop(self) -> None:
        """End the child; safe to call twice, and on a child that has died."""
        if self._child.returncode is None and self._child.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._child.stdin.write(encode_line(Stop()))
                self._child.stdin.close()
            try:
                await asyncio.wait_for(self._child.wait(), 2.0)
            except TimeoutError:
                self._child.kill()
                await self._child.wait()
        if self._reader is not None:
            await self._reader
        # Without this the transport's pipes are closed by the garbage collector, which warns.
        self._child._transport.close()  # type: ignore[attr-defined]

    async def __aenter__(self) -> RelayProcess:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def _ask(self, command: Command) -> Said:
        if self._child.returncode is not None or self._child.stdin is None:
            raise DeploymentError("the relay has ended")
        self._child.stdin.write(encode_line(command))
        said = await self._expect(_ANSWER_S)
        if isinstance(said, Refused):
            raise ConfigError(said.error)
        assert isinstance(said, Done | Stats)
        return said

    async def _expect(self, within_s: float) -> Said:
        future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await asyncio.wait_for(future, within_s)
        except TimeoutError:
            raise DeploymentError(f"the relay did not answer within {within_s:g} s") from None

    async def _read(self) -> None:
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            said = decode_said(line)
            if isinstance(said, Happened):
                if self._on_event is not None:
                    self._on_event(said.event)
            elif self._waiting:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(said)
        for future in self._waiting:
            if not future.done():
                future.set_exception(DeploymentError("the relay has ended"))


async def start_relay(spec: RelaySpec, *, on_event: Callable[[Event], None] | None = None) -> RelayProcess:
    """A relay of a topology's links on this machine."""
    return await RelayProcess.start(spec, on_event=on_event)
