"""Brings what is aimed at: fetched, decoded and run on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable

from airloom.core.progressive import Configuration
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.events import EventKind
from airloom.deliver.client.fetcher import Fetcher
from airloom.deliver.client.host import Host
from airloom.deliver.client.intake import Stopped
from airloom.deliver.client.leases import Lease
from airloom.deliver.client.trust import Trusted
from airloom.deliver.goal import Goal, chosen, here, known_rate_bps, smallest, waits
from airloom.deliver.journal import Journal
from airloom.deliver.running import Running
from airloom.deliver.status import Status, Task
from airloom.errors import AirloomError
from airloom.planner.delivery import arrival, upgrade_path

#: Between two chunks, while something runs.
_BREATH_S = 2e-4


def aimed(goal: Goal, trusted: Trusted, host: Host, fetcher: Fetcher) -> Configuration:
    """The target of a goal, as far as it is known now: with a rate that is yet to be measured, the smallest.

    Raises:
        UserError: no configuration will do.
    """
    manifest = trusted.manifest
    found = chosen(
        goal, manifest, trusted.digest, host, fetcher.held(), now_s=time.monotonic(),
        architecture_nbytes=fetcher.architecture_nbytes,
    )  # fmt: skip
    return found or smallest(goal.among(manifest))


class Worker:
    """Does what `status` asks for, until that is closed."""

    def __init__(
        self, host: Host, trusted: Trusted, fetcher: Fetcher, cache: Cache | None, running: Running, status: Status,
        journal: Journal,
    ) -> None:  # fmt: skip
        self._host, self._trusted, self._fetcher, self._cache = host, trusted, fetcher, cache
        self._running, self._status, self._journal = running, status, journal
        self._manifest = trusted.manifest
        self._lease: Lease | None = None if cache is None else cache.lease()
        self._thread = threading.Thread(target=self._work, name=f"fetch-{self._manifest.model}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end: `status` is closed and the host aborted."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join()

    def release(self) -> None:
        """What it kept in the cache may go."""
        if self._lease is not None:
            self._lease.close()

    def run(self, configuration: Configuration, path: tuple[Configuration, ...], kind: EventKind) -> None:
        """Have calls run `configuration`, say so, and go on with `path`."""

        def swapped() -> None:
            self._journal.runs = configuration
            self._status.runs(configuration)
            self._journal.tell(kind, configuration=configuration)

        self._running.run(configuration, path, swapped)

    def _work(self) -> None:
        while (task := self._status.next()) is not None:
            try:
                self._reach(task)
            except Stopped:
                continue
            except Exception as error:  # whatever it is: callers of a model that runs must see why it stays as it is
                if self._status.ended(task.number, error):
                    with contextlib.suppress(Exception):  # the callback's own fault is the one that is kept
                        self._journal.tell("fault", text=str(error) or type(error).__name__)
            else:
                if self._status.ended(task.number):
                    self._journal.tell("done", configuration=self._status.configuration)

    def _reach(self, task: Task) -> None:
        """Bring the target, and where the rate had to be measured first, what it turns out to allow."""
        host, manifest = self._host, self._manifest
        number, goal, target = task
        if host.offline and not self._running.ready:
            # What is here runs, before what is not is asked for in vain.
            first = here(goal, manifest, self._fetcher.held())
            if first is not None and first != target:
                self._bring(first, goal)
        measures = goal.needs_rate and not host.streams and not host.offline and host.rate_bps is None
        self._bring(target, goal)
        if not measures:
            return
        rows = goal.among(manifest)
        for step in upgrade_path(rows, (), max(rows.configurations, key=lambda c: c.nbytes)):
            late = goal.deadline_s is not None and time.monotonic() > goal.asked_s + goal.deadline_s
            if late or host.rate_bps is not None:
                break
            if not self._running.arrived.has(step):
                target = step
                self._status.turn_to(number, target)
                self._bring(target, goal)
        found = self._after_measuring(goal)
        if found is not None and found != target:
            self._status.turn_to(number, found)
            self._bring(found, goal)

    def _after_measuring(self, goal: Goal) -> Configuration | None:
        """What the rest of the deadline allows, now that some bytes have come; None where it allows no more."""
        have = self._fetcher.held() | self._running.arrived.loaded(self._manifest.configurations)
        with contextlib.suppress(AirloomError):  # too late for anything better: what came is what there is
            return chosen(
                goal, self._manifest, self._trusted.digest, self._host, have, now_s=time.monotonic(),
            )  # fmt: skip
        return None

    def _bring(self, target: Configuration, goal: Goal) -> None:
        """Fetch and run everything up to `target`."""
        manifest, running = self._manifest, self._running
        with running.lock:
            have = self._fetcher.held() | running.arrived.loaded((target,))
            path = self._path(target, goal, have)
            loaded = running.arrived.loaded(path)
        needs = {k for configuration in path for k in manifest.chunks_of(configuration)}
        if self._cache is not None and self._lease is not None:
            kept = {manifest.chunks[k].sha256: manifest.chunks[k].nbytes for k in needs}
            if manifest.architecture.file:
                kept[manifest.architecture.sha256] = manifest.architecture.nbytes
            self._cache.reserve(self._lease, kept)
        held = self._fetcher.held() | loaded
        self._journal.expect(
            needed_nbytes=sum(manifest.chunks[k].nbytes for k in needs - held),
            cached_nbytes=sum(manifest.chunks[k].nbytes for k in needs & held),
        )
        self._journal.tell("target", configuration=target)
        comes_along = self._begin_building(path)
        position = self._pass(path, 0)
        for index, data in self._fetcher.bring(loaded, path, running.build if comes_along else None):
            running.add(index, data)
            del data
            position = self._pass(path, position)
            if running.ready and position < len(path):
                # Calls that go on meanwhile get the interpreter back: what is decoded in between takes little of it.
                time.sleep(_BREATH_S)

    def _path(self, target: Configuration, goal: Goal, have: frozenset[int]) -> tuple[Configuration, ...]:
        """What to pass on the way: what the target has no use for only as far as the deadline leaves time for it."""
        manifest, rate_bps = self._manifest, known_rate_bps(goal, self._host)
        if goal.deadline_s is None or rate_bps is None:
            return upgrade_path(manifest, have, target)

        wait = waits(self._host, rate_bps, self._fetcher.architecture_nbytes)

        def takes_s(indices: Iterable[int]) -> float:
            chunks = [manifest.chunks[k] for k in indices]
            return sum(8 * chunk.nbytes / rate_bps + wait.chunk_s for chunk in chunks)

        left_s = goal.asked_s + goal.deadline_s - time.monotonic() - wait.overhead_s
        spare_s = left_s - takes_s(set(manifest.chunks_of(target)) - have)
        spare_nbytes = max(0, int(min(spare_s * rate_bps / 8, 2.0**62)))
        path = upgrade_path(manifest, have, target, spare_nbytes=spare_nbytes)
        if spare_nbytes and takes_s(arrival(manifest, have, path)) > left_s:
            path = upgrade_path(manifest, have, target, spare_nbytes=0)
        return path

    def _begin_building(self, path: tuple[Configuration, ...]) -> bool:
        """Have the network built while its weights arrive; True where its architecture comes along with them."""
        described = self._manifest.architecture
        if not self._running.wants_architecture:
            return False
        if not described.file:
            self._running.build(None)
            return False
        if self._host.streams and self._fetcher.architecture_nbytes and not self._running.arrived.has(path[0]):
            return True
        self._running.build(bytes(self._fetcher.file(described.file, described.nbytes, described.sha256)))
        return False

    def _pass(self, path: tuple[Configuration, ...], position: int) -> int:
        """Run the configurations of `path` from `position` on that are here; returns that of the next."""
        furthest = None
        while position < len(path) and self._running.arrived.has(path[position]):
            furthest = path[position]
            position += 1
        if furthest is not None:
            with self._running.lock:
                if self._status.stop.is_set():
                    raise Stopped
                self.run(furthest, path[position:], "usable")
        return position
