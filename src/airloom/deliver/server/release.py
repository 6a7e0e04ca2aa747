"""One version of an artifact's folder, as it was when its manifest was read.

All files are opened at once and stay open: what replaces them in the folder leaves this version whole for those who
are fetching it. Names come from the manifest alone, and no part of a path below the folder may be a symbolic link, so
nothing outside is ever read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import stat
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    PUBLIC_FILE,
    SIGNATURE_FILE,
    open_manifest,
    read_manifest,
)
from airloom.deliver.signing import read_public_key
from airloom.errors import ConfigError, DeliveryError
from airloom.planner.delivery import Lookup
from airloom.planner.upgrades import THRIFTS, arrival, thrifty_path

# Of the open files that the system allows, those that are left to connections.
_SPARE_FILES = 256
# With a list of chunks each: some 10 KB of a model of 50 blocks.
_MAX_SENDINGS = 1024
# Each remembers which chunks the client had: that many indices in all.
_MAX_INDICES = 1 << 18
# Bytes of a signature, or of a public key.
_MAX_HEAD = 4096


class Handle:
    """An open file, closed when the last who reads it lets go."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class StoredFile(NamedTuple):
    """A file of an artifact that can be fetched."""

    name: str
    nbytes: int
    sha256: str
    handle: Handle

    def read(self, start: int, end: int) -> bytes:
        """The bytes `[start, end)`.

        Raises:
            OSError: the file was cut short since, or cannot be read.
        """
        parts = []
        while start < end:
            data = os.pread(self.handle.fd, end - start, start)
            if not data:
                raise OSError(f"{self.name} was cut short while it was served")
            parts.append(data)
            start += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Sending(NamedTuple):
    """What an answer to `POST plan` names.

    Attributes:
        path: names of configurations, in order.
        nbytes: of the chunks.
        wasted: of those that the last configuration does not need.
        listed: the chunks in order, as JSON.
    """

    path: tuple[str, ...]
    nbytes: int
    wasted: int
    listed: msgspec.Raw


class Release:
    """A manifest, its signature, its table and its files.

    Attributes:
        sha256: of `manifest.json`, which names the version.
        heads: the manifest and what goes with it, by name: bytes and their SHA-256.
        key: who signed it; None where nobody did.
        files: by name.
        chunks: those of the manifest, by index.
        loaded_at, retired_at: monotonic seconds; None while it is the newest.
    """

    def __init__(
        self,
        manifest: Manifest,
        heads: dict[str, bytes],
        files: dict[str, StoredFile],
        key: Ed25519PublicKey | None,
    ) -> None:
        self.manifest, self.files, self.key = manifest, files, key
        self.heads = {name: (data, hashlib.sha256(data).hexdigest()) for name, data in heads.items()}
        self.sha256 = self.heads[MANIFEST_FILE][1]
        self.table = Lookup(manifest)
        self.chunks = tuple(files[chunk.file] for chunk in manifest.chunks)
        self.loaded_at = time.monotonic()
        self.retired_at: float | None = None
        # Of a target and what is there: by thrift, as far as anybody needed it.
        self._sendings: OrderedDict[tuple[str, frozenset[int]], list[Sending]] = OrderedDict()

    @property
    def largest(self) -> int:
        """Bytes of the largest configuration."""
        return max(row.nbytes for row in self.manifest.configurations)

    def sending(self, have: frozenset[int], target: Configuration, spare_nbytes: int | None) -> Sending:
        """The path to `target`, and its chunks; what was asked for lately is remembered."""
        key = (target.name, have)
        known = self._sendings.setdefault(key, [])
        self._sendings.move_to_end(key)
        if len(self._sendings) > max(1, min(_MAX_SENDINGS, _MAX_INDICES // len(self.chunks))):
            self._sendings.popitem(last=False)
        for thrift in range(THRIFTS):
            if thrift == len(known):
                known.append(self._work_out(have, target, thrift))
            if spare_nbytes is None or known[thrift].wasted <= spare_nbytes:
                break
        return known[thrift]

    def _work_out(self, have: frozenset[int], target: Configuration, thrift: int) -> Sending:
        path, wasted = thrifty_path(self.table, have, self.table.row(target), thrift)
        chunks = arrival(self.table, have, path)
        listed = [{"index": k, "file": self.chunks[k].name, "nbytes": self.chunks[k].nbytes} for k in chunks]
        return Sending(
            tuple(row.name for row in path),
            sum(self.chunks[k].nbytes for k in chunks),
            wasted,
            msgspec.Raw(msgspec.json.encode(listed)),
        )


def load_release(folder: Path, public_key: Ed25519PublicKey | None) -> Release:
    """Read `folder` as it is now.

    Args:
        public_key: who must have signed the manifest; None takes the key that lies beside it, which says that the
            manifest is whole, and where there is no key takes it as it is.

    Raises:
        ConfigError: what is wrong with the folder; one line.
    """
    try:
        root = Handle(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise ConfigError(f"cannot open the folder: {error.strerror}", where=str(folder)) from None
    heads = {MANIFEST_FILE: _whole(root, folder, MANIFEST_FILE, MAX_MANIFEST_BYTES)}
    for name in (SIGNATURE_FILE, PUBLIC_FILE):
        with contextlib.suppress(MissingFile):
            heads[name] = _whole(root, folder, name, _MAX_HEAD)
    data, signature = heads[MANIFEST_FILE], heads.get(SIGNATURE_FILE)
    try:
        key = public_key
        if key is None and signature is not None and PUBLIC_FILE in heads:
            key = read_public_key(heads[PUBLIC_FILE].decode(errors="replace").strip())
        manifest = read_manifest(data) if key is None else open_manifest(data, signature, key)
    except (ConfigError, DeliveryError) as error:
        raise ConfigError(str(error), where=str(folder)) from None
    if _whole(root, folder, MANIFEST_FILE, MAX_MANIFEST_BYTES) != data:
        raise ConfigError("the manifest changed while it was read", where=str(folder))
    named = {chunk.file: (chunk.nbytes, chunk.sha256) for chunk in manifest.chunks}
    graph = manifest.architecture
    if graph.file:
        named[graph.file] = (graph.nbytes, graph.sha256)
    _allow_files(len(named), folder)
    files = {name: _stored(root, folder, name, nbytes, sha256) for name, (nbytes, sha256) in named.items()}
    return Release(manifest, heads, files, key)


def _stored(root: Handle, folder: Path, name: str, nbytes: int, sha256: str) -> StoredFile:
    handle = _open_below(root, folder, name)
    found = os.fstat(handle.fd).st_size
    if found != nbytes:
        raise ConfigError(f"{found} bytes, the manifest says {nbytes}: pack the model again", where=str(folder / name))
    return StoredFile(name, nbytes, sha256, handle)


def _whole(root: Handle, folder: Path, name: str, limit: int) -> bytes:
    handle = _open_below(root, folder, name)
    data = b""
    while len(data) <= limit and (more := os.pread(handle.fd, limit + 1 - len(data), len(data))):
        data += more
    if len(data) > limit:
        raise ConfigError(f"more than {limit} bytes", where=str(folder / name))
    return data


def _open_below(root: Handle, folder: Path, name: str) -> Handle:
    """Open a regular file below `root`, following no symbolic link.

    Raises:
        MissingFile: it is not there.
        ConfigError: a link, or no regular file.
    """
    handle = root
    *parents, last = name.split("/")
    try:
        for part in parents:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = Handle(os.open(part, flags, dir_fd=handle.fd))
        # Not to wait for whoever writes to a pipe of that name.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = Handle(os.open(last, flags, dir_fd=handle.fd))
    except FileNotFoundError:
        why = "is this a folder of `airloom elastic pack`?" if name == "manifest.json" else "pack the model again"
        raise MissingFile(f"no such file: {why}", where=str(folder / name)) from None
    except OSError as error:
        raise ConfigError(f"cannot serve it (a symbolic link?): {error.strerror}", where=str(folder / name)) from None
    if not stat.S_ISREG(os.fstat(handle.fd).st_mode):
        raise ConfigError("not a regular file", where=str(folder / name))
    return handle


class MissingFile(ConfigError):
    """A file that an artifact's folder should have."""


def _allow_files(count: int, folder: Path) -> None:
    """Let this process have `count` more files open.

    Raises:
        ConfigError: the system does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = Path("/proc/self/fd")
    wanted = (len(list(own.iterdir())) if own.is_dir() else 0) + count + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise ConfigError(
            f"its {count} files need {wanted} open files, {hard} are allowed: raise `ulimit -Hn`", where=str(folder)
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else hard, hard))
