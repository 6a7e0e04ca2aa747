"""What holds for every request: who asks, how much is under way, what is counted, and that errors are one line."""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airloom.deliver.server.cache import DamagedFile
from airloom.deliver.server.rates import Rates
from airloom.deliver.server.refusals import Refusal, one_line
from airloom.deliver.server.tokens import Tokens

_OPEN_PATHS = ("/healthz",)
_SHUT = {"www-authenticate": 'Bearer realm="airloom"'}
_AGAIN = {"retry-after": "1"}


class Front:
    """An ASGI application around `app`.

    Attributes:
        tokens: who is let in; None lets everybody in.
        requests: counts by status.
        nbytes: of all bodies.
        in_flight: requests under way.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens | None,
        rates: Rates,
        max_transfers: int,
        max_transfers_per_client: int,
        say: Callable[[str], None],
        access_log: bool,
    ) -> None:
        self._app, self.tokens, self._rates = app, tokens, rates
        self._max_transfers, self._max_per_client = max_transfers, max_transfers_per_client
        self._say, self._access_log = say, access_log
        self._per_client: Counter[str] = Counter()
        self.requests: Counter[int] = Counter()
        self.nbytes = self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, before = time.monotonic(), self.nbytes
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"airloom-api", b"1")]
            elif scope["method"] == "HEAD":
                message["body"] = b""
            else:
                self.nbytes += len(message.get("body", b""))
            await send(message)

        try:
            try:
                await self._answer(scope, receive, sending)
            except Refusal as refusal:
                if status:
                    raise
                await refusal.response()(scope, receive, sending)
            except HTTPException as error:
                # Nothing has begun: the router raises it where no endpoint takes the request.
                await _of_router(error, scope["method"]).response()(scope, receive, sending)
            except ClientDisconnect:
                status = status or 499
            except DamagedFile as error:
                self._say(str(error))
                if status:
                    raise
                await Refusal(503, "this file is damaged on the server").response()(scope, receive, sending)
            except Exception as error:
                # A mistake of ours: the client learns that, the log learns where.
                frames = traceback.extract_tb(error.__traceback__)[-1:]
                where = "".join(f" ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in frames)
                self._say(f"{scope['method']} {scope['path']}: {type(error).__name__}: {error}{where}")
                if status:
                    raise
                await Refusal(500, "the server failed").response()(scope, receive, sending)
        finally:
            self.requests[status] += 1
            if self._access_log:
                seconds = time.monotonic() - began
                name, address = scope.get("airloom.client", ("-", "-"))
                line = (
                    f"{address} {name} {scope['method']} {scope['path']} {status} {self.nbytes - before} {seconds:.3f}"
                )
                self._say(line)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("",))[0]
        name = ""
        if self.tokens is not None and scope["path"] not in _OPEN_PATHS:
            found = self.tokens.name_of(_header(scope, b"authorization"))
            if found is None:
                raise Refusal(401, "no token, or none that is let in: Authorization: Bearer TOKEN", headers=_SHUT)
            name = found
        scope["airloom.client"] = (name or "-", address or "-")
        # Starlette's router then raises what it would else answer in its own words.
        scope["app"] = self._app
        if scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        client = f"{name}@{address}"
        if self._per_client[client] >= self._max_per_client:
            raise Refusal(429, f"{self._max_per_client} of your requests are under way already", headers=_AGAIN)
        if self.in_flight >= self._max_transfers:
            raise Refusal(503, "too many requests are under way", headers=_AGAIN)
        connection = (scope.get("extensions") or {}).get("airloom.connection")
        counted = None
        if connection is not None:
            connection.asker = client
            counted = connection.settle()
        scope["airloom.rate"] = self._rates.estimate_bps(client)
        scope["airloom.rtt"] = counted.rtt_s if counted is not None else 0.0
        self._per_client[client] += 1
        self.in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.in_flight -= 1
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]
            if connection is not None:
                connection.settle()


def _of_router(error: HTTPException, method: str) -> Refusal:
    reasons = {404: "no such resource: GET /v1/models lists the models", 405: f"not with {method}"}
    return Refusal(error.status_code, reasons.get(error.status_code, error.detail), headers=error.headers)


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return None


def say_on_stderr(line: str) -> None:
    """One line for whoever runs the server."""
    print(f"airloom: {one_line(line)}", file=sys.stderr, flush=True)
