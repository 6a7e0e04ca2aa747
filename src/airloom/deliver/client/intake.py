"""Takes the bytes of one file after another into memory and the cache, as long as there is patience for them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.faults import Damaged, Interrupted, TooLate, disk_fault
from airloom.deliver.client.host import Body, Host
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.partial import PIECE, Partial


class Stopped(Exception):
    """Nobody wants the rest any more."""


class Intake:
    """Of one model: see `Fetcher`.

    Attributes:
        fetched_nbytes: that came over the link.
    """

    def __init__(
        self, host: Host, cache: Cache | None, options: FetchOptions, backoff: Backoff, *, stop: threading.Event,
        arrived: Callable[[int], None], broke: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.fetched_nbytes = 0
        self._host, self._cache, self._options, self._backoff = host, cache, options, backoff
        self._stop, self._arrived, self._broke = stop, arrived, broke
        # Since when too few bytes have come to count, and how many.
        self._last_byte_s, self._gained = 0.0, 0

    def begin(self) -> None:
        """Something new is fetched: patience begins anew."""
        self._last_byte_s, self._gained = time.monotonic(), 0
        self._backoff.reset()

    def waited(self) -> None:
        """Another process got on with it: that counts as bytes."""
        self._last_byte_s = time.monotonic()

    def check(self) -> None:
        """Raises: Stopped: nobody wants the rest."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, error: Interrupted) -> None:
        """Wait before the next attempt.

        Raises:
            error: there will be none.
            Stopped: nobody wants the rest.
        """
        self.check()
        wait_s = self._backoff.wait_s(error.retry_after_s)
        idle_s = time.monotonic() - self._last_byte_s
        if not self._host.remote or idle_s + wait_s > self._options.patience_s:
            raise error
        self._broke(f"{error}; again in {wait_s:.1f} s")
        if self._stop.wait(wait_s):
            raise Stopped

    def file(self, file: str, nbytes: int, sha256: str) -> bytes | bytearray:
        """A file of the manifest that is no chunk, verified; kept in the cache as chunks are.

        Raises:
            as `bring`.
        """
        data = None if self._cache is None else self._cache.read(sha256, nbytes)
        if data is not None:
            return data
        self._last_byte_s, self._gained = time.monotonic(), 0
        until_s = time.monotonic() + self._options.open_timeout_s
        wrong = False
        while True:
            self.check()
            part = (None if self._cache is None else self.open(sha256, nbytes)) or Partial(sha256, nbytes)
            try:
                self.complete(part, file, until_s)
                if self.kept(part):
                    return part.data
                line = f"{self._host.address}/{file}: its bytes are not those of the signed manifest"
                if wrong:
                    raise Damaged(line)
                wrong = True
                self._broke(f"{line}; again from the beginning")
            except Interrupted as error:
                self.wait(error)
            finally:
                part.close()

    def complete(self, part: Partial, file: str, until_s: float = math.inf) -> None:
        """Fetch what lacks of a file."""
        if part.lacks:
            body = self._host.body(file, part.at, part.nbytes)
            try:
                self.skip(body, part.at - body.start)
                self.fill(part, body, until_s)
                self._end(body, file, part.nbytes)
            finally:
                body.close()

    def fill(self, part: Partial, body: Body, until_s: float = math.inf) -> None:
        """Take bytes until the chunk is whole.

        Raises:
            TooLate: it is not, at `until_s` on the monotonic clock.
        """
        while part.lacks:
            self.check()
            if time.monotonic() > until_s:
                raise TooLate(
                    f"{self._host.address}: the network's description did not come within "
                    f"{self._options.open_timeout_s:g} s: its link is too slow, or it does not want to"
                )
            count = body.readinto(part.into())
            if count == 0:
                raise Interrupted(f"{self._host.address}: the file ends {part.lacks} bytes early")
            self._took(count)
            try:
                part.took(count)
            except OSError as error:
                folder = self._cache.folder if self._cache is not None else self._options.cache
                assert folder is not None  # only a cache writes
                raise disk_fault(error, folder, part.lacks) from None
            self._arrived(count)

    def _took(self, count: int) -> None:
        now = time.monotonic()
        self._gained += count
        # A byte now and then is no progress: a host could keep anybody waiting with that.
        if 8 * self._gained >= self._options.least_bps * (now - self._last_byte_s):
            self._last_byte_s, self._gained = now, 0
            self._backoff.reset()
        if self._host.remote:
            self.fetched_nbytes += count

    def skip(self, body: Body, count: int) -> None:
        """Read over bytes that are here already, from a host that does not know Range."""
        scratch = memoryview(bytearray(min(count, PIECE)))
        while count > 0:
            self.check()
            got = body.readinto(scratch[:count])
            if got == 0:
                raise Interrupted(f"{self._host.address}: the file ends early")
            self._took(got)
            count -= got

    def _end(self, body: Body, file: str, nbytes: int) -> None:
        """Nothing may follow a file's last byte.

        Raises:
            Damaged: something does.
        """
        if body.readinto(memoryview(bytearray(1))):
            raise Damaged(f"{self._host.address}/{file}: longer than the {nbytes} bytes of the manifest")

    def kept(self, part: Partial) -> bool:
        """Whether the bytes are the digest's; then they are in the cache, else forgotten."""
        try:
            if part.finish():
                return True
            part.restart()
        except OSError as error:
            assert self._cache is not None  # only a cache writes
            raise disk_fault(error, self._cache.folder, 0) from None
        return False

    def open(self, sha256: str, nbytes: int) -> Partial | None:
        """What the cache has of a file, locked; None where there is no cache, or another holds it."""
        return None if self._cache is None else self._cache.partial(sha256, nbytes)
