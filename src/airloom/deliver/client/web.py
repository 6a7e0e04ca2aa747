"""A model's folder behind a URL: on any static host, or on `airloom serve-model`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from airloom.deliver.client.ahead import ReadAhead
from airloom.deliver.client.connection import Answer, Connections, origin_of
from airloom.deliver.client.faults import Damaged, Interrupted, Refused
from airloom.deliver.client.host import FolderHost, Host, signature_at
from airloom.deliver.client.meter import Meter
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, SIGNATURE_BYTES
from airloom.errors import ConfigError

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_API, _SIGNATURE, _RATE = "Airloom-Api", "Airloom-Signature", "Airloom-Rate"
_FIGURE = re.compile(r"[1-9][0-9]{0,14}")
_DIGITS = re.compile(rf"[0-9a-f]{{{2 * SIGNATURE_BYTES}}}")
_PLAN_LIMIT = 8 << 20


def open_host(source: str | Path, options: FetchOptions, *, token: str | None = None) -> Host:
    """The host of a URL, or of a folder.

    Raises:
        ConfigError: the source is neither.
    """
    text = str(source)
    if re.match(r"https?://", text, re.IGNORECASE):
        return WebHost(text, options, token=token)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ConfigError(f"{text}: expected http://, https:// or a folder")
    return FolderHost(Path(text))


class WebBody:
    """The body of an answer from `start` on, never more than its `nbytes`."""

    def __init__(self, answer: Answer, connections: Connections, meter: Meter, start: int, nbytes: int, url: str):
        self.start = start
        self._answer, self._connections, self._url = answer, connections, url
        self._left = nbytes - start
        self._ahead = ReadAhead(answer, self._left, meter)

    def readinto(self, into: memoryview) -> int:
        if self._left == 0:
            self._ahead.join()
            if self._answer.read(1):
                raise Damaged(f"{self._url}: the host sends more bytes than the manifest names")
            return 0
        count = self._ahead.readinto(into[: self._left])
        if count == 0:
            raise Interrupted(f"{self._url}: the connection ended {self._left} bytes before the end")
        self._left -= count
        return count

    def close(self) -> None:
        self._ahead.stop()
        if not self._ahead.ended and self._left:
            self._connections.interrupt()
        self._ahead.join()
        if self._left == 0 and not self._answer.finished:
            with contextlib.suppress(Interrupted):
                self._answer.read(1)  # the end of a chunked body
        self._connections.release(self._answer)


class WebHost:
    """Files below a URL.

    Attributes:
        meter: how fast bodies came.
    """

    remote = True

    def __init__(self, url: str, options: FetchOptions, *, token: str | None) -> None:
        try:
            parts = urlsplit(url)
            bad = not parts.hostname or parts.port == 0
        except ValueError:
            bad, parts = True, SplitResult("", "", "", "", "")
        if bad or parts.username is not None or parts.query or parts.fragment:
            raise ConfigError(
                f"{url.partition('?')[0]}: expected http(s)://host[:port]/folder, without a password or a query"
            )
        path = quote(parts.path.removesuffix("manifest.json").rstrip("/"), safe="/%:@!$&'()*+,;=~")
        origin = origin_of(parts)
        self.address = origin + path
        self.streams = self.offline = False
        self.told_bps: float | None = None
        self.meter = Meter()
        self._connections = Connections(
            origin, token=token, ca=options.ca, connect_timeout_s=options.connect_timeout_s,
            stall_timeout_s=options.stall_timeout_s, least_bps=options.least_bps,
        )  # fmt: skip

    @property
    def rate_bps(self) -> float | None:
        return self.meter.rate_bps

    @property
    def rtt_s(self) -> float:
        return self._connections.rtt_s

    def _url(self, file: str) -> str:
        return f"{self.address}/{file}"

    def get(self, file: str, limit: int) -> bytes:
        return self._whole("GET", file, limit)[0]

    def signed(self) -> tuple[bytes, bytes | None]:
        data, answer = self._whole("GET", MANIFEST_FILE, MAX_MANIFEST_BYTES)
        # Our server sends both at once: a round trip less, and never one of another version.
        digits, rate = answer.header(_SIGNATURE), answer.header(_RATE)
        self.told_bps = float(rate) if _FIGURE.fullmatch(rate) else None
        return data, bytes.fromhex(digits) if _DIGITS.fullmatch(digits) else signature_at(self)

    def _whole(self, method: str, file: str, limit: int, body: bytes | None = None) -> tuple[bytes, Answer]:
        """A body, and the answer that it came with, for its header fields."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = self._connections.request(method, self._url(file), headers=headers, body=body)
        try:
            self.offline = False
            self.streams = self.streams or bool(answer.header(_API))
            _check_plain(answer, self._url(file))
            found = bytearray()
            while data := answer.read(limit + 1 - len(found)):
                found += data
                if len(found) > limit:
                    raise Refused(f"{self._url(file)}: larger than {limit} bytes")
            if answer.length:
                raise Interrupted(f"{self._url(file)}: the connection ended {answer.length} bytes before the end")
            return bytes(found), answer
        finally:
            self._connections.release(answer)

    def body(self, file: str, start: int, nbytes: int) -> WebBody:
        return self._body(file, start, nbytes)

    def _body(self, file: str, start: int, nbytes: int) -> WebBody:
        url = self._url(file)
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self._connections.request("GET", url, headers=headers)
        self.offline = False
        try:
            return WebBody(answer, self._connections, self.meter, _start(answer, start, nbytes, url), nbytes, url)
        except BaseException:
            self._connections.release(answer)
            raise

    def plan(self, demand: dict[str, Any]) -> dict[str, Any]:
        data, _ = self._whole("POST", "plan", _PLAN_LIMIT, msgspec.json.encode(demand))
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Refused(f"{self._url('plan')}: not an answer of airloom serve-model: {error}") from None

    def stream(
        self, configurations: Sequence[str], have: str, manifest: str, start: int, nbytes: int, *, architecture: bool
    ) -> WebBody:
        query = f"configuration={','.join(configurations)}&have={have}&manifest={manifest}"
        if architecture:
            query += "&include=architecture"
        return self._body(f"stream?{query}", start, nbytes)

    def limit(self, until_s: float | None) -> None:
        self._connections.until_s = until_s

    def abort(self) -> None:
        self._connections.abort()

    def close(self) -> None:
        self._connections.close()


def _start(answer: Answer, start: int, nbytes: int, url: str) -> int:
    """At which byte the body begins; checked against what the manifest says.

    Raises:
        Damaged: the host's file has another length.
        Refused: the answer is not of the bytes that were asked for.
    """
    _check_plain(answer, url)
    total: int | None
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.header("Content-Range"))
        if match is None or int(match[1]) != start:
            raise Refused(f"{url}: the host sends bytes that were not asked for")
        total = None if match[3] == "*" else int(match[3])
    else:
        start, total = 0, answer.length
    if total is not None and total != nbytes:
        raise Damaged(f"{url}: the host has {total} bytes, the manifest names {nbytes}")
    return start


def _check_plain(answer: Answer, url: str) -> None:
    """Raises: Refused: the body is compressed."""
    if answer.header("Content-Encoding") not in ("", "identity"):
        raise Refused(f"{url}: the host sends it compressed, which nobody asked for")
