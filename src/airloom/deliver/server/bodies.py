"""Files, and files one after another, as answers: whole, a range of it, or nothing new.

Data goes out in pieces, each when the one before has left for the kernel: a client that reads slowly holds a view of a
shared chunk and one piece, never a copy of the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.types import Receive, Scope, Send

from airloom.deliver.server.cache import ChunkCache
from airloom.deliver.server.ranges import Unsatisfiable, holds_if_range, matches, parse_range
from airloom.deliver.server.refusals import Refusal
from airloom.deliver.server.release import StoredFile

#: Bytes of a shared chunk handed on at once: by reference in the clear; encrypted, each client has a copy of them.
PIECE, PIECE_TLS = 1 << 20, 64 * 1024
#: Bytes read at once from a file that the cache has no room for: each client has a copy of them.
PIECE_FILE = 256 * 1024


class FilesBody:
    """An ASGI answer: `files` back to back, under one strong entity tag.

    Args:
        sent: gets the bytes of the body as they go out.
    """

    def __init__(
        self,
        cache: ChunkCache,
        files: Sequence[StoredFile],
        *,
        etag: str,
        cache_control: str,
        headers: Mapping[str, str] | None = None,
        sent: Callable[[int], None] = lambda nbytes: None,
        gone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cache, self._files, self._etag = cache, files, etag
        self._sent, self._gone = sent, gone
        self.nbytes = sum(file.nbytes for file in files)
        self._headers = {"etag": f'"{etag}"', "cache-control": cache_control, **(headers or {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if matches(asked.get(b"if-none-match"), self._etag):
            await _start(send, 304, self._headers)
            await send({"type": "http.response.body", "body": b""})
            return
        headers = {**self._headers, "accept-ranges": "bytes", "content-type": "application/octet-stream"}
        start, end, status = 0, self.nbytes, 200
        # Range is defined for GET alone (14.2).
        if scope["method"] == "GET" and holds_if_range(asked.get(b"if-range"), self._etag):
            try:
                part = parse_range(asked.get(b"range"), self.nbytes)
            except Unsatisfiable as error:
                raise Refusal(416, str(error), headers={"content-range": f"bytes */{self.nbytes}"}) from None
            if part is not None:
                (start, end), status = part, 206
                headers["content-range"] = f"bytes {start}-{end - 1}/{self.nbytes}"
        headers["content-length"] = str(end - start)
        if scope["method"] == "HEAD" or start == end:
            await _start(send, status, headers)
            await send({"type": "http.response.body", "body": b""})
            return
        piece = PIECE_TLS if scope.get("scheme") == "https" else PIECE
        started = False
        for file, first, last in _cut(self._files, start, end):
            data = await self._cache.acquire(file)
            try:
                if not started:
                    # After the first file could be read: what cannot be served is refused in the status.
                    await _start(send, status, headers)
                    started = True
                view = None if data is None else memoryview(data)
                step = PIECE_FILE if view is None else piece
                for at in range(first, last, step):
                    if self._gone():
                        return
                    until = min(at + step, last)
                    body = view[at:until] if view is not None else await asyncio.to_thread(file.read, at, until)
                    end -= until - at
                    await send({"type": "http.response.body", "body": body, "more_body": end > start})
                    self._sent(until - at)
            finally:
                if data is not None:
                    self._cache.release(file)


def _cut(files: Sequence[StoredFile], start: int, end: int) -> list[tuple[StoredFile, int, int]]:
    """Of each file that has bytes of `[start, end)` of all: which of its own."""
    found, base = [], 0
    for file in files:
        first, last = max(start - base, 0), min(end - base, file.nbytes)
        if first < last:
            found.append((file, first, last))
        base += file.nbytes
    return found


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
