"""A chunk that is arriving: its bytes in memory, hashed as they come, and the same bytes in a file to go on from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Self

#: Bytes are hashed and written in pieces of at most this size, so that other threads run in between.
PIECE = 1 << 18


class Partial:
    """A chunk's first `at` bytes; `into()` is where the next ones go.

    Attributes:
        data: `[nbytes]`, of which `at` are there.
        resumed: how many of them were in the file when it was opened.
    """

    def __init__(self, digest: str, nbytes: int, handle: int = -1, part: Path | None = None, whole: Path | None = None):
        self.digest, self.nbytes = digest, nbytes
        self.data, self.at, self.resumed = bytearray(nbytes), 0, 0
        self._view = memoryview(self.data)
        self._hash = hashlib.sha256()
        self._handle, self._part, self._whole = handle, part, whole

    @classmethod
    def open(cls, part: Path, whole: Path, digest: str, nbytes: int) -> Self | None:
        """Lock the file `part` and read what is in it; None while another holds it.

        Raises:
            OSError: the file cannot be made, read or written.
        """
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it may have renamed or removed it since it was opened here.
            if os.fstat(handle).st_nlink == 0 or not _same(handle, part):
                os.close(handle)
                return None
            self = cls(digest, nbytes, handle, part, whole)
            self._read_back()
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        return self

    def _read_back(self) -> None:
        size = os.fstat(self._handle).st_size
        if size > self.nbytes:
            os.ftruncate(self._handle, 0)
            return
        while self.at < size:
            n = os.preadv(self._handle, [self._view[self.at : min(size, self.at + PIECE)]], self.at)
            if n == 0:
                break
            self._hash.update(self._view[self.at : self.at + n])
            self.at += n
        self.resumed = self.at

    @property
    def lacks(self) -> int:
        return self.nbytes - self.at

    def into(self) -> memoryview:
        """Where the next bytes go."""
        return self._view[self.at : self.at + PIECE]

    def took(self, count: int) -> None:
        """`count` bytes were put into `into()`.

        Raises:
            OSError: they could not be written; those before are kept.
        """
        piece = self._view[self.at : self.at + count]
        written = 0
        while self._handle >= 0 and written < count:
            written += os.pwrite(self._handle, piece[written:], self.at + written)
        self._hash.update(piece)
        self.at += count

    def finish(self) -> bool:
        """Whether all bytes are there and are the digest's; then the file has its final name."""
        if self.lacks or self._hash.hexdigest() != self.digest:
            return False
        if self._part is not None and self._whole is not None:
            self._part.replace(self._whole)
        self.close()
        return True

    def restart(self) -> None:
        """Forget what is there."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
        self.at, self.resumed, self._hash = 0, 0, hashlib.sha256()

    def close(self) -> None:
        """Let go of the lock; an empty file goes."""
        if self._handle < 0:
            return
        if self.at == 0 and self._part is not None:
            with contextlib.suppress(OSError):  # an empty part does no harm
                self._part.unlink()
        os.close(self._handle)
        self._handle = -1


def _same(handle: int, path: Path) -> bool:
    """Whether `path` is the file that is open as `handle`."""
    try:
        at, held = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (at.st_ino, at.st_dev) == (held.st_ino, held.st_dev)
