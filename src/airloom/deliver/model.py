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

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.events import FetchEvent
from airloom.deliver.client.fetcher import Fetcher
from airloom.deliver.client.host import Host
from airloom.deliver.client.opening import opened
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.trust import Trusted
from airloom.deliver.goal import Goal
from airloom.deliver.journal import Journal
from airloom.deliver.running import Running
from airloom.deliver.status import Status
from airloom.deliver.worker import Worker, aimed
from airloom.errors import ConfigError, DeliveryError


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
        self._host, self._trusted = host, trusted
        stop = threading.Event()
        self._fetcher = fetcher = Fetcher(
            host, trusted.manifest, trusted.digest, cache, options, Backoff(rng or np.random.default_rng()), stop=stop,
            arrived=lambda _: self._journal.tell("bytes"), broke=lambda line: self._journal.tell("retry", text=line),
        )  # fmt: skip
        self._journal = Journal(began_s, on_event, lambda: fetcher.fetched_nbytes)
        self._running = Running(trusted.manifest)
        self._status = Status(trusted.manifest.model, goal, aimed(goal, trusted, host, fetcher), stop)
        self._worker = Worker(host, trusted, fetcher, cache, self._running, self._status, self._journal)
        self._journal.tell("manifest", text=trusted.note)
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
        return self._running.call(inputs)

    # --- what there is ------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration | None:
        """What calls run in now; None before the first is there."""
        return self._status.configuration

    @property
    def target(self) -> Configuration:
        """What is aimed at; while the link's rate is not known yet, the first configuration."""
        return self._status.target

    @property
    def fault(self) -> Exception | None:
        """Why fetching ended before the target, or None."""
        return self._status.fault

    @property
    def history(self) -> tuple[FetchEvent, ...]:
        """What happened, `bytes` left out, in order; the last 1000."""
        return self._journal.history

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
        return self._status.done

    def available(self) -> tuple[Configuration, ...]:
        """The configurations that `shrink` and `upgrade` reach without the network."""
        held = self._fetcher.held()
        with self._running.lock:
            return tuple(c for c in self.manifest.configurations if self._running.is_here(c, held))

    def weights(self) -> dict[str, NDArray[Any]]:
        """Weights and buffers of what runs now, by the names of the network's state dict; not to be written to.

        Raises:
            DeliveryError: nothing runs yet.
        """
        return self._running.weights()

    def captured(self) -> Any:
        """What runs now as a captured model (`nn.captured.Captured`): to be profiled, planned, split or sent.

        Raises:
            DeliveryError: nothing runs yet.
            ConfigError: it is an ensemble.
        """
        return self._running.captured()

    def arrived_weights(self, depth: int, precision: str) -> dict[str, NDArray[Any]]:
        """Copies of the weights that have arrived of a network of `depth` in `precision`, by name.

        For whoever runs a part of the network before all of it is here; empty before its statistics are.
        """
        return self._running.arrived_weights(depth, precision)

    # --- waiting ------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the first configuration, and return the one that is there.

        Raises:
            AirloomError: the fault, where none will come; DeliveryError where none came in time.
        """
        return self._status.wait_ready(timeout_s)

    def wait(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the target; returns what runs then.

        Raises:
            AirloomError: the fault that ended the fetch, or DeliveryError where the target did not come in time; the
                last good configuration goes on running.
        """
        return self._status.wait(timeout_s)

    def settled(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being fetched any more, the target reached or not; False where that is not in time."""
        return self._status.settled(timeout_s)

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
        target = aimed(goal, self._trusted, self._host, self._fetcher)
        self._status.aim(goal, target)
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
        running = self._running
        with running.lock:
            if running.configuration is None or not running.ready:
                raise ConfigError(f"{self.manifest.model}: nothing runs yet that could be smaller")
            row = running.at_most(depth, precision or running.configuration.precision, self._fetcher.held())
            for index in self.manifest.chunks_of(row):
                if index not in running.arrived.loaded((row,)):
                    data = self._fetcher.cached(index)
                    if data is None:
                        file = self.manifest.chunks[index].file
                        raise DeliveryError(f"{file} is damaged in the cache: upgrade() fetches it again")
                    running.add(index, data)
            self._status.hold(row)
            self._worker.run(row, (), "shrunk")
        return row

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop fetching and let go of the weights; what has arrived stays in the cache."""
        self._status.close()
        self._host.abort()
        self._worker.join()
        self._running.close()
        self._host.close()
        self._worker.release()

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
