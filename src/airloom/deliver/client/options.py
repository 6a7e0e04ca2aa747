"""How a model is fetched: keys, folders, limits of time and of size."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from airloom.errors import ConfigError


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/airloom/models`, or `~/.cache/airloom/models` (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path in the variable is to be ignored, says the specification.
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "airloom" / "models"


class FetchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same over all that is fetched of one model.

    Attributes:
        cache: folder; None takes `default_cache()`.
        cache_nbytes: what the cache may hold; models that are open are kept whatever it is.
        ca: file of certificates to trust for https, in place of the system's.
        connect_timeout_s: for a connection to come up.
        open_timeout_s: for the manifest, its signature and the key, all attempts together; and once more for the
            architecture's file.
        stall_timeout_s: without a byte before a transfer is given up and begun anew.
        least_bps: bit/s; an answer that comes more slowly over `stall_timeout_s` of waiting counts as stalled, and what
            came of it as nothing for `patience_s`.
        patience_s: without a byte, over all attempts, before the fetch ends with a fault.
        allow_rollback: take a manifest that is older than one seen before.
    """

    cache: Path | None = None
    cache_nbytes: int = 4 << 30
    ca: Path | None = None
    connect_timeout_s: float = 5.0
    open_timeout_s: float = 60.0
    stall_timeout_s: float = 10.0
    least_bps: float = 1000.0
    patience_s: float = 60.0
    allow_rollback: bool = False

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "open_timeout_s", "stall_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is above 0, got {getattr(self, name)}")
        for name in ("least_bps", "patience_s", "cache_nbytes"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is at least 0, got {getattr(self, name)}")
