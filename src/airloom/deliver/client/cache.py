"""Chunks on disk by the SHA-256 of their bytes, shared by all processes of a user.

    chunks/DIGEST         whole; its bytes were verified before it got this name, and are again whenever they are read
    chunks/DIGEST.part    what has arrived of it; its holder has locked it
    leases/NAME           the chunks that an open model uses; locked while its process lives
    lock                  held for moments, by whoever makes room

Files are renamed, never rewritten, so a process may die at any moment: what is there is whole, or a part that the next
one goes on with. Nothing is forced to the disk: after a power failure a chunk whose bytes are not its digest's is
dropped when it is read. Locks are flock(2): the kernel lets go of them when a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from airloom.deliver.client.faults import DiskFull, disk_fault
from airloom.deliver.client.leases import Lease, live_leases
from airloom.deliver.client.partial import Partial
from airloom.errors import ConfigError
from airloom.units import format_bytes


class Cache:
    """The folder of a cache; objects of any number of processes and threads may share one.

    Args:
        folder: made where it is missing, readable by its user alone.
        max_nbytes: what it may hold; chunks used least lately go first, those of open models never.

    Raises:
        ConfigError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, max_nbytes: int) -> None:
        self.folder, self.max_nbytes = folder, max_nbytes
        self._chunks, self._leases = folder / "chunks", folder / "leases"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            for made in (folder, self._chunks, self._leases):
                made.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            fault = disk_fault(error, folder, 0)
            if not isinstance(fault, DiskFull | ConfigError):
                # Whatever it is, it is the place that was named.
                fault = ConfigError(f"cannot be made: {error.strerror}: name another (--cache)", where=str(folder))
            raise fault from None

    def path(self, digest: str) -> Path:
        """Where the chunk with this digest is, or would be."""
        return self._chunks / digest

    def has(self, digest: str, nbytes: int) -> bool:
        """Whether the chunk is there, as far as its size tells."""
        try:
            return self.path(digest).stat().st_size == nbytes
        except OSError:
            return False

    def read(self, digest: str, nbytes: int) -> bytearray | None:
        """The chunk's bytes, verified; None where it is not there. A damaged one is dropped."""
        path = self.path(digest)
        data = bytearray(nbytes)
        try:
            with path.open("rb", buffering=0) as file:
                got, view = 0, memoryview(data)
                while got < nbytes and (n := file.readinto(view[got:])):
                    got += n
                whole = got == nbytes and not file.read(1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_fault(error, self.folder, 0) from None
        if not whole or hashlib.sha256(data).hexdigest() != digest:
            with contextlib.suppress(OSError):  # a cache that may only be read: its bytes are not used all the same
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # gone meanwhile, or a cache that may only be read
            os.utime(path)
        return data

    def part_nbytes(self, digest: str) -> int:
        """How much of a chunk has arrived that is not whole yet."""
        try:
            return self._part(digest).stat().st_size
        except OSError:
            return 0

    def partial(self, digest: str, nbytes: int) -> Partial | None:
        """The chunk's part, locked, to go on with; None while another holds it.

        Raises:
            DiskFull, ConfigError: it cannot be written.
        """
        try:
            return Partial.open(self._part(digest), self.path(digest), digest, nbytes)
        except OSError as error:
            raise disk_fault(error, self.folder, nbytes) from None

    def _part(self, digest: str) -> Path:
        return self._chunks / f"{digest}.part"

    def lease(self) -> Lease:
        """What keeps chunks here while a model uses them; close it in the end."""
        try:
            with self._locked():
                return Lease(self._leases)
        except OSError as error:
            raise disk_fault(error, self.folder, 0) from None

    def reserve(self, lease: Lease, chunks: Mapping[str, int]) -> None:
        """Keep `chunks` (digest to bytes) while `lease` is open, and make room for those that lack.

        Raises:
            ConfigError: open models use more than the cache may hold.
            DiskFull: the lease cannot be written.
        """
        try:
            with self._locked():
                lease.write(chunks)
                used: dict[str, int] = {}
                for held in live_leases(self._leases):
                    used |= held
                self._evict(used)
        except OSError as error:
            raise disk_fault(error, self.folder, sum(chunks.values())) from None

    def _evict(self, used: Mapping[str, int]) -> None:
        room = self.max_nbytes - sum(used.values())
        if room < 0:
            raise ConfigError(
                f"open models need {format_bytes(sum(used.values()))}, the cache may hold "
                f"{format_bytes(self.max_nbytes)}: raise its bound (--cache-size) or ask for less",
                where=str(self.folder),
            )
        others: list[tuple[float, int, Path]] = []
        for path in self._chunks.iterdir():
            if path.name.removesuffix(".part") not in used:
                with contextlib.suppress(FileNotFoundError):  # renamed or evicted meanwhile
                    status = path.stat()
                    others.append((status.st_mtime, status.st_size, path))
        others.sort(reverse=True)
        for _, nbytes, path in others:
            room -= nbytes
            if room < 0:
                path.unlink(missing_ok=True)

    def nbytes(self) -> int:
        """What it holds now, parts included."""
        total = 0
        for path in self._chunks.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
