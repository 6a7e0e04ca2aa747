"""What may go wrong while a model is fetched, told apart by what helps.

All leave the model in its last good configuration. A line names the file, the host or the folder, and what to do.
"""

from __future__ import annotations

import errno
from pathlib import Path

from airloom.errors import ConfigError, DeliveryError, UserError


class Interrupted(DeliveryError):
    """The transfer broke; trying again may help.

    Attributes:
        retry_after_s: what the host asks to wait; 0 where it asks nothing.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Refused(DeliveryError):
    """The host has not got it or does not give it; trying again does not help."""


class OutOfRange(Refused):
    """The host has fewer bytes of a file than are here already (HTTP 416)."""


class Damaged(DeliveryError):
    """Bytes that are not those that the signed manifest names."""


class TooLate(DeliveryError):
    """What a model is opened with takes too long; what came of it is kept, and the next attempt goes on from there."""


class DiskFull(DeliveryError):
    """The cache's folder takes no more bytes."""


class Untrusted(UserError):
    """There is no reason to believe that the model is its publisher's."""


_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "files may not be larger"}


def disk_fault(error: OSError, folder: Path, nbytes: int) -> Exception:
    """`error` of writing `nbytes` more bytes below `folder` as a line that says what to do."""
    reason = _FULL.get(error.errno or 0)
    if reason is not None:
        return DiskFull(
            f"{folder}: {reason}, {nbytes} more bytes are needed: free some, or name another folder (--cache)"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
        return ConfigError(f"cannot write: {error.strerror}: name another folder (--cache)", where=str(folder))
    return DeliveryError(f"{folder}: {error.strerror or error}")
