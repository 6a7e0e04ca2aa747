"""A deployed model that a program calls: `y = net(x)`.

The source host lives in the calling process, on a thread with its own event loop, so that a request
takes no extra hop. The other hosts are child processes of this machine, or run elsewhere
(`airloom node`) and are joined with their certificates.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.core.trace import Event
from airloom.deployment.book import Book, Request, Stats
from airloom.deployment.children import command_line, make_certs, write_inputs
from airloom.deployment.commander import Commander
from airloom.deployment.hosts import Hosts
from airloom.deployment.loop import LoopThread
from airloom.deployment.setup import DeployOptions, Setup
from airloom.deployment.tensors import parcel_of, value_of
from airloom.engine.events import Finish, TrainingOutcome
from airloom.errors import ConfigError, DeploymentError
from airloom.runtime.certs import host_certs
from airloom.runtime.commands import Ack, HostStatus, LinksChanged, Pin, SetFactor
from airloom.runtime.launch import Launcher, NodeCommand
from airloom.runtime.motion import Motion
from airloom.runtime.places import with_local_addresses

if TYPE_CHECKING:
    from airloom.nn.captured import Captured


class Deployment:
    """A running deployment; use it in a `with` block, or `close()` it.

    Args:
        captured: the model; every host runs the same operators with the same weights.
        topology: its source is this process.
        profiles: by device id; the one under "" is for all others.
        plan: pinned on every host; None lets each host follow its own table.
        progress: hears one line for each step that takes a while.

    Attributes:
        notes: what of this deployment stands for something else, a line each.
        plan: the one that is pinned.
        motion: the clock that all its times are of.
        folder: where traces and logs are.

    Raises:
        UserError: what was given does not fit together.
        DeploymentError: hosts did not come up.
    """

    def __init__(
        self,
        captured: Captured,
        topology: Topology,
        profiles: Mapping[str, Profile] | Profile,
        *,
        plan: Plan | None = None,
        options: DeployOptions | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.options = options = options or DeployOptions()
        self.captured, self.graph = captured, captured.graph
        self.topology = with_local_addresses(topology) if options.launch else topology
        self.source = topology.source
        by_device = {"": profiles} if isinstance(profiles, Profile) else dict(profiles)
        self._setup = setup = Setup(captured, self.topology, by_device, options)
        if plan is not None:
            setup.check_plan(plan)
        self.notes = setup.notes()
        self.motion = Motion(options.slow_motion)
        self.plan: Plan | None = None
        self._epoch = 0
        self._pinning = threading.Lock()
        self._book = Book(options.in_flight, partial(value_of, captured), self._withdraw, self.motion.now_s)
        # What is put on the stack is taken down in the opposite order, also where a later step fails.
        with contextlib.ExitStack() as stack:
            self._temporary = tempfile.TemporaryDirectory(prefix="airloom-")
            stack.callback(self._temporary.cleanup)
            stack.callback(self._book.cancel_all)
            work = Path(self._temporary.name)
            self.folder = Path(options.folder or work)
            self._certs = Path(options.certs or work / "certs")
            if options.certs is None:
                make_certs(setup, self._certs)
            if options.launch:
                write_inputs(setup, work)
            own_certs = host_certs(self._certs, self.source)
            self._commander = Commander(self.topology, own_certs)
            stack.callback(self._commander.close)
            self._loop = LoopThread("airloom")
            stack.callback(self._loop.close)
            self._hosts = Hosts(
                setup,
                own_certs,
                self.folder,
                partial(self._command_line, work=work),
                on_finish=self._finish,
                on_peer=self._on_peer,
                on_training=self._on_training,
                progress=progress or (lambda line: None),
            )
            stack.callback(lambda: self._loop.wait(self._hosts.close()))
            self._loop.wait(self._hosts.start())
            if plan is not None:
                self.pin(plan)
            self._running = stack.pop_all()

    def close(self) -> None:
        """End requests as `Cancelled`, then every process that was started. Safe to call twice."""
        if self._book.close():
            self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- asking -------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any) -> Any:
        """What the model returns for `inputs` (torch tensors or numpy arrays), as torch tensors.

        Raises:
            RequestError: the request's one error, by its deadline.
        """
        return self.submit(*inputs).result()

    def submit(self, *inputs: Any, deadline_s: float | None = None, block: bool = True) -> Request:
        """Begin an inference; returns as soon as there is room for it.

        Args:
            deadline_s: seconds from now by which it ends, one way or another.
            block: wait for room where `in_flight` requests are under way.

        Raises:
            Overloaded: there is no room, and `block` is False.
            ConfigError: the inputs are not those the model was captured with.
        """
        parcel = parcel_of(self.graph, inputs)
        deadline_s = self.options.deadline_s if deadline_s is None else deadline_s
        if not deadline_s > 0:
            raise ConfigError(f"a deadline lies ahead, got {deadline_s!r} s")
        request = self._book.open(block=block)
        self._loop.soon(self._hosts.node.submit, request.number, parcel, request.began + deadline_s, deadline_s)
        return request

    def _withdraw(self, number: int) -> None:
        def cancel() -> None:
            if number in self._book:
                self._hosts.node.cancel(number)

        self._loop.soon(cancel)

    def _finish(self, finish: Finish) -> None:
        self._book.end(finish.request, finish.outcome, finish.missing, finish.predicted_accuracy)

    def _on_training(self, outcome: TrainingOutcome) -> None:
        """Only a deployment that trains asks for any; see `deployment.training`."""

    # --- watching -----------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What came of the requests so far, and how the hosts are."""
        return self._book.stats(self.status())

    def status(self) -> dict[str, HostStatus | None]:
        """Every host's status, asked one after the other; None where a host does not answer."""
        found: dict[str, HostStatus | None] = {self.source: self._loop.call(self._hosts.node.status)}
        for host in self._setup.others:
            found[host] = self._commander.status(host) if host in self.up else None
        return found

    def trace(self) -> list[Event]:
        """Everything that hosts of this machine have written down so far, in order of time."""
        from airloom.report.trace import read_trace

        return list(read_trace(self.trace_folder))

    @property
    def trace_folder(self) -> Path:
        """One `HOST.jsonl` for every host of this machine, and one of the emulated network."""
        return self.folder / "traces"

    @property
    def up(self) -> frozenset[str]:
        """The other hosts that the source can reach."""
        return self._hosts.node.control.up

    def wait_for(self, host: str, *, up: bool = True, timeout_s: float = 20.0) -> None:
        """Until the source sees `host` up (or down)."""
        until = time.monotonic() + timeout_s
        while (host in self.up) != up:
            if time.monotonic() > until:
                raise DeploymentError(f"{host} was not {'up' if up else 'down'} within {timeout_s:g} s")
            time.sleep(0.01)

    # --- changing the plan --------------------------------------------------------------------------

    def pin(self, plan: Plan | None) -> None:
        """Have every host follow `plan`; None returns to their own tables.

        Raises:
            UserError: the hosts could not follow it; the line names the place in the plan.
            DeploymentError: a host did not take it.
        """
        if plan is not None:
            self._setup.check_plan(plan)
        with self._pinning:
            self._epoch += 1
            self.plan = None if plan is None else msgspec.structs.replace(plan, epoch=self._epoch)
        # Others first: what the source sends by the new plan must find it there.
        asked = {host: self._pin_on(host) for host in self._setup.others if host in self.up}
        acks = {host: ack.result() for host, ack in asked.items()}
        failed = [f"{host} did not take the plan: {ack.error}" for host, ack in acks.items() if not ack.ok]
        if failed and plan is not None:
            raise DeploymentError("; ".join(failed))
        self._loop.call(self._hosts.node.pin, self.plan)

    def _pin_on(self, host: str) -> Future[Ack]:
        # Under the lock, so that no host gets an older plan after a newer one.
        with self._pinning:
            return self._commander.command(host, Pin(plan=self.plan))

    def _on_peer(self, peer: str, up: bool) -> None:
        # A host that comes back does not know the plan.
        if up and self.plan is not None and not self._book.closed:
            self._pin_on(peer)

    # --- changing the hosts and links of this machine -------------------------------------------------

    def kill(self, host: str) -> None:
        """End the process of `host` at once, as a crash would."""
        self._loop.wait(self._launcher.kill(host))

    def revive(self, host: str) -> None:
        """Start a killed host again; returns once the source can reach it."""
        self._loop.wait(self._launcher.revive(host))
        self.wait_for(host)

    def pid(self, host: str) -> int:
        """Of the process of a host launched here."""
        return os.getpid() if host == self.source else self._launcher.pid(host)

    def set_link(
        self,
        src: str,
        dst: str,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        loss: float | None = None,
        up: bool | None = None,
        snr_db: float | None = None,
    ) -> None:
        """Change an emulated link from now on; None leaves a figure as it is. `snr_db` is of a link with a radio."""
        change = self._launcher.set_link(src, dst, rate_bps=rate_bps, delay_s=delay_s, loss=loss, up=up, snr_db=snr_db)
        self._loop.wait(change)

    def apply(self, conditions: Conditions) -> None:
        """Bring about `conditions` in the emulated network: links, loads, hosts that come and go."""
        launcher = self._launcher
        self._loop.wait(launcher.apply_links(conditions))
        for state in conditions.devices:
            alive = state.id == self.source or state.id in launcher.running
            if alive and not state.up:
                self.kill(state.id)
            elif not alive and state.up:
                self.revive(state.id)
            if state.up:
                self.set_factor(state.id, self.topology.device(state.id).factor * (1.0 + state.load))

    def stream(self, name: str) -> str:
        """`ip:port` at which the source calls a service of `DeployOptions.streams` over the emulated links."""
        return self._launcher.stream(name)

    def use_weights(self, state: Mapping[str, Any]) -> None:
        """Have the source run with these weights from its next stage on; others keep theirs.

        What `state` lacks stays as it is. Only for a source that runs stages as they are: not with a tolerance profile.
        """
        self._hosts.use_weights(state)

    def rewind(self) -> None:
        """The rate traces of emulated links begin again now."""
        self._loop.wait(self._launcher.rewind())

    def tell_of_links(self, states: Sequence[LinkState]) -> None:
        """Tell every host which links came up or went down, as the control plane of a radio does in a handover."""
        asked = [self._commander.command(host, LinksChanged(links=tuple(states))) for host in sorted(self.up)]
        self._loop.call(self._hosts.node.links_changed, states)
        for ack in asked:
            if (answer := ack.result()) and not answer.ok:
                raise DeploymentError(answer.error)

    def set_factor(self, host: str, factor: float) -> None:
        """Emulate that `host` computes `factor` times slower than this machine."""
        if host == self.source:
            self._loop.call(self._hosts.node.compute.set_factor, factor)
            return
        ack = self._commander.command(host, SetFactor(factor=factor)).result()
        if not ack.ok:
            raise DeploymentError(f"{host}: {ack.error}")

    @property
    def _launcher(self) -> Launcher:
        return self._hosts.launcher

    def _command_line(self, node: NodeCommand, work: Path) -> list[str]:
        return command_line(self._setup, node, work=work, certs=self._certs, traces=self.trace_folder)
