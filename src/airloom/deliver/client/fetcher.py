"""Brings chunks, verified and in order: from the cache what is there, the rest over the link, whatever breaks.

A chunk's bytes are used when their SHA-256 is the signed manifest's, and not before. A transfer that breaks goes on
where it was: with HTTP Range, from the bytes that the cache keeps of each chunk. What was verified once is never
fetched again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from airloom.core.progressive import Chunk, Configuration, Manifest
from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.faults import Damaged, Interrupted, OutOfRange
from airloom.deliver.client.host import Body, Host
from airloom.deliver.client.intake import Intake, Stopped
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.partial import Partial
from airloom.planner.delivery import arrival

#: How often to look whether another process is done with a chunk.
_LOOK_S = 0.02
#: In the place of a chunk's index.
_ARCHITECTURE = -1


class Fetcher:
    """Brings the chunks of one manifest from one host.

    Args:
        digest: of the manifest's bytes, 64 hex digits.
        cache: None where the host is a folder: nothing is kept then.
        stop: set when the rest is not wanted any more.
        arrived: called with the bytes that came over the link, after each piece.
        broke: called with a line when a transfer broke and will be begun anew.
    """

    def __init__(
        self, host: Host, manifest: Manifest, digest: str, cache: Cache | None, options: FetchOptions, backoff: Backoff,
        *, stop: threading.Event, arrived: Callable[[int], None], broke: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._host, self._manifest, self._digest, self._cache = host, manifest, digest, cache
        self._options, self._stop, self._broke = options, stop, broke
        self._intake = Intake(host, cache, options, backoff, stop=stop, arrived=arrived, broke=broke)
        self.file = self._intake.file
        self._wrong: Counter[int] = Counter()
        self._wants_architecture: Callable[[bytes], None] | None = None
        self._open_until_s = 0.0

    @property
    def fetched_nbytes(self) -> int:
        """What came over the link."""
        return self._intake.fetched_nbytes

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
        self._intake.begin()
        while wanted:
            self._intake.check()
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
                self._intake.wait(error)
        self._bring_architecture()

    def _bring_architecture(self) -> None:
        """By itself, where no chunk is fetched that it could come along with."""
        if self._wants_architecture is not None:
            described, tell = self._manifest.architecture, self._wants_architecture
            self._wants_architecture = None
            tell(bytes(self._intake.file(described.file, described.nbytes, described.sha256)))

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
            self._intake.complete(part, chunk.file)
            self._finish(index, part)
        finally:
            part.close()
        wanted.popleft()
        yield index, part.data

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
                self._intake.skip(body, first.at)
            for position, index in enumerate(missing):
                while wanted[0] != index:
                    data = self.cached(wanted[0])
                    if data is None:  # damaged in the cache: it is fetched again by itself
                        return
                    yield wanted.popleft(), data
                part = part or self._try_partial(index) or Partial(chunks[index].sha256, chunks[index].nbytes)
                if body is None and (part.lacks or position + 1 < len(missing)):
                    body = self._host.stream(names, _ranges(have), self._digest, part.at, total, architecture=False)
                    self._intake.skip(body, part.at - body.start)
                elif body is not None and part.at and part is not first:
                    self._intake.skip(body, part.at)  # another process's, given up meanwhile
                if body is not None:
                    self._intake.fill(part, body)
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
        part = self._intake.open(sha256, nbytes) or Partial(sha256, nbytes)
        body: Body | None = None
        try:
            body = self._host.stream(names, _ranges(have), self._digest, part.at, nbytes + total, architecture=True)
            self._intake.skip(body, part.at - body.start)
            self._intake.fill(part, body, self._open_until_s)
            if not self._intake.kept(part):
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

    def _finish(self, index: int, part: Partial) -> None:
        """Verify and keep the chunk; what is not the manifest's is fetched once more, then given up.

        Raises:
            Interrupted, Damaged.
        """
        if self._intake.kept(part):
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

    def _try_partial(self, index: int) -> Partial | None:
        chunk = self._manifest.chunks[index]
        return self._intake.open(chunk.sha256, chunk.nbytes)

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
                self._intake.waited()
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
