"""`manifest.json` read: what it says is checked and bounded before anybody acts on it.

    manifest = open_manifest(data, signature, public_key, model="resnet56")

A signature says who made a manifest, not that it makes sense; both are asked. After that a manifest's chunks exist for
each of its configurations, its sizes add up, and its paths stay in the artifact's folder.
"""

from __future__ import annotations

import itertools
import math
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.core.progressive import PRECISIONS, STATISTICS, Architecture, Manifest, encodings_of
from airloom.core.value import canonical_json
from airloom.deliver.signing import verify
from airloom.errors import ConfigError, ManifestError
from airloom.files import decode_value

MANIFEST_FILE, SIGNATURE_FILE, GRAPH_FILE, CHUNK_FOLDER = "manifest.json", "manifest.sig", "graph.json", "chunks"
MAX_MANIFEST_BYTES = 8 * 2**20
MAX_CHUNK_BYTES = 4 * 2**30
MAX_GRAPH_BYTES = 256 * 2**20
MAX_PARTS = 4096
MAX_CHUNKS = 65_536
MAX_CONFIGURATIONS = 4096
_MAX_COUNT = 2**50
_MAX_TEXT = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_OPTION = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_INPUT = re.compile(r"[1-9][0-9]{0,8}(?:x[1-9][0-9]{0,8}){0,15}:[a-z][a-z0-9]{1,15}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[^\x20-\x7e]")


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of `manifest.json`: the same bytes for equal manifests.

    Raises:
        ManifestError: no client would accept it.
    """
    check_manifest(manifest)
    data = canonical_json(manifest)
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST_FILE}: {len(data)} bytes, {MAX_MANIFEST_BYTES} are read: pack fewer precisions")
    return data


def open_manifest(
    data: bytes, signature: bytes | None, public_key: Ed25519PublicKey, *, model: str | None = None
) -> Manifest:
    """The manifest in `data`, of a key that the caller trusts.

    Args:
        signature: content of `manifest.sig`; None where there is no such file.
        model: the name that was asked for; None takes any.

    Raises:
        SignatureError: see `signing.verify`.
        ManifestError: see `read_manifest`; or it is another model's.
    """
    _check_size(data)
    verify(data, signature, public_key)
    manifest = read_manifest(data)
    if model is not None and manifest.model != model:
        raise ManifestError(f"{MANIFEST_FILE}: of model {manifest.model!r}, {model[:100]!r} was asked for")
    return manifest


def read_manifest(data: bytes, *, where: str = MANIFEST_FILE) -> Manifest:
    """The manifest in `data`, whoever made it: for a folder of one's own, or where no key is known.

    Raises:
        ManifestError: too large, not JSON, unknown keys, or something that cannot be; one line, which names the place.
    """
    _check_size(data)
    try:
        manifest = decode_value(data, Manifest, where=where)
    except (ConfigError, ValueError, OverflowError) as error:
        raise ManifestError(_line(str(error))) from None
    check_manifest(manifest, where=where)
    return manifest


def check_manifest(manifest: Manifest, *, where: str = MANIFEST_FILE) -> None:
    """Refuse a manifest that no model can have.

    Raises:
        ManifestError: names the place.
    """
    for place, error in _wrong(manifest):
        raise ManifestError(_line(f"{where}: {place}: {error}"))


def _check_size(data: bytes) -> None:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST_FILE}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")


def _line(text: str) -> str:
    # What a stranger wrote may end on somebody's terminal.
    text = _CONTROL.sub("?", text)
    return text if len(text) <= 2 * _MAX_TEXT else text[: 2 * _MAX_TEXT] + "..."


def _wrong(manifest: Manifest):  # type: ignore[no-untyped-def]
    """Pairs of a place and what is wrong there; later checks rely on the earlier ones."""
    if not _NAME.fullmatch(manifest.model):
        yield "$.model", f"{manifest.model!r} is no name: letters, digits, '.', '_', '-', at most 100"
