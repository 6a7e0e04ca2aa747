"""Which chunks open models use: a file for each, locked for as long as its process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec


class Lease:
    """A model's own file; whoever makes room reads it (`live_leases`). Made while the cache's lock is held."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / uuid.uuid4().hex
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, chunks: Mapping[str, int]) -> None:
        """Say that `chunks` (digest to bytes) are in use, and no others; the cache's lock is held."""
        data = msgspec.json.encode(dict(chunks))
        os.pwrite(self._handle, data, 0)
        os.ftruncate(self._handle, len(data))

    def close(self) -> None:
        """Let go; what was kept may be evicted from now on."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):  # one that nobody has locked is removed by whoever makes room
                self._path.unlink()
            os.close(self._handle)
            self._handle = -1


def live_leases(folder: Path) -> Iterator[dict[str, int]]:
    """What each open model uses; leases of processes that have died are removed. The cache's lock is held."""
    for path in folder.iterdir():
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # An empty one is of a model that is being opened: it has said nothing yet.
            with contextlib.suppress(msgspec.MsgspecError):
                yield msgspec.json.decode(os.pread(handle, os.fstat(handle).st_size, 0), type=dict[str, int])
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)
