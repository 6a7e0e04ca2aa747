"""What has arrived of a model and runs: prepared beside what runs, swapped between two calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.arrived import Arrived
from airloom.deliver.runner import Moved, Runner
from airloom.deliver.runners import make_runner
from airloom.errors import ConfigError, DeliveryError


class Running:
    """One model's arrays and its runner.

    Attributes:
        lock: held by whoever changes what is here.
        arrived: what is here, decoded.
        configuration: what runs; None before the first.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, self.lock = manifest, threading.RLock()
        self.arrived = Arrived(manifest)
        self.configuration: Configuration | None = None
        self.runner: Runner | None = None
        self._building: Future[Runner] | None = None
        self._call: Callable[..., Any] | None = None
        self._over = False

    @property
    def ready(self) -> bool:
        """Whether something can be called."""
        return self._call is not None

    def call(self, inputs: tuple[Any, ...]) -> Any:
        """The result of what runs now.

        Raises:
            DeliveryError: nothing does.
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

    # --- changes ------------------------------------------------------------------------------

    @property
    def wants_architecture(self) -> bool:
        """Whether `build` is yet to be called."""
        return self.runner is None and self._building is None

    def build(self, architecture: bytes | None) -> None:
        """Have the runner made while weights arrive, of the verified bytes of the architecture's file."""
        builder = ThreadPoolExecutor(1, thread_name_prefix=f"build-{self.manifest.model}")
        self._building = builder.submit(make_runner, self.manifest, architecture)
        builder.shutdown(wait=False)

    def _built(self) -> Runner:
        if self.runner is None:
            assert self._building is not None  # nothing has arrived before it was begun
            building, self._building = self._building, None
            self.runner = building.result()
        return self.runner

    def add(self, index: int, data: bytearray) -> None:
        """A chunk came, verified; as `Arrived.add`."""
        with self.lock:
            self.arrived.add(index, data)

    def run(self, configuration: Configuration, path: tuple[Configuration, ...], swapped: Callable[[], None]) -> None:
        """Have calls run `configuration`, which is here.

        Args:
            path: what is on its way.
            swapped: called as soon as calls do.
        """
        with self.lock:
            runner = self._built()
            call = runner.prepare(configuration.depth, self.arrived.arrays(configuration))
            if self._over:
                return
            self._call, self.configuration = call, configuration
            try:
                swapped()
            finally:
                runner.settle()
                self.arrived.trim(configuration, path)

    def close(self) -> None:
        """Let go of the weights."""
        self._over = True
        with self.lock:
            self._call = self.runner = None
            self.arrived = Arrived(self.manifest)

    # --- what is here -------------------------------------------------------------------------

    def is_here(self, configuration: Configuration, held: frozenset[int]) -> bool:
        """Whether it runs without the network, where the chunks `held` are in the cache."""
        loaded = self.arrived.loaded((configuration,))
        return held.union(loaded).issuperset(self.manifest.chunks_of(configuration))

    def at_most(self, depth: int, precision: str, held: frozenset[int]) -> Configuration:
        """The deepest of at most `depth` blocks in `precision` that is here; as `is_here`.

        Raises:
            ConfigError: there is none.
        """
        here = [c for c in self.manifest.configurations if self.is_here(c, held)]
        rows = [c for c in here if c.depth <= depth and c.precision == precision]
        if not rows:
            raise ConfigError(
                f"{self.manifest.model}: no configuration of at most {depth} blocks in {precision} is here: there are "
                f"{', '.join(c.name for c in here) or 'none'}"
            )
        return max(rows, key=lambda c: (c.depth, c.nbytes))

    def weights(self) -> dict[str, NDArray[Any]]:
        """As `ProgressiveModel.weights`."""
        with self.lock:
            runner, configuration = self._now()
            return runner.weights(configuration.depth, self.arrived.arrays(configuration))

    def captured(self) -> Any:
        """As `ProgressiveModel.captured`."""
        with self.lock:
            runner, configuration = self._now()
            return runner.captured(configuration.depth)

    def _now(self) -> tuple[Runner, Configuration]:
        if self.runner is None or self.configuration is None:
            raise DeliveryError(f"{self.manifest.model}: nothing runs yet")
        return self.runner, self.configuration

    def arrived_weights(self, depth: int, precision: str) -> dict[str, NDArray[Any]]:
        """As `ProgressiveModel.arrived_weights`."""
        with self.lock:
            return {name: array.copy() for name, array in self.arrived.weights(depth, precision).items()}
