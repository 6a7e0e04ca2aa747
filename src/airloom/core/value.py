"""What all of Airloom's file values share: frozen, strict, versioned, digestible.

A value is a `msgspec.Struct`: as cheap as a dataclass, and the same definition is the JSON
schema that `airloom.files` reads and writes. An unknown key is an error that names its place.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

# Raised by one whenever a file of the old form can no longer be read as the new one.
SCHEMA_VERSION = 1

# Where a number comes from. Law 8: every number in a report carries one of these.
Basis = Literal["measured", "modelled", "published"]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value; equality is by content."""


def digest(*parts: bytes) -> str:
    """`sha256:` and 64 hex digits over length-prefixed `parts`."""
    h = hashlib.sha256()
    for part in parts:
        h.update(len(part).to_bytes(8, "little"))
        h.update(part)
    return f"sha256:{h.hexdigest()}"


def canonical_json(value: object) -> bytes:
    """Bytes that are equal when the values are: keys sorted, no white space."""
    return msgspec.json.encode(value, order="sorted")
