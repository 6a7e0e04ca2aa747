"""Who may ask: bearer tokens (RFC 6750) from a file that only its owner reads.

A line is `NAME TOKEN` or `TOKEN`; `#` begins a comment. Only hashes of tokens are kept, and what comes is compared
with each of them in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

from airloom.errors import ConfigError

#: 128 bits, as `openssl rand -hex 16` writes them.
MIN_CHARACTERS = 16
_MAX_FILE_BYTES = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Tokens:
    """Hashes of the tokens that are let in."""

    def __init__(self, named: dict[bytes, str]) -> None:
        self._named = named

    def __len__(self) -> int:
        return len(self._named)

    def name_of(self, authorization: str | None) -> str | None:
        """Whose the header's token is; None where it is nobody's."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest, found = _digest(token.strip()), None
        # All of them, also after a hit: how long it takes says nothing.
        for known, name in self._named.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found


def read_tokens(path: Path) -> Tokens:
    """The tokens in `path`.

    Raises:
        ConfigError: others may read the file, or a line is no token; the line is named, never what it says.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read these tokens: chmod 600 {path}", where=str(path))
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"more than {_MAX_FILE_BYTES} bytes of tokens", where=str(path))
    named: dict[bytes, str] = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, token = words if len(words) == 2 else (f"line-{number}", words[0])
        if len(words) > 2 or not _TOKEN.fullmatch(token) or not _NAME.fullmatch(name):
            raise ConfigError("expected `NAME TOKEN` or `TOKEN`", where=f"{path}:{number}")
        if len(token) < MIN_CHARACTERS:
            raise ConfigError(
                f"a token has at least {MIN_CHARACTERS} characters: `openssl rand -hex 16`", where=f"{path}:{number}"
            )
        named[_digest(token)] = name
    if not named:
        raise ConfigError("no token in it: `openssl rand -hex 16` makes one", where=str(path))
    return Tokens(named)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
