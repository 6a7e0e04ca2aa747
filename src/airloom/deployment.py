"""A deployed model that a program calls: `y = net(x)`.

The source host lives in the calling process, on a thread with its own event loop, so that a request
takes no extra hop. The other hosts are child processes of this machine, or run elsewhere
(`airloom node`) and are joined with their certificates.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec
import numpy as np

from airloom.config import dump_topology
from airloom.core.messages import Parcel
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event
from airloom.engine.config import HostConfig
from airloom.engine.events import Finish
from airloom.errors import (
    Cancelled,
    ConfigError,
    DeploymentError,
    Infeasible,
    Overloaded,
    ProfileMismatch,
    RequestError,
)
from airloom.files import write_aside, write_value
from airloom.planner.pricing import profile_of
from airloom.runtime import commands
from airloom.runtime.certs import OPERATOR, host_certs, make_ca, make_host
from airloom.runtime.control import Operator
from airloom.runtime.launch import Emulation, Launcher, NodeCommand
from airloom.runtime.node import Node, NodeOptions
from airloom.runtime.places import parse_address, with_local_addresses
from airloom.runtime.tracefile import TraceWriter

if TYPE_CHECKING:
    from airloom.nn.captured import Captured

T = TypeVar("T")


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy.

    Attributes:
        launch: start the other hosts as processes of this machine; False joins hosts that run elsewhere.
        emulate: act out the topology's links by a relay and slower devices by waiting (with `launch` only).
        certs: folder with this host's certificate; None makes a throw-away authority (with `launch` only).
        in_flight: requests under way at once; more wait, or are refused.
        deadline_s: of a request that names none.
        threads: torch's threads on every host; None takes the profile's.
        folder: where traces and logs go; None keeps them until the deployment ends.
        wait_s: how long to wait for hosts that run elsewhere before going on without them.
        seed: of the emulated links' losses.
    """

    transport: Literal["udp", "tcp"] = "udp"
    launch: bool = True
    emulate: bool = True
    certs: Path | str | None = None
    in_flight: int = 8
    deadline_s: float = 10.0
    threads: int | None = None
    private_operators: int = 0
    result_returns: bool = True
    repair_rounds: int = 2
    congestion: str = "cubic"
    folder: Path | str | None = None
    wait_s: float = 10.0
    seed: int = 0
    pinned_fallback: Literal["self", "table"] = "self"


class Request(Future[Any]):
    """A request under way; `result()` gives what the model returns, or raises the request's one error.

    Attributes:
        number: in the order of submission; the traces' `request`.
        took_s: from submission to the outcome, once there is one.
        missing: share of payload bytes that were zero-filled on the way; above 0 the result was
            computed from incomplete tensors.
    """

    def __init__(self, number: int, withdraw: Callable[[int], None]) -> None:
        super().__init__()
        self.number = number
        self.began = time.monotonic()
        self.took_s: float | None = None
        self.missing = 0.0
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Withdraw the request, wherever it is; it ends as `Cancelled` unless its outcome is nearer."""
        if self.done():
            return False
        self._withdraw(self.number)
        return True


@dataclass
class _Tally:
    """Outcomes so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    incomplete: int = 0
    first_s: float | None = None
    last_s: float = 0.0


@dataclass(frozen=True)
class Stats:
    """What came of the requests, and every host that answers.

    Attributes:
        outcomes: how many ended as "result", or by the name of their error.
        p50_s, p95_s: latency of results; nan where there are none.
        per_s: results per second between the first submission and the last outcome.
        incomplete: results computed from tensors with missing bytes.
        hosts: status by host id, None where a host does not answer.
    """

    outcomes: Mapping[str, int]
    p50_s: float
    p95_s: float
    per_s: float
    incomplete: int
    in_flight: int
    hosts: Mapping[str, commands.HostStatus | None]


class Deployment:
    """A running deployment; use it in a `with` block, or `close()` it.

    Args:
        captured: the model; every host runs the same operators with the same weights.
        topology: its source is this process.
        profiles: by device id; the one under "" is for all others.
        plan: pinned on every host; None lets each host follow its own table.
        progress: hears one line for each step that takes a while.

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
        self.options = options or DeployOptions()
        self.captured, self.graph = captured, captured.graph
        self._profiles = {"": profiles} if isinstance(profiles, Profile) else dict(profiles)
        self.topology = with_local_addresses(topology) if self.options.launch else topology
        self.source = topology.source
        self._progress = progress or (lambda line: None)
        self._check(plan)
        self.notes = self._notes()
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(self.options.in_flight)
        self._requests: dict[int, Request] = {}
        self._next = 0
        self._tally = _Tally()
        self._epoch = 0
        self.plan: Plan | None = None
        self._closed = False
        self._operator: Operator | None = None
        self._launcher: Launcher | None = None
        self._node: Node | None = None
        self._network_trace: TraceWriter | None = None
        # One thread: commands to other hosts keep their order.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="airloom operator")
        self._temporary = tempfile.TemporaryDirectory(prefix="airloom-")
        self.folder = Path(self.options.folder or self._temporary.name)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="airloom", daemon=True)
        self._thread.start()
        try:
            self._call(self._start())
            if plan is not None:
                self.pin(plan)
        except BaseException:
            self.close()
            raise

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
        parcel = self._parcel(inputs)
        deadline_s = self.options.deadline_s if deadline_s is None else deadline_s
        if not deadline_s > 0:
            raise ConfigError(f"a deadline lies ahead, got {deadline_s!r} s")
        if self._closed:
            raise DeploymentError("the deployment was closed")
        if not self._room.acquire(blocking=block):
            raise Overloaded(f"{self.options.in_flight} requests are in flight: wait for one, or raise in_flight")
        with self._lock:
            number, self._next = self._next, self._next + 1
            request = self._requests[number] = Request(number, self._cancel)
            if self._tally.first_s is None:
                self._tally.first_s = request.began
        self._loop.call_soon_threadsafe(self._submit, number, parcel, request.began + deadline_s)
        return request

    def _submit(self, number: int, parcel: Parcel, deadline_s: float) -> None:
        assert self._node is not None
        self._node.submit(number, parcel, deadline_s)

    def _cancel(self, number: int) -> None:
        def cancel() -> None:
            if number in self._requests and self._node is not None:
                self._node.cancel(number)

        self._loop.call_soon_threadsafe(cancel)

    def _finish(self, finish: Finish) -> None:
        with self._lock:
            request = self._requests.pop(finish.request, None)
        if request is not None:
            self._settle(request, finish.outcome, finish.missing)

    def _settle(self, request: Request, outcome: Parcel | RequestError, missing: float = 0.0) -> None:
        """Give `request`, which nobody else holds any more, its outcome."""
        now = time.monotonic()
        request.took_s, request.missing = now - request.began, missing
        value: Any = None
        if isinstance(outcome, Parcel):
            value = self._value(outcome)
        with self._lock:
            tally = self._tally
            tally.last_s = now
            tally.outcomes["result" if isinstance(outcome, Parcel) else type(outcome).__name__] += 1
            if isinstance(outcome, Parcel):
                tally.took_s.append(request.took_s)
                tally.incomplete += missing > 0
        self._room.release()
        if isinstance(outcome, Parcel):
            request.set_result(value)
        else:
            request.set_exception(outcome)

    def _parcel(self, inputs: tuple[Any, ...]) -> Parcel:
        """The inputs' bytes, checked against what was captured."""
        from airloom.nn.executor import tensor_to_bytes

        if len(inputs) != len(self.graph.inputs):
            raise ConfigError(f"{self.graph.model} takes {len(self.graph.inputs)} inputs, got {len(inputs)}")
        data: dict[int, memoryview] = {}
        for place, (tensor, given) in enumerate(zip(self.graph.inputs, inputs, strict=True)):
            spec = self.graph.tensors[tensor]
            shape, dtype = tuple(given.shape), str(given.dtype).removeprefix("torch.")
            if (shape, dtype) != (spec.shape, spec.dtype):
                raise ConfigError(
                    f"input {place} is {list(shape)} of {dtype}; {self.graph.model} was captured with "
                    f"{list(spec.shape)} of {spec.dtype}"
                )
            if isinstance(given, np.ndarray):
                data[tensor] = np.ascontiguousarray(given).reshape(-1).view(np.uint8).data
            else:
                data[tensor] = tensor_to_bytes(given)
        # A copy: the caller may write to its array while the request, or another try at it, is under way.
        live = self.graph.live_set(0)
        return Parcel(live, tuple(memoryview(bytes(data[tensor])) for tensor in live))

    def _value(self, parcel: Parcel) -> Any:
        """The model's own form of result; None where the result stayed where it was made."""
        from airloom.nn.executor import tensor_from_bytes

        if not parcel.tensors:
            return None
        made = dict(zip(parcel.tensors, parcel.data, strict=True))
        return self.captured.result({t: tensor_from_bytes(d, self.graph.tensors[t]) for t, d in made.items()})

    # --- watching and changing ----------------------------------------------------------------------

    def stats(self) -> Stats:
        """What came of the requests so far, and how the hosts are."""
        with self._lock:
            tally, flying = self._tally, len(self._requests)
            took = np.array(tally.took_s)
            span = tally.last_s - tally.first_s if tally.first_s is not None else 0.0
            outcomes, incomplete = dict(tally.outcomes), tally.incomplete
        p50, p95 = (float(np.percentile(took, q)) if len(took) else float("nan") for q in (50, 95))
        per_s = len(took) / span if span > 0 else 0.0
        return Stats(outcomes, p50, p95, per_s, incomplete, flying, self.status())

    def status(self) -> dict[str, commands.HostStatus | None]:
        """Every host's status, asked one after the other; None where a host does not answer."""
        assert self._node is not None
        found: dict[str, commands.HostStatus | None] = {self.source: self._call(_now(self._node.status))}
        for device in self.topology.devices:
            if device.id != self.source:
                found[device.id] = self._aside.submit(self._ask_status, device.id).result()
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
        assert self._node is not None
        return self._node.control.up

    def pin(self, plan: Plan | None) -> None:
        """Have every host follow `plan`; None returns to their own tables."""
        self._check(plan)
        self._epoch += 1
        self.plan = None if plan is None else msgspec.structs.replace(plan, epoch=self._epoch)
        # Others first: what the source sends by the new plan must find it there.
        others = [d.id for d in self.topology.devices if d.id != self.source and d.id in self.up]
        failed = [host for host in others if not self._aside.submit(self._pin_on, host).result()]
        if failed and plan is not None:
            raise DeploymentError(f"{', '.join(failed)} did not take the plan")
        assert self._node is not None
        self._call(_now(self._node.pin, self.plan))

    def kill(self, host: str) -> None:
        """End the process of `host` at once, as a crash would."""
        self._call(self._launched().kill(host))

    def revive(self, host: str) -> None:
        """Start a killed host again; returns once the source can reach it."""
        self._call(self._launched().revive(host))
        self.wait_for(host)

    def pid(self, host: str) -> int:
        """Of the process of a host launched here."""
        return os.getpid() if host == self.source else self._launched().pid(host)

    def wait_for(self, host: str, *, up: bool = True, timeout_s: float = 20.0) -> None:
        """Until the source sees `host` up (or down)."""
        until = time.monotonic() + timeout_s
        while (host in self.up) != up:
            if time.monotonic() > until:
                raise DeploymentError(f"{host} was not {'up' if up else 'down'} within {timeout_s:g} s")
            time.sleep(0.01)

    def set_link(
        self,
        src: str,
        dst: str,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        loss: float | None = None,
        up: bool | None = None,
    ) -> None:
        """Change an emulated link from now on; None leaves a figure as it is."""
        self._call(self._launched().set_link(src, dst, rate_bps=rate_bps, delay_s=delay_s, loss=loss, up=up))

    def apply(self, conditions: Conditions) -> None:
        """Bring about `conditions` in the emulated network: links, loads, hosts that come and go."""
        launcher = self._launched()
        self._call(launcher.apply_links(conditions))
        for state in conditions.devices:
            alive = state.id == self.source or state.id in launcher.running
            if alive and not state.up:
                self.kill(state.id)
            elif not alive and state.up:
                self.revive(state.id)
            if state.up:
                self.set_factor(state.id, self.topology.device(state.id).factor * (1.0 + state.load))

    def set_factor(self, host: str, factor: float) -> None:
        """Emulate that `host` computes `factor` times slower than this machine."""
        assert self._node is not None
        if host == self.source:
            self._call(_now(self._node.compute.set_factor, factor))
            return
        ack = self._aside.submit(self._command, host, commands.SetFactor(factor=factor)).result()
        if not ack.ok:
            raise DeploymentError(f"{host}: {ack.error}")

    # --- life -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """End requests as `Cancelled`, then every process that was started. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._thread.is_alive():
            try:
                self._call(self._stop())
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()
        self._aside.submit(self._close_operator).result()
        self._aside.shutdown()
        while self._requests:
            _, request = self._requests.popitem()
            self._settle(request, Cancelled("the deployment was closed"))
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self) -> None:
        options, others = self.options, [d.id for d in self.topology.devices if d.id != self.source]
        work = Path(self._temporary.name)
        certs = None if options.certs is None else Path(options.certs)
        if certs is None:
            if not options.launch:
                raise ConfigError("hosts that run elsewhere admit only whom they know: name the folder of certificates")
            certs = work / "certs"
            make_ca(certs, days=7)
            for device in self.topology.devices:
                make_host(certs, device.id, days=7)
            make_host(certs, OPERATOR, days=7)
        self._certs = certs
        executor = await asyncio.to_thread(self._executor)
        routes: dict[str, str] = {}
        if options.launch:
            self._progress(f"starting {', '.join(others)}")
            await asyncio.to_thread(self._write_inputs, work)
            if options.emulate:
                self._network_trace = TraceWriter(self.trace_folder / "relay.jsonl", "relay", now_s=time.monotonic())
            self._launcher = Launcher(
                self.topology,
                others,
                lambda node: self._command_line(node, work),
                folder=self.folder,
                emulation=Emulation(links=options.emulate, transport=options.transport, seed=options.seed),
                environment={"OMP_NUM_THREADS": str(self._threads)},
                on_event=self._network_event,
            )
            await self._launcher.start(progress=lambda host: self._progress(f"{host} is ready"))
            routes = self._launcher.routes(self.source)
        self._node = Node(
            self._host_config(self.source),
            host_certs(certs, self.source),
            executor,
            NodeOptions(
                transport=options.transport,
                routes={peer: parse_address(address) for peer, address in routes.items()},
                factor=self._factor(self.source),
                trace=self.trace_folder / f"{self.source}.jsonl",
                repair_rounds=options.repair_rounds,
                congestion=options.congestion,
            ),
            on_finish=self._finish,
            on_peer=self._on_peer,
        )
        await self._node.start()
        await self._wait_ready(others)

    async def _wait_ready(self, others: list[str]) -> None:
        """Until all hosts are up and the wave has come through: launched hosts must, others may."""
        assert self._node is not None
        limit_s = 30.0 if self.options.launch else self.options.wait_s
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            now = self._node.host.snapshot()
            if self._node.control.up >= set(others) and (now.parent is None or now.wave > 0):
                return
            await asyncio.sleep(0.01)
        missing = sorted(set(others) - self._node.control.up)
        if self.options.launch:
            raise DeploymentError(f"{', '.join(missing) or 'the split cost wave'} did not come up within {limit_s:g} s")
        self._progress(f"going on without {', '.join(missing)}" if missing else "no split cost message yet")

    async def _stop(self) -> None:
        if self._node is not None:
            await self._node.close()
        if self._launcher is not None:
            await self._launcher.close()
        if self._network_trace is not None:
            self._network_trace.close()

    def _write_inputs(self, work: Path) -> None:
        self.captured.save(work / "artifact")
        write_aside(work / "topology.yaml", dump_topology(self.topology).encode())
        for device in self.topology.devices:
            write_value(work / "profiles" / f"{device.id}.json", profile_of(device.id, self._profiles))

    def _command_line(self, node: NodeCommand, work: Path) -> list[str]:
        options, host = self.options, node.host
        line = [sys.executable, "-m", "airloom.cli.main", "node", host, "--child"]
        line += ["--topology", str(work / "topology.yaml"), "--artifact", str(work / "artifact")]
        line += ["--profile", str(work / "profiles" / f"{host}.json"), "--certs", str(self._certs)]
        line += ["--transport", options.transport, "--trace", str(self.trace_folder / f"{host}.jsonl")]
        line += ["--factor", repr(self._factor(host)), "--threads", str(self._threads)]
        line += ["--repair-rounds", str(options.repair_rounds), "--congestion", options.congestion]
        line += [] if options.result_returns else ["--result-stays"]
        for peer, address in node.routes.items():
            line += ["--route", f"{peer}={address}"]
        return line

    def _executor(self) -> Any:
        from airloom.nn.executor import StageExecutor

        executor = StageExecutor(self.captured, threads=self._threads)
        # The source may have to run everything: the first such request should not pay for the warm-up.
        executor.load(0, self.graph.num_operators)
        return executor

    @property
    def _threads(self) -> int:
        return self.options.threads or profile_of(self.source, self._profiles).machine.threads or 1

    def _factor(self, host: str) -> float:
        """How much slower than this machine a host is to look."""
        return self.topology.device(host).factor if self.options.launch and self.options.emulate else 1.0

    def _host_config(self, host: str) -> HostConfig:
        options = self.options
        return HostConfig(
            device=host,
            topology=self.topology,
            profile=profile_of(host, self._profiles),
            private_operators=options.private_operators,
            result_returns=options.result_returns,
            max_in_flight=options.in_flight,
            pinned_fallback=options.pinned_fallback,
        )

    def _check(self, plan: Plan | None) -> None:
        """Refuse what was made for another model, or cannot be emulated."""
        digest = self.graph.digest
        for name, profile in self._profiles.items():
            if profile.graph_digest != digest:
                raise ProfileMismatch(
                    f"the profile{f' of {name}' if name else ''} is of another model than {self.graph.model}: "
                    "measure it again with `airloom profile`"
                )
        if plan is not None and plan.graph_digest != digest:
            raise ProfileMismatch(f"the plan is for another model than {self.graph.model}: plan again")
        if not self.options.launch or not self.options.emulate:
            return
        for device in self.topology.devices:
            if device.factor < 1.0:
                raise Infeasible(
                    f"{device.id} is {1 / device.factor:.3g} times as fast as the profile's machine, which cannot be "
                    "emulated here: profile the fastest device, and give the others a speed below 1",
                    device=device.id,
                )

    def _notes(self) -> tuple[str, ...]:
        """What of this deployment stands for something else, a line each; reports show them."""
        if not self.options.launch:
            return ()
        notes = ["hosts are processes of one machine"]
        if self.options.emulate:
            notes.append("links by a relay")
            notes += [
                f"{d.id}: compute stretched to {d.factor:g} times" for d in self.topology.devices if d.factor != 1.0
            ]
        cores = os.cpu_count() or 1
        duty = sorted((1.0 / self._factor(d.id) for d in self.topology.devices if d.computes), reverse=True)
        busy = sum(duty[: self.options.in_flight]) * self._threads
        if busy > cores:
            notes.append(
                f"{busy:.3g} cores may be busy at once, this machine has {cores}: "
                "hosts will slow each other down; lower in_flight or the devices' speeds"
            )
        return tuple(notes)

    # --- helpers --------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop, from any other thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _on_peer(self, peer: str, up: bool) -> None:
        # A host that comes back does not know the plan.
        if up and self.plan is not None and not self._closed:
            self._aside.submit(self._pin_on, peer)

    def _network_event(self, event: Event) -> None:
        if self._network_trace is not None:
            self._network_trace.write(event)
            self._network_trace.flush()

    def _launched(self) -> Launcher:
        if self._launcher is None:
            raise ConfigError("these hosts were not started here: change them where they run")
        return self._launcher

    # On the operator's thread:

    def _session(self) -> Operator:
        if self._operator is None:
            self._operator = Operator(self.topology, host_certs(self._certs, self.source), name=self.source)
        return self._operator

    def _close_operator(self) -> None:
        if self._operator is not None:
            self._operator.close()

    def _command(self, host: str, command: commands.Command) -> commands.Ack:
        return self._session().command(host, command, timeout_s=5.0)

    def _pin_on(self, host: str) -> bool:
        return self._command(host, commands.Pin(plan=self.plan)).ok

    def _ask_status(self, host: str) -> commands.HostStatus | None:
        return self._session().status(host) if host in self.up else None


async def _now(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


__all__ = ["DeployOptions", "Deployment", "Request", "Stats"]
