"""Whose manifest it is: a pinned key, or the key that was there the first time; and never one older than seen.

`trust.json` in the cache's folder remembers, for every address, the key and when its last manifest was released. A
manifest released earlier than that is refused: whoever can replay an old one, signature and all, could otherwise bring
back weights that their publisher has replaced (TUF's rollback attack).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.core.progressive import Manifest
from airloom.deliver.client.faults import Refused, Untrusted, disk_fault
from airloom.deliver.client.host import Host
from airloom.deliver.client.kept import KeptManifests
from airloom.deliver.manifest import PUBLIC_FILE, open_manifest
from airloom.deliver.signing import fingerprint, parse_public_key, public_text, read_public_key
from airloom.errors import ConfigError, DeliveryError, SignatureError
from airloom.files import write_aside

_KEY_BYTES = 4096
#: How long whoever packs a model anew may take between its manifest and its signature.
_SETTLE_S = (0.1, 0.3)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of an address.

    Attributes:
        key: that was taken the first time, `ed25519:...`; "" where one is always given.
        released: of the newest manifest seen, seconds since 1970.
    """

    key: str = ""
    released: int = 0


class Trusted(NamedTuple):
    """A manifest, whose it is, and the SHA-256 of its bytes.

    Attributes:
        note: why it may not be the newest, for people; "" where the host was asked.
    """

    manifest: Manifest
    key: Ed25519PublicKey
    digest: str
    note: str = ""


class TrustStore:
    """What is remembered of addresses, in the file `trust.json` of `folder`; shared by all processes of a user.

    Attributes:
        kept: the manifests that were verified last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "trust.json"
        self.kept = KeptManifests(folder)

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
        key = read_public_key(known.key) if known.key else _offered(host)
        remembered = public_text(key)
    try:
        data, signature, manifest = _settled(host, key)
    except SignatureError:
        if remembered and trust_first and (now := public_text(_offered(host))) != remembered:
            raise _changed(host.address, remembered, now) from None
        raise
    if manifest.released < known.released and not allow_rollback:
        raise Untrusted(
            f"{host.address}: its manifest was released before one that was seen there: an old one is being replayed, "
            "or its publisher went back on purpose (--allow-rollback takes it)"
        )
    store.remember(host.address, Known(key=remembered, released=manifest.released))
    if host.remote:
        store.kept.save(host.address, data, signature)
    return Trusted(manifest, key, hashlib.sha256(data).hexdigest())


def kept_manifest(
    host: Host, store: TrustStore, *, key: Ed25519PublicKey | None, away: str, allow_rollback: bool = False
) -> Trusted | None:
    """The manifest that was verified last at `host`, which does not answer now; None where none can be trusted.

    Args:
        key: as of `fetch_manifest`; None takes the one that is remembered.
        away: that the host is, for people.
    """
    known, kept = store.known(host.address), store.kept.load(host.address)
    if kept is None or (key is None and not known.key):
        return None
    key = key or read_public_key(known.key)
    try:
        manifest = open_manifest(*kept, key)
    except DeliveryError:  # another key's, or damaged
        return None
    if manifest.released < known.released and not allow_rollback:
        return None
    note = f"{away}; going by the manifest that it had when it was last seen"
    return Trusted(manifest, key, hashlib.sha256(kept[0]).hexdigest(), note)


def _settled(host: Host, key: Ed25519PublicKey) -> tuple[bytes, bytes, Manifest]:
    """Manifest and signature of one version: who asks while a model is packed anew may get them of two.

    Raises:
        SignatureError: it is not the key's, also a little later.
    """
    for wait_s in (*_SETTLE_S, None):
        data, signature = host.signed()
        try:
            return data, signature or b"", open_manifest(data, signature, key)
        except SignatureError:
            if wait_s is None:
                raise
            time.sleep(wait_s)
    raise AssertionError  # the last one raises or returns


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
