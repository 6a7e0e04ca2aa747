"""The endpoints (docs/serving-models.md has the table)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from airloom.deliver.manifest import MANIFEST_FILE, PUBLIC_FILE, SIGNATURE_FILE
from airloom.deliver.server.bodies import FilesBody
from airloom.deliver.server.cache import ChunkCache
from airloom.deliver.server.front import Front, say_on_stderr
from airloom.deliver.server.planning import Link, answer, read_ranges, read_request, write_ranges
from airloom.deliver.server.ranges import matches
from airloom.deliver.server.rates import Rates
from airloom.deliver.server.refusals import Refusal, as_json
from airloom.deliver.server.release import Release
from airloom.deliver.server.settings import ServerSettings
from airloom.deliver.server.shelf import Shelf
from airloom.deliver.server.tokens import Tokens
from airloom.errors import ConfigError
from airloom.planner.delivery import arrival
from airloom.runtime.metrics import Metric, render

#: Bytes of the body of `POST plan`; all the chunks that a manifest may have fit.
MAX_BODY = 1 << 20
# A header is no place for more.
_MAX_LISTED = 2048
# Of a digest, in the names that `deliver.artifact` gives.
_NAMED_DIGITS = 12
_FRESH = "no-cache"
_ARCHITECTURE = "architecture"
_FOREVER = "max-age=31536000, immutable"


class ModelServer:
    """All that the endpoints share.

    Attributes:
        app: the ASGI application.
    """

    def __init__(
        self, shelf: Shelf, settings: ServerSettings, *, tokens: Tokens | None = None, say: Any = say_on_stderr
    ) -> None:
        self.shelf, self.settings = shelf, settings
        self.cache = ChunkCache(settings.cache_nbytes)
        self.rates = Rates()
        self.decisions: Counter[str] = Counter()
        # What a shared cache may keep of files that anybody may have.
        self._scope = "private" if tokens is not None else "public"
        routes = [
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/models", self.models),
            Route("/v1/models/{model}/plan", self.plan, methods=["POST"]),
            Route("/v1/models/{model}/stream", self.stream),
            Route("/v1/models/{model}/{file:path}", self.file),
        ]
        self.front = Front(
            Router(routes, redirect_slashes=False),
            tokens=tokens,
            rates=self.rates,
            max_transfers=settings.max_transfers,
            max_transfers_per_client=settings.max_transfers_per_client,
            say=say,
            access_log=settings.access_log,
        )
        self.app: ASGIApp = self.front

    async def health(self, request: Request) -> Response:
        return as_json({"ok": True})

    async def metrics(self, request: Request) -> Response:
        return Response(render(self._metrics()), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        return as_json(
            {
                "models": [
                    {
                        "model": release.manifest.model,
                        "manifest": release.sha256,
                        "configurations": len(release.manifest.configurations),
                        "nbytes": release.largest,
                    }
                    for release in self.shelf.models
                ]
            }
        )

    async def plan(self, request: Request) -> Response:
        link = Link(
            request.scope.get("airloom.rate"), self.settings.assumed_rate_bps, request.scope.get("airloom.rtt", 0.0)
        )
        body = await _body(request, self.settings.head_timeout_s)
        try:
            asked = read_request(body)
            found = answer(self._release(request, asked.manifest or None), asked, link)
        except Refusal as refusal:
            self.decisions["refused" if refusal.status == 422 else "wrong"] += 1
            raise
        self.decisions["answered"] += 1
        return as_json(found)

    async def stream(self, request: Request) -> FilesBody:
        query = _query(request, ("configuration", "have", "manifest", "include"))
        release = self._release(request, query.get("manifest"))
        if "configuration" not in query:
            raise Refusal(400, "configuration=DEPTH/PRECISION[,...] says what to send")
        have = read_ranges(query.get("have", ""), len(release.chunks))
        names = query["configuration"].split(",")
        if len(names) > len(release.manifest.configurations):
            raise Refusal(400, f"configuration: {len(names)} names, there are {len(release.manifest.configurations)}")
        try:
            path = [release.table.by_name(name) for name in names]
        except ConfigError as error:
            raise Refusal(400, str(error)) from None
        chunks = arrival(release.table, have, path)
        files = [release.chunks[k] for k in chunks]
        if query.get("include", _ARCHITECTURE) != _ARCHITECTURE:
            raise Refusal(400, f"include={query['include'][:40]}: only {_ARCHITECTURE} can be")
        if "include" in query and release.manifest.architecture.file:
            files.insert(0, release.files[release.manifest.architecture.file])
        etag = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
        listed = write_ranges(chunks)
        headers = {"airloom-chunks": listed} if len(listed) <= _MAX_LISTED else {}
        return self._files(request, files, etag=etag, cache_control=f"{self._scope}, {_FRESH}", headers=headers)

    async def file(self, request: Request) -> Response | FilesBody:
        model, name = request.path_params["model"], request.path_params["file"]
        if "\0" in name or "\\" in name or name.startswith("/") or {"..", "."} & set(name.split("/")):
            raise Refusal(400, f"{name!r} is no path below the model")
        if name in (MANIFEST_FILE, SIGNATURE_FILE, PUBLIC_FILE):
            return self._manifest(request, name)
        query = _query(request, ("sha256",))
        wanted = query.get("sha256")
        # Who resumes wants more of what it has, also where a new version has come since.
        resumed = (request.headers.get("if-range") or "").strip().strip('"')
        found = self.shelf.file(model, name, wanted or (resumed or None))
        if found is None and wanted is None and resumed:
            found = self.shelf.file(model, name)
        if found is None:
            if self.shelf.find(model) is None:
                raise self._unknown(model)
            if self.shelf.file(model, name) is not None:
                raise Refusal(409, f"{model} has another version of {name!r}: fetch its manifest again")
            raise Refusal(404, f"{model} has no file {name!r}: its manifest names them all")
        # A name that carries the digest never means anything else.
        fixed = wanted is not None or found.sha256[:_NAMED_DIGITS] in name
        control = f"{self._scope}, {_FOREVER if fixed else _FRESH}"
        return self._files(request, [found], etag=found.sha256, cache_control=control)

    def _files(self, request: Request, files: list[Any], **how: Any) -> FilesBody:
        connection = request.scope.get("extensions", {}).get("airloom.connection")
        gone = (lambda: connection.gone) if connection is not None else (lambda: False)
        return FilesBody(self.cache, files, gone=gone, **how)

    def _manifest(self, request: Request, name: str) -> Response:
        release = self._release(request, _query(request, ("manifest",)).get("manifest"))
        if name not in release.heads:
            raise Refusal(404, f"{release.manifest.model} has no {name}: it is not signed")
        data, etag = release.heads[name]
        headers = {"etag": f'"{etag}"', "cache-control": f"{self._scope}, {_FRESH}"}
        if name == MANIFEST_FILE and SIGNATURE_FILE in release.heads:
            # With it, or a client would have to ask again, and might get that of the next version.
            headers["airloom-signature"] = release.heads[SIGNATURE_FILE][0].hex()
        if name == MANIFEST_FILE:
            # As `plan` takes it: who has the table can look up what to fetch, without asking first.
            rate_bps = request.scope.get("airloom.rate") or self.settings.assumed_rate_bps
            headers["airloom-rate"] = f"{rate_bps:.0f}"
        if matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        kind = "application/json" if name == MANIFEST_FILE else "application/octet-stream"
        return Response(data, media_type=kind, headers=headers)

    def _release(self, request: Request, sha256: str | None) -> Release:
        model = request.path_params["model"]
        release = self.shelf.find(model, sha256)
        if release is not None:
            return release
        newest = self.shelf.find(model)
        if newest is None:
            raise self._unknown(model)
        raise Refusal(
            409,
            f"{model} has another manifest than {str(sha256)[:64]!r}: fetch it again",
            more={"manifest": newest.sha256},
        )

    def _unknown(self, model: str) -> Refusal:
        names = ", ".join(release.manifest.model for release in self.shelf.models[:20])
        return Refusal(404, f"no model {model[:60]!r}: there are {names}")

    def _metrics(self) -> Iterator[Metric]:
        front, cache, shelf = self.front, self.cache, self.shelf
        for status, count in sorted(front.requests.items()):
            labels = (("status", str(status)),)
            yield Metric("delivery_requests_total", "counter", count, "requests answered, 0: the client left", labels)
        for kind in ("answered", "refused", "wrong"):
            labels = (("outcome", kind),)
            yield Metric("delivery_decisions_total", "counter", self.decisions[kind], "plans asked for", labels)
        yield Metric("delivery_sent_bytes_total", "counter", front.nbytes, "bytes of all bodies")
        yield Metric("delivery_requests_in_flight", "gauge", front.in_flight, "requests under way")
        yield Metric("delivery_cache_bytes", "gauge", cache.nbytes, "bytes of chunks in memory")
        yield Metric("delivery_cache_limit_bytes", "gauge", cache.max_nbytes, "bytes that chunks may take")
        for name, count in (("hit", cache.hits), ("miss", cache.misses), ("passed_by", cache.passed)):
            yield Metric("delivery_cache_reads_total", "counter", count, "chunks sent", (("outcome", name),))
        yield Metric("delivery_clients_known", "gauge", len(self.rates), "clients whose rate is estimated")
        yield Metric("delivery_models", "gauge", len(shelf.models), "models served")
        yield Metric("delivery_versions", "gauge", shelf.num_versions, "versions of models that can be fetched")
        yield Metric("delivery_reloads_total", "counter", shelf.reloads, "new versions taken")
        yield Metric("delivery_reload_failures_total", "counter", shelf.failures, "new versions that could not be")


async def _body(request: Request, timeout_s: float) -> bytes:
    """The request's body.

    Raises:
        Refusal: too large, or too slow.
    """
    close = {"connection": "close"}
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY:
        raise Refusal(413, f"a body of more than {MAX_BODY} bytes", headers=close)
    data = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                data += part
                if len(data) > MAX_BODY:
                    raise Refusal(413, f"a body of more than {MAX_BODY} bytes", headers=close)
    except TimeoutError:
        raise Refusal(408, f"no whole body within {timeout_s:g} s", headers=close) from None
    return bytes(data)


def _query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """Raises: Refusal: a key that is not `known`, or twice the same."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16
        )
    except ValueError:
        raise Refusal(400, "the query cannot be read") from None
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise Refusal(400, f"unknown key {key[:40]!r}: there are {', '.join(known)}")
        if key in found:
            raise Refusal(400, f"{key} is there twice")
        found[key] = value
    return found
