"""Models served on a socket until a signal ends it: uvicorn with bounds of our own.

uvicorn sends 1 to 8 MB bodies at least as fast as granian and nginx with one worker on this project's machine, and
keeps no copy of what it sends (benchmarks/delivery.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvicorn

from airloom.deliver.server.app import ModelServer
from airloom.deliver.server.connection import Connection, ConnectionLimits, watch
from airloom.deliver.server.front import say_on_stderr
from airloom.deliver.server.settings import ServerSettings, check_settings
from airloom.deliver.server.shelf import Shelf
from airloom.deliver.server.tokens import read_tokens
from airloom.deliver.signing import fingerprint, public_text, read_public_key
from airloom.errors import ConfigError, DeploymentError

_BACKLOG = 1024
_HANDSHAKE_S = 10.0


class ServedModel(NamedTuple):
    """A model, and who signed it.

    Attributes:
        key, fingerprint: "" where it is not signed.
        pinned: whether it is the key that whoever started the server named, rather than what lies beside the model.
    """

    model: str
    manifest: str
    key: str
    fingerprint: str
    pinned: bool


class Serving(NamedTuple):
    """What is being served, for whoever started it.

    Attributes:
        url: `https://127.0.0.1:8443`.
    """

    url: str
    models: tuple[ServedModel, ...]


def serve(
    settings: ServerSettings,
    *,
    ready: Callable[[Serving], None] = lambda serving: None,
    say: Callable[[str], None] = say_on_stderr,
) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `settings.shutdown_s` to end.

    Args:
        ready: called once connections are taken.
        say: gets a line where something is to be said later on.

    Raises:
        UserError: something cannot be served; nothing has been listened on then.
        DeploymentError: the address cannot be listened on.
    """
    check_settings(settings)
    key = None if settings.public_key is None else read_public_key(settings.public_key)
    tokens = None if settings.tokens is None else read_tokens(settings.tokens)
    context = _tls(settings)
    shelf = Shelf(settings.folders, public_key=key, keep_s=settings.keep_s, say=say)
    server = ModelServer(shelf, settings, tokens=tokens, say=say)
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    models = tuple(
        ServedModel(
            release.manifest.model,
            release.sha256,
            "" if release.key is None else public_text(release.key),
            "" if release.key is None else fingerprint(release.key),
            key is not None,
        )
        for release in shelf.models
    )
    serving = Serving(f"{'https' if context else 'http'}://{place}:{port}", models)
    _quiet()
    config = uvicorn.Config(
        server.app,
        # uvicorn makes one of these for each connection.
        http=functools.partial(  # type: ignore[arg-type]
            Connection,
            limits=ConnectionLimits(settings.max_connections, settings.head_timeout_s, settings.stall_timeout_s),
            rates=server.rates,
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(round(settings.idle_timeout_s), 1),
        timeout_graceful_shutdown=max(round(settings.shutdown_s), 1),
    )
    with listening:
        runner = _Server(config, listening, context)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as loop:
            loop.run(_run(runner, server, settings, functools.partial(ready, serving), say))


async def _run(
    runner: _Server,
    server: ModelServer,
    settings: ServerSettings,
    ready: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runner.handle_exit, number, None)
    runner.ready = ready
    every_s = max(min(1.0, settings.head_timeout_s / 4, settings.stall_timeout_s / 4), 0.05)
    tasks = [
        asyncio.ensure_future(watch(runner.server_state.connections, every_s)),
        asyncio.ensure_future(_refresh(server, settings, say)),
    ]
    try:
        await runner._serve()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _refresh(server: ModelServer, settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Look for new versions of models and tokens until cancelled."""
    stamp = _token_stamp(settings.tokens)
    while True:
        await asyncio.sleep(settings.poll_s)
        # In a thread: reading a large manifest takes its time, and disks may be slow.
        await asyncio.to_thread(server.shelf.refresh)
        now = _token_stamp(settings.tokens)
        if now != stamp and settings.tokens is not None:
            stamp = now
            try:
                server.front.tokens = read_tokens(settings.tokens)
                say(f"{settings.tokens}: {len(server.front.tokens)} tokens are let in")
            except ConfigError as error:
                say(f"the tokens from before are still let in: {error}")


def _token_stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        info = None if path is None else path.stat()
    except OSError:
        return None
    return None if info is None else (info.st_ino, info.st_mtime_ns, info.st_mode)


class _Server(uvicorn.Server):
    """uvicorn on a socket that listens already, with a bound on handshakes."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._listening, self._context = listening, context
        self.ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        make = functools.partial(
            self.config.http_protocol_class,
            config=self.config,  # type: ignore[call-arg]
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        handshake_s = None if self._context is None else _HANDSHAKE_S
        self.servers = [
            await asyncio.get_running_loop().create_server(
                make, sock=self._listening, backlog=_BACKLOG, ssl=self._context, ssl_handshake_timeout=handshake_s
            )
        ]
        self.started = True
        self.ready()


def _listen(settings: ServerSettings) -> socket.socket:
    try:
        info = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(info[0], socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {settings.host}: {error.strerror}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(info[4])
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise DeploymentError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
    return listening


def _tls(settings: ServerSettings) -> ssl.SSLContext | None:
    """TLS 1.2 and later; None in the clear."""
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in (settings.certificate, settings.key):
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
        except OSError as error:
            raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read this key: chmod 600 {settings.key}", where=str(settings.key))
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(
            f"no certificate and key that go together, in PEM and without a password: {reason}",
            where=f"{settings.certificate}, {settings.key}",
        ) from None
    return context


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal.
    raise ValueError("the key has a password")


def _quiet() -> None:
    """uvicorn's own lines go nowhere: what there is to say, this package says."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.propagate = False
        with contextlib.suppress(ValueError):
            logger.handlers[:] = [logging.NullHandler()]
        logger.setLevel(logging.CRITICAL)
