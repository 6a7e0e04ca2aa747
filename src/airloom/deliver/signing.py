"""Who made a manifest: Ed25519 keys and signatures (RFC 8032).

The signature is over a fixed prefix and the exact bytes of `manifest.json`, so that a signature made for anything else
can never pass for one, and nobody has to agree on how JSON is written. A client pins the public key: it is 32 bytes,
written `ed25519:BASE64`, as 64 hex digits or as a PEM file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from airloom.errors import ConfigError, SignatureError
from airloom.files import read_bytes, write_aside

SIGNATURE_BYTES = 64
_PREFIX = b"airloom progressive manifest v1\x00"
_TEXT = "ed25519:"
_DIGITS = re.compile(r"[0-9a-fA-F]{64}")


def make_keys(path: Path) -> tuple[Path, Path]:
    """A new key pair: the private one in `PATH.key`, for the owner's eyes only, and the public one in `PATH.pub`.

    Raises:
        ConfigError: one of the files is there already; keys are never overwritten.
    """
    private, public = path.with_name(f"{path.name}.key"), path.with_name(f"{path.name}.pub")
    for file_path in (private, public):
        if file_path.exists():
            why = "there is a key already, and keys are not overwritten: take another name"
            raise ConfigError(why, where=str(file_path))
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: whoever was faster keeps the key; 0600 from the first byte on.
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        write_aside(public, public_pem(key.public_key()))
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", where=str(error.filename or path)) from None
    return private, public


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file.

    Raises:
        ConfigError: no such file, or no Ed25519 key in it.
    """
    try:
        key = serialization.load_pem_private_key(read_bytes(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            "not a private key that can be read: make one with `airloom elastic keys`", where=str(path)
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("a private key, but not of Ed25519: make one with `airloom elastic keys`", where=str(path))
    return key


def read_public_key(text: str | Path) -> Ed25519PublicKey:
    """A public key: `ed25519:BASE64`, 64 hex digits, or the path of a PEM file or of one with such a line.

    Raises:
        ConfigError: none of these.
    """
    if isinstance(text, str) and _DIGITS.fullmatch(text):
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    if isinstance(text, str) and text.startswith(_TEXT):
        try:
            return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(_TEXT), validate=True))
        except (ValueError, binascii.Error):
            raise ConfigError(f"{text[:80]!r} is no public key: {_TEXT} and 32 bytes in base64") from None
    return parse_public_key(read_bytes(Path(text)), where=str(text))


def parse_public_key(data: bytes, *, where: str = "") -> Ed25519PublicKey:
    """The public key in the bytes of a PEM file, or of a file with a line `ed25519:BASE64`.

    Raises:
        ConfigError: there is none; `where` names the file.
    """
    if data.startswith(_TEXT.encode()):
        return read_public_key(data[:200].decode("ascii", "replace").strip())
    if b"PRIVATE KEY" in data:
        raise ConfigError("this is the private key: give the public one, and keep this one secret", where=where)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"not a public key: PEM, or a line {_TEXT}...", where=where) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("a public key, but not of Ed25519", where=where)
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The key as a PEM file."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_text(key: Ed25519PublicKey) -> str:
    """The key on one line, `ed25519:BASE64`; `read_public_key` takes it."""
    return _TEXT + base64.b64encode(key.public_bytes_raw()).decode()


def fingerprint(key: Ed25519PublicKey) -> str:
    """What two people read to each other: the first 16 bytes of the key's SHA-256, in groups of four digits."""
    digits = hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]
    return " ".join(digits[k : k + 4] for k in range(0, 32, 4))


def sign(data: bytes, key: Ed25519PrivateKey) -> bytes:
    """64 bytes, the content of `manifest.sig`."""
    return key.sign(_PREFIX + data)


def verify(data: bytes, signature: bytes | None, key: Ed25519PublicKey) -> None:
    """Check that the owner of `key` signed the manifest `data`.

    Raises:
        SignatureError: there is no signature, it is none, or it is not this key's for these bytes.
    """
    if not signature:
        raise SignatureError("the manifest is not signed: manifest.sig is missing or empty")
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"manifest.sig has {len(signature)} bytes, a signature has {SIGNATURE_BYTES}")
    try:
        key.verify(signature, _PREFIX + data)
    except InvalidSignature:
        raise SignatureError(
            f"the manifest is not signed by {public_text(key)}: it was changed, or is somebody else's"
        ) from None
