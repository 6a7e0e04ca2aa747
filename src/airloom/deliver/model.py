"""A model that runs from its first chunk on, and gets better while it runs.

    with airloom.ProgressiveModel.open("https://host/models/resnet56", key="publisher.pub", deadline_s=0.2) as model:
        model.wait_ready()
        y = model(x)                 # in the configuration that is there now
        model.upgrade(accuracy=0.9)  # Step 4: only what is missing travels
        model.shrink(9)              # battery: fewer blocks, at once

The first and last layers come first, so that a part of the network answers before the whole is there (Accordion,
"Practical Implementation", Steps 1 to 6). Nothing here needs torch until a network runs; ensembles never do.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.arrived import Arrived
from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.events import EventKind, FetchEvent
from airloom.deliver.client.fetcher import Fetcher, Stopped
from airloom.deliver.client.host import Host
from airloom.deliver.client.leases import Lease
from airloom.deliver.client.opening import opened
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.trust import Trusted
from airloom.deliver.goal import Goal, chosen, here, smallest
from airloom.deliver.runner import Moved, Runner, make_runner
from airloom.errors import AirloomError, ConfigError, DeliveryError
from airloom.planner.delivery import upgrade_path

#: Between two chunks, while something runs.
_BREATH_S = 2e-4
#: So many events are remembered.
_HISTORY = 1000


class ProgressiveModel:
    """Callable as the network itself; see `open`. All methods may be called from any thread.

    Attributes:
        manifest: what there is to fetch, verified.
    """

    def __init__(
        self, host: Host, trusted: Trusted, cache: Cache | None, options: FetchOptions, goal: Goal, *, began_s: float,
        on_event: Callable[[FetchEvent], None] | None = None, rng: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        """For `open`, which finds all of these."""
        self.manifest: Manifest = trusted.manifest
        self._host, self._cache, self._digest = host, cache, trusted.digest
        self._on_event, self._began_s = on_event, began_s
        self._stop = threading.Event()
        backoff = Backoff(rng or np.random.default_rng())
        self._fetcher = Fetcher(
            host, trusted.manifest, trusted.digest, cache, options, backoff,
            stop=self._stop, arrived=lambda _: self._tell("bytes"), broke=lambda line: self._tell("retry", text=line),
        )  # fmt: skip
        # What callers see changes under `_changed`; what is prepared, under `_preparing`.
        self._changed, self._preparing = threading.Condition(), threading.RLock()
        self._arrived = Arrived(trusted.manifest)
        self._runner: Runner | None = None
        self._building: Future[Runner] | None = None
        self._call: Callable[..., Any] | None = None
        self._configuration: Configuration | None = None
        self._fault: Exception | None = None
        self._history: deque[FetchEvent] = deque(maxlen=_HISTORY)
        self._needed_nbytes = self._cached_nbytes = 0
        self._over = False
        self._goal: Goal | None = goal
        self._round = 1  # of goals: what the worker does for an older one is of no interest any more
        self._target = self._aim(goal)
        self._lease: Lease | None = None if cache is None else cache.lease()
        self._tell("manifest", text=trusted.note)
        self._worker = threading.Thread(target=self._work, name=f"fetch-{self.manifest.model}", daemon=True)
        self._worker.start()

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        key: str | Path | None = None,
        trust_first: bool = False,
        token: str | None = None,
        deadline_s: float | None = None,
        rate_bps: float | None = None,
        depth: int | None = None,
        precision: str | None = None,
        on_event: Callable[[FetchEvent], None] | None = None,
        options: FetchOptions | None = None,
        **limits: float | int | None,
    ) -> Self:
        """Fetch and verify the manifest, then fetch the model in the background.

        Args:
            source: `https://host/path/of/folder`, a model of `airloom serve-model` (`https://host/v1/models/NAME`), or
                a folder.
            key: the publisher's public key: its file, or the key itself.
            trust_first: take the key that comes with the model the first time, and only that key ever after.
            token: what the host asks for as `Authorization: Bearer`.
            deadline_s, rate_bps: the configuration to aim at is all there `deadline_s` from now, over a link of
                `rate_bps` bit/s; without a rate the server's estimate is taken, or what is measured.
            depth, precision: which configuration to aim at, where you know it.
            on_event: called with everything that happens, mostly from the background thread; what it raises ends the
                fetch as a fault.
            limits: `accuracy`, `max_nbytes`, `max_macs`, `max_latency_s`, and all else of `planner.delivery.Demand`
                (Steps 1 and 2). Without any, the best configuration.

        Raises:
            UserError: no such model, no key, another key than before, no configuration that fits.
            DeliveryError: the host cannot be reached, or the signature is not the key's.
        """
        began_s = time.monotonic()
        options = options or FetchOptions()
        goal = Goal(
            deadline_s=deadline_s, rate_bps=rate_bps, depth=depth, precision=precision, limits=limits, asked_s=began_s
        )
        host, trusted, cache = opened(source, options, key=key, trust_first=trust_first, token=token)
        try:
            return cls(host, trusted, cache, options, goal, began_s=began_s, on_event=on_event)
        except BaseException:
            host.close()
            raise

    def __call__(self, *inputs: Any) -> Any:
        """The network's result in the configuration that is there now.

        Raises:
            DeliveryError: nothing is there yet (`wait_ready` waits), or the model is closed.
        """
        while True:
            call = self._call
            if call is None:
                raise DeliveryError(
                    f"{self.manifest.model} is closed"
                    if self._over
                    else f"{self.manifest.model}: nothing has arrived that could run; wait_ready() waits for it"
                )
            try:
                return call(*inputs)
            except Moved:
                continue

    # --- what there is ------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration | None:
        """What calls run in now; None before the first is there."""
        return self._configuration

    @property
    def target(self) -> Configuration:
        """What is aimed at; while the link's rate is not known yet, the first configuration."""
        return self._target

    @property
    def fault(self) -> Exception | None:
        """Why fetching ended before the target, or None."""
        return self._fault

    @property
    def history(self) -> tuple[FetchEvent, ...]:
        """What happened, `bytes` left out, in order; the last 1000."""
        return tuple(self._history)

    @property
    def fetched_nbytes(self) -> int:
        """What came over the link, the manifest apart."""
        return self._fetcher.fetched_nbytes

    @property
    def rate_bps(self) -> float | None:
        """How fast the link was, bit/s; None before enough has come to tell."""
        return self._host.rate_bps

    @property
    def done(self) -> bool:
        """Whether nothing is being fetched: the target is there, or a fault ended it."""
        return self._goal is None

    def available(self) -> tuple[Configuration, ...]:
        """The configurations that `shrink` and `upgrade` reach without the network."""
        held = self._fetcher.held()
        with self._preparing:
            return tuple(c for c in self.manifest.configurations if self._is_here(c, held))

    def _is_here(self, configuration: Configuration, held: frozenset[int]) -> bool:
        needs = self.manifest.chunks_of(configuration)
        return held.union(self._arrived.loaded((configuration,))).issuperset(needs)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Weights and buffers of what runs now, by the names of the network's state dict; not to be written to.

        Raises:
            DeliveryError: nothing runs yet.
        """
        with self._preparing:
            runner, configuration = self._running_now()
            return runner.weights(configuration.depth, self._arrived.arrays(configuration))

    def captured(self) -> Any:
        """What runs now as a captured model (`nn.captured.Captured`): to be profiled, planned, split or sent.

        Raises:
            DeliveryError: nothing runs yet.
            ConfigError: it is an ensemble.
        """
        with self._preparing:
            runner, configuration = self._running_now()
            return runner.captured(configuration.depth)

    def _running_now(self) -> tuple[Runner, Configuration]:
        if self._runner is None or self._configuration is None:
            raise DeliveryError(f"{self.manifest.model}: nothing runs yet")
        return self._runner, self._configuration

    def arrived_weights(self, depth: int, precision: str) -> dict[str, NDArray[Any]]:
        """Copies of the weights that have arrived of a network of `depth` in `precision`, by name.

        For whoever runs a part of the network before all of it is here; empty before its statistics are.
        """
        with self._preparing:
            return {name: array.copy() for name, array in self._arrived.weights(depth, precision).items()}

    # --- waiting ------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the first configuration, and return the one that is there.

        Raises:
            AirloomError: the fault, where none will come; DeliveryError where none came in time.
        """
        return self._wait(lambda: self._configuration is not None, timeout_s)

    def wait(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the target; returns what runs then.

        Raises:
            AirloomError: the fault that ended the fetch, or DeliveryError where the target did not come in time; the
                last good configuration goes on running.
        """
        return self._wait(lambda: self._goal is None and self._fault is None, timeout_s)

    def settled(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being fetched any more, the target reached or not; False where that is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._goal is None or self._over, timeout_s)

    def _wait(self, reached: Callable[[], bool], timeout_s: float | None) -> Configuration:
        with self._changed:
            self._changed.wait_for(lambda: reached() or self._over or self._fault is not None, timeout_s)
            if self._over:
                raise DeliveryError(f"{self.manifest.model} is closed")
            if reached() and self._configuration is not None:
                return self._configuration
            if self._fault is not None:
                raise self._fault
            runs = "nothing runs" if self._configuration is None else f"{self._configuration.name} runs"
            raise DeliveryError(
                f"{self.manifest.model}: {self._target.name} was not there within {timeout_s} s; {runs}"
            )

    # --- asking for more or less --------------------------------------------------------------

    def upgrade(
        self,
        *,
        deadline_s: float | None = None,
        rate_bps: float | None = None,
        depth: int | None = None,
        precision: str | None = None,
        **limits: float | int | None,
    ) -> Configuration:
        """Aim at another configuration (Steps 4 to 6) and fetch what is missing in the background.

        What is asked for is as of `open`; a target that needs less than runs now is no upgrade, but is aimed at all
        the same.

        Returns:
            the new target.

        Raises:
            UserError: no configuration will do; what was aimed at stays.
        """
        goal = Goal(
            deadline_s=deadline_s, rate_bps=rate_bps, depth=depth, precision=precision, limits=limits,
            asked_s=time.monotonic(),
        )  # fmt: skip
        target = self._aim(goal)
        with self._changed:
            if self._over:
                raise DeliveryError(f"{self.manifest.model} is closed")
            self._goal, self._target, self._fault = goal, target, None
            self._round += 1
            self._stop.set()
            self._changed.notify_all()
        return target

    def shrink(self, depth: int, precision: str | None = None) -> Configuration:
        """Run with at most `depth` blocks from the next call on, without the network; stops what is being fetched.

        Takes the deepest configuration up to `depth` whose chunks are here or in the cache: what was passed on the way
        is. Weights of deeper ones stay in memory, and `upgrade` goes back to them at once.

        Args:
            precision: None keeps the one that runs.

        Returns:
            what runs now.

        Raises:
            ConfigError: there is none; nothing has changed then.
        """
        with self._preparing:
            if self._runner is None:
                raise ConfigError(f"{self.manifest.model}: nothing runs yet that could be smaller")
            wanted = precision or (self._configuration.precision if self._configuration else None)
            held = self._fetcher.held()
            rows = [
                c
                for c in self.manifest.configurations
                if c.depth <= depth and wanted in (None, c.precision) and self._is_here(c, held)
            ]
            if not rows:
                raise ConfigError(
                    f"{self.manifest.model}: no configuration of at most {depth} blocks in {wanted or 'any precision'} "
                    f"is here: there are {', '.join(c.name for c in self.available()) or 'none'}"
                )
            row = max(rows, key=lambda c: (c.depth, c.nbytes))
            for index in self.manifest.chunks_of(row):
                if index not in self._arrived.loaded((row,)):
                    chunk = self.manifest.chunks[index]
                    data = None if self._cache is None else self._cache.read(chunk.sha256, chunk.nbytes)
                    if data is None:
                        raise DeliveryError(f"{chunk.file} is damaged in the cache: upgrade() fetches it again")
                    self._arrived.add(index, data)
            with self._changed:
                # The worker lets go of what it does between two pieces.
                self._goal, self._target, self._round = None, row, self._round + 1
                self._stop.set()
            self._run(row, (), "shrunk")
        return row

    # --- the background -----------------------------------------------------------------------

    def _aim(self, goal: Goal) -> Configuration:
        """The target of a goal, as far as it is known now."""
        have = self._fetcher.held()
        found = chosen(
            goal, self.manifest, self._digest, self._host, have, now_s=time.monotonic(), rate_bps=self._host.rate_bps
        )
        return found or smallest(goal.among(self.manifest))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._goal is not None)
                if self._over:
                    return
                goal, number, target = self._goal, self._round, self._target
                assert goal is not None  # waited for
                self._stop.clear()
            try:
                self._reach(goal, target)
            except Stopped:
                continue
            except Exception as error:  # whatever it is: callers of a model that runs must see why it stays as it is
                self._failed(error, number)
            else:
                self._ended(number)

    def _reach(self, goal: Goal, target: Configuration) -> None:
        """Bring `target`, and where the rate had to be measured first, what it turns out to allow."""
        host = self._host
        if host.offline and self._call is None:
            # What is here runs, before what is not is asked for in vain.
            first = here(goal, self.manifest, self._fetcher.held())
            if first is not None and first != target:
                self._bring(first, goal)
        measures = goal.needs_rate and not host.streams and not host.offline and host.rate_bps is None
        self._bring(target, goal)
        if not measures:
            return
        rows = goal.among(self.manifest)
        for step in upgrade_path(rows, (), max(rows.configurations, key=lambda c: c.nbytes)):
            late = goal.deadline_s is not None and time.monotonic() > goal.asked_s + goal.deadline_s
            if late or self._host.rate_bps is not None:
                break
            if not self._arrived.has(step):
                self._target = step
                self._bring(step, goal)
        found = self._after_measuring(goal)
        if found is not None and found != self._target:
            self._target = found
            self._bring(found, goal)

    def _after_measuring(self, goal: Goal) -> Configuration | None:
        """What the rest of the deadline allows, now that some bytes have come; None where it allows no more."""
        have = self._fetcher.held() | self._arrived.loaded(self.manifest.configurations)
        with contextlib.suppress(AirloomError):  # too late for anything better: what came is what there is
            return chosen(
                goal, self.manifest, self._digest, self._host, have, now_s=time.monotonic(),
                rate_bps=self._host.rate_bps,
            )  # fmt: skip
        return None

    def _bring(self, target: Configuration, goal: Goal) -> None:
        """Fetch and run everything up to `target`."""
        manifest = self.manifest
        with self._preparing:
            have = self._fetcher.held() | self._arrived.loaded((target,))
            path = upgrade_path(manifest, have, target, spare_nbytes=self._spare_nbytes(target, goal, have))
            loaded = self._arrived.loaded(path)
        needs = {k for configuration in path for k in manifest.chunks_of(configuration)}
        if self._cache is not None and self._lease is not None:
            kept = {manifest.chunks[k].sha256: manifest.chunks[k].nbytes for k in needs}
            if manifest.architecture.file:
                kept[manifest.architecture.sha256] = manifest.architecture.nbytes
            self._cache.reserve(self._lease, kept)
        held = self._fetcher.held() | loaded
        self._needed_nbytes = sum(manifest.chunks[k].nbytes for k in needs - held)
        self._cached_nbytes = sum(manifest.chunks[k].nbytes for k in needs & held)
        self._tell("target", configuration=target)
        self._begin_building()
        position = self._pass(path, 0)
        for index, data in self._fetcher.bring(loaded, path):
            with self._preparing:
                self._arrived.add(index, data)
            del data
            position = self._pass(path, position)
            if self._call is not None and position < len(path):
                # Calls that go on meanwhile get the interpreter back: what is decoded in between takes little of it.
                time.sleep(_BREATH_S)

    def _spare_nbytes(self, target: Configuration, goal: Goal, have: frozenset[int]) -> int | None:
        """Bytes that the deadline leaves besides those of the target; None without one."""
        rate_bps = goal.rate_bps or self._host.rate_bps
        if goal.deadline_s is None or rate_bps is None:
            return None
        left_s = goal.asked_s + goal.deadline_s - time.monotonic()
        return max(0, int(min(left_s * rate_bps / 8, 2.0**62)) - self.manifest.nbytes_of(target, have))

    def _pass(self, path: tuple[Configuration, ...], position: int) -> int:
        """Run the configurations of `path` from `position` on that are here; returns that of the next."""
        furthest = None
        while position < len(path) and self._arrived.has(path[position]):
            furthest = path[position]
            position += 1
        if furthest is not None:
            with self._preparing:
                if self._stop.is_set():
                    raise Stopped
                self._run(furthest, path[position:], "usable")
        return position

    def _begin_building(self) -> None:
        """Have the network built while its weights arrive."""
        if self._runner is None and self._building is None:
            described = self.manifest.architecture
            data = None
            if described.file:
                data = bytes(self._fetcher.file(described.file, described.nbytes, described.sha256))
            builder = ThreadPoolExecutor(1, thread_name_prefix=f"build-{self.manifest.model}")
            self._building = builder.submit(make_runner, self.manifest, data)
            builder.shutdown(wait=False)

    def _built(self) -> Runner:
        if self._runner is None:
            assert self._building is not None  # nothing has arrived before it was begun
            building, self._building = self._building, None
            self._runner = building.result()
        return self._runner

    def _run(self, configuration: Configuration, path: tuple[Configuration, ...], kind: EventKind) -> None:
        """Have calls run `configuration`: prepared beside what runs, then one assignment."""
        runner = self._built()
        call = runner.prepare(configuration.depth, self._arrived.arrays(configuration))
        if self._over:
            raise Stopped
        self._call = call
        with self._changed:
            self._configuration = configuration
            self._changed.notify_all()
        self._tell(kind, configuration=configuration)
        runner.settle()
        self._arrived.trim(configuration, path)

    def _ended(self, number: int) -> None:
        with self._changed:
            if number != self._round:
                return
            self._goal = None
            self._changed.notify_all()
        self._tell("done", configuration=self._configuration)

    def _failed(self, error: Exception, number: int) -> None:
        with self._changed:
            if number != self._round or self._over:
                return
            self._goal, self._fault = None, error
            self._changed.notify_all()
        with contextlib.suppress(Exception):  # the callback's own fault is the one that is kept
            self._tell("fault", text=str(error) or type(error).__name__)

    def _tell(self, kind: EventKind, *, configuration: Configuration | None = None, text: str = "") -> None:
        event = FetchEvent(
            kind=kind, at_s=time.monotonic() - self._began_s, fetched_nbytes=self._fetcher.fetched_nbytes,
            configuration=configuration or self._configuration, text=text, cached_nbytes=self._cached_nbytes,
            needed_nbytes=self._needed_nbytes,
        )  # fmt: skip
        if kind != "bytes":
            self._history.append(event)
        if self._on_event is not None:
            self._on_event(event)

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop fetching and let go of the weights; what has arrived stays in the cache."""
        with self._changed:
            self._over = True
            self._stop.set()
            self._changed.notify_all()
        self._host.abort()
        if self._worker is not threading.current_thread():
            self._worker.join()
        self._call = self._runner = None
        self._arrived = Arrived(self.manifest)
        self._host.close()
        if self._lease is not None:
            self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fetch_model(source: str | Path, **arguments: Any) -> ProgressiveModel:
    """`ProgressiveModel.open`, then wait until the configuration that it aims at is there."""
    model = ProgressiveModel.open(source, **arguments)
    try:
        model.wait()
    except BaseException:
        model.close()
        raise
    return model
