"""Chunks in memory: one copy for all clients, no more bytes than was said.

A chunk is known by its SHA-256, so versions and models that share it share the copy; it is checked when it is read, so
that a file damaged since it was packed is not sent. What does not fit, because it is large or because all that is there
is being sent, is read from its file piece by piece instead.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from airloom.deliver.server.release import StoredFile
from airloom.errors import AirloomError

# A file that is larger than this part of the cache is never kept in it.
_SHARE = 8


class DamagedFile(AirloomError):
    """A file is not what its manifest says; the server says so instead of sending it."""


class _Entry:
    __slots__ = ("data", "users")

    def __init__(self, data: asyncio.Future[bytes]) -> None:
        self.data, self.users = data, 0


class ChunkCache:
    """At most `max_nbytes` of files, those asked for last."""

    def __init__(self, max_nbytes: int) -> None:
        self.max_nbytes, self.nbytes = max_nbytes, 0
        self.hits = self.misses = self.passed = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._sizes: dict[str, int] = {}

    async def acquire(self, file: StoredFile) -> bytes | None:
        """The file's bytes, to be given back with `release`; None where they are to be read piece by piece.

        Raises:
            DamagedFile: the file is not what the manifest says.
        """
        entry = self._entries.get(file.sha256)
        if entry is not None:
            self.hits += 1
            self._entries.move_to_end(file.sha256)
        elif not self._make_room(file.nbytes):
            self.passed += 1
            return None
        else:
            self.misses += 1
            entry = _Entry(asyncio.ensure_future(asyncio.to_thread(_read_checked, file)))
            self._entries[file.sha256], self._sizes[file.sha256] = entry, file.nbytes
            self.nbytes += file.nbytes
        entry.users += 1
        try:
            # Whoever gives up leaves the reading to the others.
            return await asyncio.shield(entry.data)
        except BaseException:
            entry.users -= 1
            if entry.data.done() and not entry.data.cancelled() and entry.data.exception() is not None:
                self._drop(file.sha256, entry)
            raise

    def release(self, file: StoredFile) -> None:
        """The bytes are no longer needed here."""
        self._entries[file.sha256].users -= 1

    def _make_room(self, nbytes: int) -> bool:
        if nbytes > self.max_nbytes // _SHARE:
            return False
        idle = [key for key, entry in self._entries.items() if entry.users == 0 and entry.data.done()]
        for key in idle:
            if self.nbytes + nbytes <= self.max_nbytes:
                break
            self._drop(key, self._entries[key])
        return self.nbytes + nbytes <= self.max_nbytes

    def _drop(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
            self.nbytes -= self._sizes.pop(key)


def _read_checked(file: StoredFile) -> bytes:
    try:
        data = file.read(0, file.nbytes)
    except OSError as error:
        raise DamagedFile(str(error)) from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DamagedFile(f"{file.name} is not what the manifest says")
    return data
