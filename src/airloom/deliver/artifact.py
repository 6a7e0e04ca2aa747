"""A progressive model's folder, written so that whoever reads it meanwhile sees one model or the other.

    FOLDER/
      manifest.json                              what there is, and what it is worth
      manifest.sig                               Ed25519 over the bytes of manifest.json
      manifest.pub                               the public key, for whoever takes the key that comes with the model
      architecture-DIGEST.json                   blocks and shortcuts, or the whole graph; no program
      chunks/NNN-PART-ENCODING-DIGEST.safetensors

A chunk's name carries a part of its digest, so another model packed into the same folder has other files: a server
that has read the old manifest goes on serving the old chunks. Those of the model before the last are removed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.core.progressive import Architecture, Chunk, Manifest
from airloom.deliver.manifest import MANIFEST_FILE, PUBLIC_FILE, SIGNATURE_FILE, manifest_bytes, read_manifest
from airloom.deliver.signing import public_text, sign
from airloom.errors import ConfigError, DeliveryError
from airloom.files import read_bytes, write_aside

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+|\.{2,}")
_DIGITS = 12
# The manifest that this one took the place of: its chunks stay until the next packing.
_BEFORE = ".manifest.before.json"
# The signature of the manifest that is about to be there.
_NEXT = ".manifest.next.sig"


@dataclass(frozen=True)
class EncodedChunk:
    """A chunk before it has a file: see `core.progressive.Chunk`."""

    data: bytes
    part: int
    encoding: str
    depth: int | None = None


def describe_chunks(chunks: Sequence[EncodedChunk], part_names: Sequence[str]) -> tuple[Chunk, ...]:
    """The manifest's entries for `chunks`, named in the order that they have."""
    width = len(str(max(len(chunks) - 1, 0)))
    found: list[Chunk] = []
    for k, chunk in enumerate(chunks):
        digest = hashlib.sha256(chunk.data).hexdigest()
        part = _UNSAFE.sub("_", part_names[chunk.part])[:60].strip(".")
        what = chunk.encoding if chunk.depth is None else f"{chunk.encoding}-{chunk.depth}"
        found.append(
            Chunk(
                file=f"chunks/{k:0{width}}-{part}-{what}-{digest[:_DIGITS]}.safetensors",
                nbytes=len(chunk.data),
                sha256=digest,
                part=chunk.part,
                encoding=chunk.encoding,
                depth=chunk.depth,
            )
        )
    return tuple(found)


def describe_file(architecture: Architecture, data: bytes) -> Architecture:
    """`architecture` with its file."""
    digest = hashlib.sha256(data).hexdigest()
    return Architecture(
        kind=architecture.kind, name=architecture.name, options=architecture.options, blocks=architecture.blocks,
        file=f"architecture-{digest[:_DIGITS]}.json", nbytes=len(data), sha256=digest,
    )  # fmt: skip


def write_artifact(
    folder: Path,
    manifest: Manifest,
    chunks: Sequence[EncodedChunk],
    key: Ed25519PrivateKey,
    *,
    architecture_file: bytes = b"",
) -> None:
    """Write the folder of `manifest`, whose chunks are `chunks` in order; signed last.

    Each file is written aside and renamed, the signature right after the manifest: whoever reads both in between finds
    a signature that is not the manifest's, and tries again.

    Raises:
        ManifestError: a manifest that nobody would accept; nothing is written then.
        ConfigError: the folder is something else, or cannot be written.
    """
    data = manifest_bytes(manifest)
    _check_folder(folder)
    try:
        for chunk, encoded in zip(manifest.chunks, chunks, strict=True):
            _write_once(folder / chunk.file, encoded.data)
        if architecture_file:
            _write_once(folder / manifest.architecture.file, architecture_file)
        path = folder / MANIFEST_FILE
        before = path.read_bytes() if path.is_file() else b""
        if before and before != data:
            write_aside(folder / _BEFORE, before)
        write_aside(folder / PUBLIC_FILE, f"{public_text(key.public_key())}\n".encode())
        # Both are on the disk before either takes its place: a disk that is full leaves the old model whole.
        write_aside(folder / _NEXT, sign(data, key))
        write_aside(path, data)
        (folder / _NEXT).replace(folder / SIGNATURE_FILE)
        _remove_unused(folder, manifest)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", where=str(error.filename or folder)) from None


def read_artifact(folder: Path) -> Manifest:
    """The manifest of a folder of one's own: its signature is not asked for.

    Raises:
        ConfigError: there is none.
        ManifestError: it is not valid.
    """
    path = folder / MANIFEST_FILE
    return read_manifest(read_bytes(path), where=str(path))


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError("there is a file of that name", where=str(folder))
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST_FILE).is_file():
        raise ConfigError("the folder has other things in it, and no manifest.json: take another", where=str(folder))


def _write_once(path: Path, data: bytes) -> None:
    """A file whose name says what is in it is written once, but not trusted to be whole."""
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        write_aside(path, data)


def _remove_unused(folder: Path, manifest: Manifest) -> None:
    used = {chunk.file for chunk in manifest.chunks} | {manifest.architecture.file}
    before = folder / _BEFORE
    if before.is_file():
        try:
            old = read_manifest(before.read_bytes())
        except DeliveryError:  # of another version of Airloom: nothing of it can be served any more
            before.unlink()
        else:
            used |= {chunk.file for chunk in old.chunks} | {old.architecture.file}
    for path in (*folder.glob("chunks/*.safetensors"), *folder.glob("architecture-*.json")):
        if path.relative_to(folder).as_posix() not in used:
            path.unlink(missing_ok=True)
