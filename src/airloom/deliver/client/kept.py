"""The manifests that were verified last, so that a model in the cache opens while its host is away.

`manifests/DIGEST` in the cache's folder, DIGEST being the SHA-256 of an address: 64 bytes of signature, then the
manifest; one file, so that the two always belong together. It is verified again whenever it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from airloom.deliver.manifest import MAX_MANIFEST_BYTES, SIGNATURE_BYTES
from airloom.files import write_aside

#: Of so many addresses; those that were opened least lately go first.
_MOST = 256


class KeptManifests:
    """Manifests of addresses, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "manifests"

    def _path(self, address: str) -> Path:
        return self._folder / hashlib.sha256(address.encode()).hexdigest()

    def load(self, address: str) -> tuple[bytes, bytes] | None:
        """Manifest and signature; None where there are none."""
        try:
            with self._path(address).open("rb") as file:
                data = file.read(SIGNATURE_BYTES + MAX_MANIFEST_BYTES + 1)
        except OSError:
            return None
        return (data[SIGNATURE_BYTES:], data[:SIGNATURE_BYTES]) if len(data) > SIGNATURE_BYTES else None

    def save(self, address: str, data: bytes, signature: bytes) -> None:
        """Keep what was verified."""
        # A full disk, or a cache that may only be read: then the next one cannot do without the host, this one can.
        with contextlib.suppress(OSError):
            if self.load(address) == (data, signature):
                os.utime(self._path(address))
                return
            write_aside(self._path(address), signature + data)
            others = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in others[_MOST:]:
                path.unlink(missing_ok=True)
