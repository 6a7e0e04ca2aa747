"""A host's counters for Prometheus: the text format over a small HTTP server on the event loop.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from airloom.errors import DeploymentError

_MAX_REQUEST_BYTES = 8192
_TIMEOUT_S = 5.0


class Metric(NamedTuple):
    """One sample: `airloom_` and `name` is the metric's name."""

    name: str
    kind: str  # "counter" or "gauge"
    value: float
    help: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def render(metrics: Iterable[Metric]) -> str:
    """Samples as text; those of one name together, under one HELP and TYPE."""
    families: dict[str, list[Metric]] = {}
    for metric in metrics:
        families.setdefault(metric.name, []).append(metric)
    lines: list[str] = []
    for name, samples in families.items():
        full = f"airloom_{name}"
        if samples[0].help:
            lines.append(f"# HELP {full} {_escape(samples[0].help, quotes=False)}")
        lines.append(f"# TYPE {full} {samples[0].kind}")
        for sample in samples:
            labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels)
            lines.append(f"{full}{{{labels}}} {sample.value:.17g}" if labels else f"{full} {sample.value:.17g}")
    return "\n".join(lines) + "\n"


def _escape(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


class MetricsServer:
    """`GET /metrics`; bound to this machine alone unless told otherwise. It has no authentication."""

    def __init__(self, collect: Callable[[], Iterable[Metric]], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._collect, self._host, self._port = collect, host, port
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        try:
            self._server = await asyncio.start_server(
                self._answer, self._host, self._port, limit=_MAX_REQUEST_BYTES, backlog=16
            )
        except OSError as error:
            raise DeploymentError(f"cannot serve metrics on {self._host}:{self._port}: {error.strerror}") from None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError
        ):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _TIMEOUT_S)
            words = head.split(b"\r\n", 1)[0].split()
            if words[:1] != [b"GET"]:
                status, body = "405 Method Not Allowed", "GET /metrics\n"
            elif words[1:2] and words[1].split(b"?")[0] == b"/metrics":
                status, body = "200 OK", render(self._collect())
            else:
                status, body = "404 Not Found", "GET /metrics\n"
            payload = body.encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
                + payload
            )
            await asyncio.wait_for(writer.drain(), _TIMEOUT_S)
        writer.close()
