"""The hosts of a deployment as one: the source in this process, the others launched or joined, the emulated network.

Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.core.trace import Event
from airloom.deployment.setup import Setup
from airloom.engine.events import Finish, TrainingOutcome
from airloom.errors import ConfigError, DeploymentError
from airloom.runtime.certs import HostCerts
from airloom.runtime.launch import Emulation, Launcher, NodeCommand
from airloom.runtime.motion import Motion
from airloom.runtime.node import Node, NodeOptions
from airloom.runtime.places import parse_address
from airloom.runtime.tracefile import TraceWriter

if TYPE_CHECKING:
    from airloom.nn.coded_executor import CodedExecutor
    from airloom.nn.executor import StageExecutor
    from airloom.nn.training import TrainingExecutor

_LAUNCHED_WAIT_S = 30.0
_WAVE_S = 3.0  # by then another wave has come, of the network's own time


class Hosts:
    """Starts and ends the hosts.

    Args:
        certs: the source's.
        folder: for logs, and in `traces/` what the source and the emulated network did.
        command: the command line of a host to launch.
        on_finish: gets the outcome of every request.
        on_training: gets the outcome of everything that was asked for in training.
        on_peer: told of hosts that come within the source's reach or leave it.
        progress: hears one line for each step that takes a while.
    """

    def __init__(
        self,
        setup: Setup,
        certs: HostCerts,
        folder: Path,
        command: Callable[[NodeCommand], list[str]],
        *,
        on_finish: Callable[[Finish], None],
        on_peer: Callable[[str, bool], None],
        on_training: Callable[[TrainingOutcome], None],
        progress: Callable[[str], None],
    ) -> None:
        self._setup, self._certs, self._folder, self._command = setup, certs, folder, command
        self._on_finish, self._on_peer, self._progress = on_finish, on_peer, progress
        self._on_training = on_training
        self._node: Node | None = None
        self._launcher: Launcher | None = None
        self._executor: StageExecutor | CodedExecutor | TrainingExecutor | None = None
        self._network_trace: TraceWriter | None = None

    @property
    def node(self) -> Node:
        """The source, once it was started."""
        assert self._node is not None
        return self._node

    @property
    def launcher(self) -> Launcher:
        """Of the other hosts; ConfigError where they run elsewhere."""
        if self._launcher is None:
            raise ConfigError("these hosts were not started here: change them where they run")
        return self._launcher

    async def start(self) -> None:
        """Until all hosts are up and the split cost wave has come through: launched hosts must, others may.

        Raises:
            DeploymentError: hosts did not come up.
        """
        setup, options = self._setup, self._setup.options
        executor = self._executor = await asyncio.to_thread(self._make_executor)
        routes: dict[str, str] = {}
        if options.launch:
            await self._launch()
            routes = self.launcher.routes(setup.source)
        self._node = Node(
            setup.source_config(),
            self._certs,
            executor,
            NodeOptions(
                transport=options.transport,
                routes={peer: parse_address(address) for peer, address in routes.items()},
                factor=setup.factor(setup.source),
                trace=self._folder / "traces" / f"{setup.source}.jsonl",
                repair_rounds=options.repair_rounds,
                congestion=options.congestion,
                slow=options.slow_motion,
            ),
            on_finish=self._on_finish,
            on_peer=self._on_peer,
            on_training=self._on_training,
        )
        await self._node.start()
        await self._wait_ready(_LAUNCHED_WAIT_S + _WAVE_S * options.slow_motion if options.launch else options.wait_s)

    def use_weights(self, state: Mapping[str, Any]) -> None:
        """Have the source's executor run with these weights from its next stage on."""
        from airloom.nn.executor import StageExecutor

        if not isinstance(self._executor, StageExecutor):
            raise ConfigError("only a source that runs stages as they are takes other weights")
        self._executor.use_weights(state)

    async def close(self) -> None:
        """End requests under way, then every process that was started."""
        if self._node is not None:
            await self._node.close()
        if self._launcher is not None:
            await self._launcher.close()
        if self._network_trace is not None:
            self._network_trace.close()

    def _make_executor(self) -> StageExecutor | CodedExecutor | TrainingExecutor:
        from airloom.nn.coded_executor import CodedExecutor
        from airloom.nn.executor import StageExecutor

        setup, contract = self._setup, self._setup.options.contract
        if setup.options.training is not None:
            from airloom.nn.training import TrainingExecutor

            return TrainingExecutor(setup.captured, setup.options.training, threads=setup.threads)
        executor = StageExecutor(setup.captured, threads=setup.threads)
        # The source may have to run everything: the first such request should not pay for the warm-up.
        executor.load(0, setup.captured.graph.num_operators)
        if contract is None:
            return executor
        folder = setup.options.tuned_folder
        return CodedExecutor(
            executor, contract, setup.source_config().framing, None if folder is None else Path(folder)
        )

    async def _launch(self) -> None:
        setup, options = self._setup, self._setup.options
        self._progress(f"starting {', '.join(setup.others)}")
        if options.emulate:
            path = self._folder / "traces" / "relay.jsonl"
            self._network_trace = TraceWriter(path, "relay", now_s=Motion(options.slow_motion).now_s())
        self._launcher = Launcher(
            setup.topology,
            setup.others,
            self._command,
            folder=self._folder,
            emulation=Emulation(
                links=options.emulate,
                transport=options.transport,
                seed=options.seed,
                slow=options.slow_motion,
                streams=options.streams,
            ),
            environment={"OMP_NUM_THREADS": str(setup.threads)},
            on_event=self._network_event,
        )
        await self._launcher.start(progress=lambda host: self._progress(f"{host} is ready"))

    def _network_event(self, event: Event) -> None:
        if self._network_trace is not None:
            self._network_trace.write(event)
            self._network_trace.flush()

    async def _wait_ready(self, limit_s: float) -> None:
        others, until = set(self._setup.others), time.monotonic() + limit_s
        while time.monotonic() < until:
            now = self.node.host.snapshot()
            if self.node.control.up >= others and (now.parent is None or now.wave > 0):
                return
            await asyncio.sleep(0.01)
        missing = ", ".join(sorted(others - self.node.control.up))
        if self._setup.options.launch:
            raise DeploymentError(f"{missing or 'the split cost wave'} did not come up within {limit_s:g} s")
        self._progress(f"going on without {missing}" if missing else "no split cost message yet")
