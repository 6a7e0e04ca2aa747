"""Whose manifest it is: a pinned key, or the key that was there the first time; and never one older than seen.

`trust.json` in the cache's folder remembers, for every address, the key and when its last manifest was released. A
manifest released earlier than that is refused: whoever can replay an old one, signature and all, could otherwise bring
back weights that their publisher has replaced (TUF's rollback attack).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.core.progressive import Manifest
from airloom.deliver.client.faults import Refused, Untrusted, disk_fault
from airloom.deliver.client.host import Host
from airloom.deliver.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, PUBLIC_FILE, SIGNATURE_FILE, open_manifest
from airloom.deliver.signing import (
    SIGNATURE_BYTES,
    fingerprint,
    parse_public_key,
    public_text,
    read_public_key,
)
from airloom.errors import ConfigError
from airloom.files import write_aside

_KEY_BYTES = 4096


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of an address.

    Attributes:
        key: that was taken the first time, `ed25519:...`; "" where one is always given.
        released: of the newest manifest seen, seconds since 1970.
    """

    key: str = ""
    released: int = 0


class Trusted(NamedTuple):
    """A manifest, whose it is, and the SHA-256 of its bytes."""

    manifest: Manifest
    key: Ed25519PublicKey
    digest: str


class TrustStore:
    """What is remembered of addresses, in the file `trust.json` of `folder`; shared by all processes of a user."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "trust.json"

    def known(self, address: str) -> Known:
        """What is remembered of `address`.

        Raises:
            ConfigError: the file is not what was written.
        """
        return self._all().get(address, Known())

    def _all(self) -> dict[str, Known]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Known])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise ConfigError(f"cannot be read ({error}): remove it to begin anew", where=str(self._path)) from None
        except OSError as error:
            raise disk_fault(error, self._folder, 0) from None

    def remember(self, address: str, known: Known) -> None:
        """Write it down.

        Raises:
            Untrusted: another process has written another key meanwhile.
            DiskFull, ConfigError: it cannot be written.
        """
        try:
            handle = os.open(self._folder / "trust.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                everything = self._all()
                before = everything.get(address, Known())
                if before.key and known.key and before.key != known.key:
                    raise _changed(address, before.key, known.key)
                now = Known(key=known.key or before.key, released=max(known.released, before.released))
                if now != before:
                    everything[address] = now
                    write_aside(self._path, msgspec.json.format(msgspec.json.encode(everything)))
            finally:
                os.close(handle)
        except OSError as error:
            raise disk_fault(error, self._folder, 0) from None


def fetch_manifest(
    host: Host, store: TrustStore, *, key: Ed25519PublicKey | None, trust_first: bool, allow_rollback: bool = False
) -> Trusted:
    """The manifest at `host`, signed by a key that there is reason to trust.

    Args:
        key: the publisher's; None looks for one that is remembered.
        trust_first: take the key at the host where none is remembered, and remember it.

    Raises:
        Untrusted: no key, another key than remembered, or a manifest older than one seen.
        SignatureError, ManifestError: it is not the key's, or not a manifest.
        Refused, Interrupted: it cannot be had.
    """
    known = store.known(host.address)
    remembered = ""
    if key is None:
        if not known.key and not trust_first:
            raise Untrusted(
                f"{host.address}: whose model is it? Name its publisher's public key (--public-key FILE), or take the "
                "one that is there, now and ever after (--trust-first)"
            )
        offered = _offered(host) if trust_first else None
        if known.key:
            key = read_public_key(known.key)
            if offered is not None and public_text(offered) != known.key:
                raise _changed(host.address, known.key, public_text(offered))
        else:
            assert offered is not None  # trust_first, see above
            key = offered
        remembered = public_text(key)
    data = host.get(MANIFEST_FILE, MAX_MANIFEST_BYTES)
    try:
        signature: bytes | None = host.get(SIGNATURE_FILE, SIGNATURE_BYTES)
    except Refused:
        signature = None
    manifest = open_manifest(data, signature, key)
    if manifest.released < known.released and not allow_rollback:
        raise Untrusted(
            f"{host.address}: its manifest was released before one that was seen there: an old one is being replayed, "
            "or its publisher went back on purpose (--allow-rollback takes it)"
        )
    store.remember(host.address, Known(key=remembered, released=manifest.released))
    return Trusted(manifest, key, hashlib.sha256(data).hexdigest())


def _offered(host: Host) -> Ed25519PublicKey:
    try:
        data = host.get(PUBLIC_FILE, _KEY_BYTES)
    except Refused as error:
        raise Untrusted(
            f"{host.address}: there is no key to trust first ({error}): name the publisher's (--public-key FILE)"
        ) from None
    try:
        return parse_public_key(data)
    except ConfigError as error:
        raise Untrusted(f"{host.address}/{PUBLIC_FILE}: {error}") from None


def _changed(address: str, before: str, now: str) -> Untrusted:
    return Untrusted(
        f"{address}: its key was {fingerprint(read_public_key(before))}, is {fingerprint(read_public_key(now))} now: "
        "somebody else answers there, or its publisher has a new key; then name that (--public-key FILE)"
    )
