"""Brings chunks, verified and in order: from the cache what is there, the rest over the link, whatever breaks.

A chunk's bytes are used when their SHA-256 is the signed manifest's, and not before. A transfer that breaks goes on
where it was: with HTTP Range, from the bytes that the cache keeps of each chunk. What was verified once is never
fetched again.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from airloom.core.progressive import Chunk, Configuration, Manifest
from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.faults import Damaged, Interrupted, OutOfRange, TooLate, disk_fault
from airloom.deliver.client.host import Body, Host
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.partial import PIECE, Partial
from airloom.planner.delivery import arrival

#: How often to look whether another process is done with a chunk.
_LOOK_S = 0.02
#: In the place of a chunk's index.
_ARCHITECTURE = -1


class Stopped(Exception):
    """Nobody wants the rest any more."""


class Fetcher:
    """Brings the chunks of one manifest from one host.

    Args:
        digest: of the manifest's bytes, 64 hex digits.
        cache: None where the host is a folder: nothing is kept then.
        stop: set when the rest is not wanted any more.
        arrived: called with the bytes that came over the link, after each piece.
        broke: called with a line when a transfer broke and will be begun anew.

    Attributes:
        fetched_nbytes: that came over the link.
    """

    def __init__(
        self, host: Host, manifest: Manifest, digest: str, cache: Cache | None, options: FetchOptions, backoff: Backoff,
        *, stop: threading.Event, arrived: Callable[[int], None], broke: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.fetched_nbytes = 0
        self._host, self._manifest, self._digest, self._cache = host, manifest, digest, cache
        self._options, self._backoff, self._stop = options, backoff, stop
        self._arrived, self._broke = arrived, broke
        self._wrong: Counter[int] = Counter()
        self._wants_architecture: Callable[[bytes], None] | None = None
        self._open_until_s = 0.0
        # Since when too few bytes have come to count, and how many.
        self._last_byte_s, self._gained = 0.0, 0

    def held(self) -> frozenset[int]:
        """Indices of the chunks that the cache has, as far as their sizes tell."""
        if self._cache is None:
            return frozenset()
        return frozenset(k for k, c in enumerate(self._manifest.chunks) if self._cache.has(c.sha256, c.nbytes))

    @property
    def architecture_nbytes(self) -> int:
        """What is yet to come of the architecture's file: 0 where there is none, or the cache has it."""
        described = self._manifest.architecture
        if not described.file or (self._cache is not None and self._cache.has(described.sha256, described.nbytes)):
            return 0
        return described.nbytes

    def bring(
        self, loaded: frozenset[int], path: Sequence[Configuration],
        architecture: Callable[[bytes], None] | None = None,
    ) -> Iterator[tuple[int, bytearray]]:  # fmt: skip
        """The chunks that `path` needs besides `loaded`, by index, in order of arrival.

        Args:
            architecture: where it is wanted: called with the architecture's file, verified, before the first chunk.

        Raises:
            Damaged: the host's bytes are not those of the manifest, also when asked again.
            Refused: the host does not give them.
            Interrupted: no byte came for `patience_s`.
            DiskFull, ConfigError: the cache takes no more.
            Stopped: `stop` is set.
        """
        self._wants_architecture = architecture
        self._open_until_s = time.monotonic() + self._options.open_timeout_s
        wanted = deque(arrival(self._manifest, loaded, path))
        self._last_byte_s, self._gained = time.monotonic(), 0
        self._backoff.reset()
        while wanted:
            self._check()
            data = self.cached(wanted[0])
            if data is not None:
                self._bring_architecture()
                yield wanted.popleft(), data
                continue
            try:
                yield from self._transfer(wanted, path)
            except OutOfRange as error:
                self._again(wanted[0], str(error))
            except Interrupted as error:
                self._wait(error)
        self._bring_architecture()

    def _bring_architecture(self) -> None:
        """By itself, where no chunk is fetched that it could come along with."""
        if self._wants_architecture is not None:
            described, tell = self._manifest.architecture, self._wants_architecture
            self._wants_architecture = None
            tell(bytes(self.file(described.file, described.nbytes, described.sha256)))

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _wait(self, error: Interrupted) -> None:
        """Wait before the next attempt; raises `error` where there will be none."""
        self._check()
        wait_s = self._backoff.wait_s(error.retry_after_s)
        idle_s = time.monotonic() - self._last_byte_s
        if not self._host.remote or idle_s + wait_s > self._options.patience_s:
            raise error
        self._broke(f"{error}; again in {wait_s:.1f} s")
        if self._stop.wait(wait_s):
            raise Stopped

    def cached(self, index: int) -> bytearray | None:
        """A chunk that the cache has, verified; None where it has not, or it was damaged."""
        chunk = self._manifest.chunks[index]
        return None if self._cache is None else self._cache.read(chunk.sha256, chunk.nbytes)

    def _transfer(self, wanted: deque[int], path: Sequence[Configuration]) -> Iterator[tuple[int, bytearray]]:
        """One connection's worth of chunks; returns where the cache is to be asked again."""
        first = self._partial(wanted[0])
        if first is None:
            return
        if self._host.streams:
            yield from self._streamed(first, wanted, path)
        else:
            yield from self._single(first, wanted)

    def _single(self, part: Partial, wanted: deque[int]) -> Iterator[tuple[int, bytearray]]:
        index = wanted[0]
        chunk = self._manifest.chunks[index]
        try:
            self._complete(part, chunk.file)
            self._finish(index, part)
        finally:
            part.close()
        wanted.popleft()
        yield index, part.data

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
            self._check()
            part = (None if self._cache is None else self._open(sha256, nbytes)) or Partial(sha256, nbytes)
            try:
                self._complete(part, file, until_s)
                if self._kept(part):
                    return part.data
                line = f"{self._host.address}/{file}: its bytes are not those of the signed manifest"
                if wrong:
                    raise Damaged(line)
                wrong = True
                self._broke(f"{line}; again from the beginning")
            except Interrupted as error:
                self._wait(error)
            finally:
                part.close()

    def _complete(self, part: Partial, file: str, until_s: float = math.inf) -> None:
        """Fetch what lacks of a file."""
        if part.lacks:
            body = self._host.body(file, part.at, part.nbytes)
            try:
                self._skip(body, part.at - body.start)
                self._fill(part, body, until_s)
                self._end(body, file, part.nbytes)
            finally:
                body.close()

    def _streamed(
        self, first: Partial, wanted: deque[int], path: Sequence[Configuration]
    ) -> Iterator[tuple[int, bytearray]]:
        """All that lacks in one answer, chunk after chunk."""
        chunks = self._manifest.chunks
        missing = [k for k in wanted if k == wanted[0] or self._cache is None or not self._has(chunks[k])]
        have = frozenset(range(len(chunks))).difference(missing)
        total = sum(chunks[k].nbytes for k in missing)
        names = [c.name for c in path]
        part: Partial | None = first
        body: Body | None = None
        try:
            if self._wants_architecture is not None:
                body = self._with_architecture(names, have, total)
                self._skip(body, first.at)
            for position, index in enumerate(missing):
                while wanted[0] != index:
                    data = self.cached(wanted[0])
                    if data is None:  # damaged in the cache: it is fetched again by itself
                        return
                    yield wanted.popleft(), data
                part = part or self._try_partial(index) or Partial(chunks[index].sha256, chunks[index].nbytes)
                if body is None and (part.lacks or position + 1 < len(missing)):
                    body = self._host.stream(names, _ranges(have), self._digest, part.at, total, architecture=False)
                    self._skip(body, part.at - body.start)
                elif body is not None and part.at and part is not first:
                    self._skip(body, part.at)  # another process's, given up meanwhile
                if body is not None:
                    self._fill(part, body)
                self._finish(index, part)
                part.close()
                data, part = part.data, None
                wanted.popleft()
                yield index, data
        finally:
            if part is not None:
                part.close()
            if body is not None:
                body.close()

    def _with_architecture(self, names: Sequence[str], have: frozenset[int], total: int) -> Body:
        """An answer that begins with the architecture's file, as far as its first chunk."""
        described, tell = self._manifest.architecture, self._wants_architecture
        assert tell is not None  # looked at before
        nbytes, sha256 = described.nbytes, described.sha256
        part = self._open(sha256, nbytes) or Partial(sha256, nbytes)
        body: Body | None = None
        try:
            body = self._host.stream(names, _ranges(have), self._digest, part.at, nbytes + total, architecture=True)
            self._skip(body, part.at - body.start)
            self._fill(part, body, self._open_until_s)
            if not self._kept(part):
                line = f"{self._host.address}/{described.file}: its bytes are not those of the signed manifest"
                self._count(_ARCHITECTURE, line)
                raise Interrupted(line)
        except BaseException:
            if body is not None:
                body.close()
            raise
        finally:
            part.close()
        self._wants_architecture = None
        tell(bytes(part.data))
        return body

    def _has(self, chunk: Chunk) -> bool:
        return self._cache is not None and self._cache.has(chunk.sha256, chunk.nbytes)

    def _fill(self, part: Partial, body: Body, until_s: float = math.inf) -> None:
        """Take bytes until the chunk is whole.

        Raises:
            TooLate: it is not, at `until_s` on the monotonic clock.
        """
        while part.lacks:
            self._check()
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

    def _skip(self, body: Body, count: int) -> None:
        """Read over bytes that are here already, from a host that does not know Range."""
        scratch = memoryview(bytearray(min(count, PIECE)))
        while count > 0:
            self._check()
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

    def _kept(self, part: Partial) -> bool:
        """Whether the bytes are the digest's; then they are in the cache, else forgotten."""
        try:
            if part.finish():
                return True
            part.restart()
        except OSError as error:
            assert self._cache is not None  # only a cache writes
            raise disk_fault(error, self._cache.folder, 0) from None
        return False

    def _finish(self, index: int, part: Partial) -> None:
        """Verify and keep the chunk; what is not the manifest's is fetched once more, then given up.

        Raises:
            Interrupted, Damaged.
        """
        if self._kept(part):
            return
        chunk = self._manifest.chunks[index]
        line = f"{self._host.address}/{chunk.file}: its bytes are not those of the signed manifest"
        self._count(index, line)
        raise Interrupted(line)

    def _again(self, index: int, line: str) -> None:
        """The host has fewer bytes than are here: what is here is of another file."""
        part = self._partial(index)
        if part is not None:
            part.restart()
            part.close()
        self._count(index, line)
        self._broke(f"{line}; again from the beginning")

    def _count(self, index: int, line: str) -> None:
        self._wrong[index] += 1
        if self._wrong[index] >= 2:
            self._wrong[index] = 0  # whoever asks again later gets two tries again
            raise Damaged(f"{line}: damaged, or of another model; what runs goes on running")

    def _open(self, sha256: str, nbytes: int) -> Partial | None:
        return None if self._cache is None else self._cache.partial(sha256, nbytes)

    def _try_partial(self, index: int) -> Partial | None:
        chunk = self._manifest.chunks[index]
        return self._open(chunk.sha256, chunk.nbytes)

    def _partial(self, index: int) -> Partial | None:
        """The chunk's part, locked; None where another process made it whole meanwhile.

        One that another process holds without getting on is fetched into memory alone.
        """
        chunk = self._manifest.chunks[index]
        if self._cache is None:
            return Partial(chunk.sha256, chunk.nbytes)
        seen, since = -1, time.monotonic()
        while (part := self._try_partial(index)) is None:
            if self._has(chunk):
                return None
            size = self._cache.part_nbytes(chunk.sha256)
            if size != seen:
                seen, since = size, time.monotonic()
                self._last_byte_s = since
            elif time.monotonic() - since > self._options.stall_timeout_s:
                return Partial(chunk.sha256, chunk.nbytes)
            if self._stop.wait(_LOOK_S):
                raise Stopped
        if part.at == 0 and self._has(chunk):
            part.close()
            return None
        return part


def _ranges(indices: frozenset[int]) -> str:
    """`0-5,9` of indices."""
    found: list[list[int]] = []
    for k in sorted(indices):
        if found and found[-1][1] == k - 1:
            found[-1][1] = k
        else:
            found.append([k, k])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)
