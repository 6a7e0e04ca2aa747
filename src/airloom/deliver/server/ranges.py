"""`Range`, `If-Range` and `If-None-Match` (RFC 9110, sections 13 and 14).

One range is answered 206. Several ranges, other units and what is no range at all are answered with the whole, as
section 14.2 allows; a range that begins behind the end is refused (416).
"""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,20})-([0-9]{0,20})|-([0-9]{1,20}))\s*", re.IGNORECASE)
_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*(?:,|$)')


class Unsatisfiable(ValueError):
    """The range has no byte of the body."""


def parse_range(header: str | None, nbytes: int) -> tuple[int, int] | None:
    """The bytes `[start, end)` that `header` asks for of `nbytes`; None is the whole.

    Raises:
        Unsatisfiable: none of its bytes exists.
    """
    if header is None:
        return None
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(nbytes - int(suffix), 0), nbytes
    else:
        start, end = int(first), nbytes
        if last:
            if int(last) < start:
                return None  # 14.1.1: invalid, and so ignored
            end = min(int(last) + 1, nbytes)
    if start >= end:
        raise Unsatisfiable(f"range {header.strip()[:60]!r} has no byte of these {nbytes}")
    return start, end


def holds_if_range(header: str | None, etag: str) -> bool:
    """Whether a range may be answered: `If-Range` is absent, or is this very tag (13.1.5; dates never are)."""
    return header is None or header.strip() == f'"{etag}"'


def matches(header: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names `etag`, and so the answer is 304 (13.1.2, weak comparison)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    place = 0
    while place < len(header):
        match = _TAG.match(header, place)
        if match is None:
            return False
        if match.group(2) == etag:
            return True
        place = match.end()
    return False
