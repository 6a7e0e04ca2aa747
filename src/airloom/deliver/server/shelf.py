"""The models that are served, each in its newest version, and for a while in those before.

A folder is looked at for a new manifest every so often. A new version is read whole before it takes the place of the
old one; one that cannot be served, because it is still being copied, say, leaves the old one where it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from airloom.deliver.manifest import MANIFEST_FILE, SIGNATURE_FILE
from airloom.deliver.server.release import Release, StoredFile, load_release
from airloom.errors import ConfigError, UserError

# A folder whose new version could not be served is tried again after this long: its chunks may still be on their way.
_AGAIN_S = 5.0
# Whoever packs the folder anew just now is between the manifest and the signature for less than that.
_SETTLE_S = 0.2
#: Replaced versions of one model that are kept; each holds its files open.
MAX_OLD = 3

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Shelf:
    """Models by name.

    Args:
        keep_s: for how long a replaced version is still served.
        say: gets one line where a new version was taken, or could not be.
    """

    def __init__(
        self,
        folders: tuple[Path, ...],
        *,
        public_key: Ed25519PublicKey | None = None,
        keep_s: float = 600.0,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._public_key, self._keep_s, self._say, self._clock = public_key, keep_s, say, clock
        self._versions: dict[Path, list[Release]] = {}
        self._stamps: dict[Path, _Stamp] = {}
        self._failed_at: dict[Path, float] = {}
        self._said: dict[Path, _Stamp] = {}
        self.reloads = self.failures = 0
        for folder in folders:
            if folder in self._versions:
                raise ConfigError("named twice", where=str(folder))
            stamp = _stamp(folder)
            try:
                release = load_release(folder, public_key)
            except ConfigError:
                time.sleep(_SETTLE_S)
                release = load_release(folder, public_key)
            self._check_name(folder, release)
            self._versions[folder], self._stamps[folder] = [release], stamp

    @property
    def models(self) -> list[Release]:
        """The newest version of each model."""
        return [versions[0] for versions in self._versions.values()]

    @property
    def num_versions(self) -> int:
        return sum(map(len, self._versions.values()))

    def find(self, model: str, sha256: str | None = None) -> Release | None:
        """The newest version of `model`, or that whose manifest has this SHA-256; None where there is none."""
        for versions in self._versions.values():
            for release in versions:
                if release.manifest.model == model and sha256 in (None, release.sha256):
                    return release
        return None

    def file(self, model: str, name: str, sha256: str | None = None) -> StoredFile | None:
        """A file of the newest version of `model` that has it, or of the one in which it has this SHA-256."""
        for versions in self._versions.values():
            for release in versions:
                found = release.files.get(name) if release.manifest.model == model else None
                if found is not None and sha256 in (None, found.sha256):
                    return found
        return None

    def refresh(self) -> None:
        """Take what is new in the folders, and forget versions that nobody should need any more."""
        now = self._clock()
        for folder, versions in self._versions.items():
            versions[1:] = [
                old for old in versions[1:] if old.retired_at is not None and now - old.retired_at < self._keep_s
            ][:MAX_OLD]
            stamp = _stamp(folder)
            failed_at = self._failed_at.get(folder)
            if stamp == self._stamps[folder] and (failed_at is None or now - failed_at < _AGAIN_S):
                continue
            fresh = stamp != self._stamps[folder]
            self._stamps[folder] = stamp
            try:
                release = load_release(folder, self._public_key)
                self._check_name(folder, release)
            except (UserError, OSError) as error:
                self._failed_at[folder] = now
                self.failures += 1
                # Once, and not of what is whole a moment later.
                if not fresh and stamp != self._said.get(folder):
                    self._said[folder] = stamp
                    self._say(f"{folder}: the new version is not served, the old one still is: {error}")
                continue
            self._failed_at.pop(folder, None)
            if release.heads == versions[0].heads:
                continue
            versions[0].retired_at = now
            versions.insert(0, release)
            self.reloads += 1
            self._say(f"{folder}: serving {release.manifest.model}, manifest {release.sha256[:12]}")

    def _check_name(self, folder: Path, release: Release) -> None:
        for other, versions in self._versions.items():
            if other != folder and versions[0].manifest.model == release.manifest.model:
                raise ConfigError(
                    f"{other} is a model {release.manifest.model} as well: pack one of them under another name",
                    where=str(folder),
                )


def _stamp(folder: Path) -> _Stamp:
    """What tells one version of a folder from another without reading it."""
    found: list[tuple[int, int, int] | None] = []
    for name in (MANIFEST_FILE, SIGNATURE_FILE):
        try:
            info = (folder / name).stat()
            found.append((info.st_ino, info.st_mtime_ns, info.st_size))
        except OSError:
            found.append(None)
    return tuple(found)
