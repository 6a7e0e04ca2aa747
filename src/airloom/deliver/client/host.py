"""Where a model's files are: what a static host, our server and a folder have in common."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from airloom.deliver.client.faults import Damaged, Interrupted, Refused
from airloom.deliver.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, SIGNATURE_BYTES, SIGNATURE_FILE
from airloom.errors import ConfigError


class Body(Protocol):
    """Bytes that are coming in."""

    #: Position in the file of the first byte; 0 where the host would not begin later.
    start: int

    def readinto(self, into: memoryview) -> int:
        """Put some bytes into `into`, and return how many; 0 at the end.

        Raises:
            Interrupted: the transfer broke or stalled.
        """

    def close(self) -> None:
        """Let go of it; what was not read is not wanted."""


class Host(Protocol):
    """A place with a model's folder.

    Attributes:
        address: for people and for remembering keys.
        remote: whether what comes from it is worth keeping in the cache.
        streams: whether it answers `plan` and `stream` (docs/serving-models.md); known after the first answer.
        told_bps: the rate of this link as our server knows it from earlier transfers; None where nobody said.
        rtt_s: from a question to the first byte of its answer, as measured; 0 where nothing travels.
        offline: it did not answer, and what is known of it is what was kept; until it does answer.
    """

    address: str
    remote: bool
    streams: bool
    offline: bool
    told_bps: float | None

    @property
    def rtt_s(self) -> float: ...

    @property
    def rate_bps(self) -> float | None:
        """How fast bytes came, bit/s; None before enough has come to tell."""

    def get(self, file: str, limit: int) -> bytes:
        """A small file whole.

        Raises:
            Refused: it is not there, or larger than `limit`.
            Interrupted: the transfer broke.
        """

    def signed(self) -> tuple[bytes, bytes | None]:
        """The manifest and its signature, None where there is none; as `get`."""

    def body(self, file: str, start: int, nbytes: int) -> Body:
        """The file's bytes from `start` on, of `nbytes` in all.

        Raises:
            OutOfRange, Refused, Interrupted: as the host answers.
        """

    def plan(self, demand: dict[str, Any]) -> dict[str, Any]:
        """What our server would send (`POST plan`)."""

    def stream(
        self, configurations: Sequence[str], have: str, manifest: str, start: int, nbytes: int, *, architecture: bool
    ) -> Body:
        """The chunks that lack, back to back, from byte `start` on (`GET stream`); the architecture's file first."""

    def limit(self, until_s: float | None) -> None:
        """Wait for answers until then, on the monotonic clock, and no longer; None: for ever."""

    def abort(self) -> None:
        """Break off what is being read, from another thread; the host is not used any more."""

    def close(self) -> None:
        """Let go of connections."""


def signature_at(host: Host) -> bytes | None:
    """The signature in its own file, None where there is none."""
    try:
        return host.get(SIGNATURE_FILE, SIGNATURE_BYTES)
    except Refused:
        return None


def _regular(path: Path) -> io.FileIO:
    """The file, open for reading; not to wait for whoever writes to a pipe of that name.

    Raises:
        OSError: there is none, or it is something else.
    """
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


class FolderBody:
    """A file that is read from `start` on."""

    def __init__(self, path: Path, start: int) -> None:
        self.start = start
        self._path = path
        self._file = _regular(path)
        self._file.seek(start)

    def readinto(self, into: memoryview) -> int:
        try:
            return self._file.readinto(into) or 0
        except OSError as error:
            raise Interrupted(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        self._file.close()


class FolderHost:
    """A folder on this machine."""

    remote = False
    streams = False
    offline = False
    rate_bps: float | None = None
    told_bps: float | None = None
    rtt_s = 0.0

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError("no such folder: name a URL, or the folder that has manifest.json", where=str(folder))
        if not (folder / "manifest.json").exists():
            raise ConfigError("no manifest.json in it: name a folder of `airloom elastic pack`", where=str(folder))
        self._folder = folder.resolve()
        self.address = str(self._folder)

    def _path(self, file: str) -> Path:
        try:
            path = (self._folder / file).resolve()
        except RuntimeError:
            raise Damaged(f"{self._folder}: {file} is a link to itself") from None
        if not path.is_relative_to(self._folder):
            raise Damaged(f"{self._folder}: {file} leads out of the folder: it is not read")
        return path

    def get(self, file: str, limit: int) -> bytes:
        path = self._path(file)
        try:
            data, opened = bytearray(), _regular(path)
            with opened:
                while len(data) <= limit and (more := opened.read(limit + 1 - len(data))):
                    data += more
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        if len(data) > limit:
            raise Refused(f"{path}: larger than {limit} bytes")
        return bytes(data)

    def signed(self) -> tuple[bytes, bytes | None]:
        return self.get(MANIFEST_FILE, MAX_MANIFEST_BYTES), signature_at(self)

    def body(self, file: str, start: int, nbytes: int) -> FolderBody:
        path = self._path(file)
        try:
            return FolderBody(path, start)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None

    def plan(self, demand: dict[str, Any]) -> dict[str, Any]:
        raise Refused(f"{self.address}: a folder plans nothing")

    def stream(
        self, configurations: Sequence[str], have: str, manifest: str, start: int, nbytes: int, *, architecture: bool
    ) -> FolderBody:
        raise Refused(f"{self.address}: a folder streams nothing")

    def limit(self, until_s: float | None) -> None:
        pass

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass
