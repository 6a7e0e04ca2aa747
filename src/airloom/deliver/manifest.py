"""`manifest.json` read: what it says is checked and bounded before anybody acts on it.

    manifest = open_manifest(data, signature, public_key, model="resnet56")

A signature says who made a manifest, not that it makes sense; both are asked. After that a manifest's chunks exist for
each of its configurations, its sizes add up, and its paths stay in the artifact's folder (`manifest_checks`).
"""

from __future__ import annotations

import re

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.core.progressive import Manifest
from airloom.core.value import SCHEMA_VERSION, canonical_json
from airloom.deliver.manifest_checks import MAX_CHUNK_BYTES, MAX_GRAPH_BYTES, NAME, wrong
from airloom.deliver.signing import SIGNATURE_BYTES, verify
from airloom.errors import ConfigError, ManifestError

__all__ = [
    "MANIFEST_FILE",
    "MAX_CHUNK_BYTES",
    "MAX_GRAPH_BYTES",
    "MAX_MANIFEST_BYTES",
    "PUBLIC_FILE",
    "SIGNATURE_BYTES",
    "SIGNATURE_FILE",
    "check_manifest",
    "check_name",
    "manifest_bytes",
    "open_manifest",
    "read_manifest",
]

MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"
#: The public key that the manifest is signed with, for whoever takes the key that comes with a model.
PUBLIC_FILE = "manifest.pub"
MAX_MANIFEST_BYTES = 8 * 2**20
_MAX_LINE = 400
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class _Head(msgspec.Struct):
    schema: int = SCHEMA_VERSION


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
    _check_size(data, MANIFEST_FILE)
    verify(data, signature, public_key)
    manifest = read_manifest(data)
    if model is not None and manifest.model != model:
        raise ManifestError(_line(f"{MANIFEST_FILE}: of model {manifest.model!r}, {model!r} was asked for"))
    return manifest


def read_manifest(data: bytes, *, where: str = MANIFEST_FILE) -> Manifest:
    """The manifest in `data`, whoever made it: for a folder of one's own, or where no key is known.

    Raises:
        ManifestError: too large, not JSON, unknown keys, or something that cannot be; one line, which names the place.
    """
    _check_size(data, where)
    try:
        schema = msgspec.json.decode(data, type=_Head).schema
        if schema != SCHEMA_VERSION:
            raise ManifestError(f"{where}: schema {schema}, this airloom reads {SCHEMA_VERSION}: use a newer one")
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        raise ManifestError(_line(": ".join(filter(None, (where, place.rstrip("`"), message))))) from None
    except ConfigError as error:
        raise ManifestError(_line(f"{where}: {error}")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ManifestError(_line(f"{where}: not JSON: {error}")) from None
    check_manifest(manifest, where=where)
    return manifest


def check_manifest(manifest: Manifest, *, where: str = MANIFEST_FILE) -> None:
    """Refuse a manifest that no model can have.

    Raises:
        ManifestError: names the place.
    """
    for place, reason in wrong(manifest):
        raise ManifestError(_line(f"{where}: {place}: {reason}"))


def check_name(name: str, *, where: str) -> str:
    """`name`, which a model may have.

    Raises:
        ConfigError: no name for addresses and folders.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name[:100]!r} is no name: letters, digits, '.', '_' and '-', at most 100", where=where)
    return name


def _check_size(data: bytes, where: str) -> None:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{where}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")


def _line(text: str) -> str:
    # What a stranger wrote may end up on somebody's terminal.
    text = _UNPRINTABLE.sub("?", text[: _MAX_LINE + 1])
    return text if len(text) <= _MAX_LINE else text[:_MAX_LINE] + "..."
