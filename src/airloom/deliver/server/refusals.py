"""Answers that refuse: a status, and one line of JSON that says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

_MAX_LINE = 400


class Refusal(Exception):
    """What the client asked for is not given; never more than its own mistake is told."""

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.status, self.reason = status, one_line(reason)
        self.headers, self.more = dict(headers or {}), dict(more or {})
        super().__init__(self.reason)

    def response(self) -> Response:
        return as_json({"error": self.reason, **self.more}, status=self.status, headers=self.headers)


def as_json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON that no cache keeps."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def one_line(text: str) -> str:
    """Printable, and no longer than a line: part of it may be what a stranger sent."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MAX_LINE else text[: _MAX_LINE - 3] + "..."
