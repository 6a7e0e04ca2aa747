"""How long a split cost wave takes from the sink to the source: five processes of this machine, a line.

Every message is counted as it is: a Python host that decides and speaks, TLS, the loopback. The sink
notes the time at which it starts a wave, the source the time at which its table follows from it; both
read CLOCK_MONOTONIC. HiveMind reports 27 ms for its wave (section IV-D).
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.topology import Device, Link, Topology
from airloom.core.trace import Event
from airloom.engine.config import HostConfig, WavePolicy
from airloom.engine.events import TimerFired
from airloom.engine.wave import REFRESH_TIMER
from airloom.runtime.certs import host_certs, make_ca, make_host
from airloom.runtime.node import Node
from airloom.runtime.places import with_local_addresses
from harness import report

HOSTS = ("ue", "gnb", "mec", "edge", "cloud")
OPERATORS = 152
WAVES = 200
EVERY_S = 0.02


class NoExecutor:
    """These hosts are asked for nothing."""

    def run(self, start: int, stop: int, data: Mapping[int, memoryview]) -> dict[int, memoryview]:
        raise RuntimeError("no request was made")

    def load(self, start: int, stop: int) -> None:
        """There is nothing to make ready."""


def profile() -> Profile:
    rng = np.random.default_rng(0)
    return Profile(
        model="152 operators",
        device="any",
        operators=tuple(OperatorCost(name=f"op{k}", compute_s=t) for k, t in enumerate(rng.uniform(1e-4, 1e-3, 152))),
        cuts=tuple(CutSize(tensor_nbytes=(int(n),)) for n in rng.integers(1000, 500_000, OPERATORS + 1)),
        basis="modelled",
    )


def line() -> Topology:
    links = []
    for a, b in itertools.pairwise(HOSTS):
        links += [Link(src=a, dst=b, rate_bps=50e6, delay_s=0.005), Link(src=b, dst=a, rate_bps=50e6, delay_s=0.005)]
    roles: dict[str, Any] = {"ue": "ue", "gnb": "gnb", "cloud": "cloud"}
    devices = tuple(Device(id=h, role=roles.get(h, "mec"), factor=8.0 / 2**k) for k, h in enumerate(HOSTS))
    return with_local_addresses(Topology(devices=devices, links=tuple(links), source="ue", sink="cloud"))


def serve(host: str, topology: Topology, certs: str, pipe: Connection) -> None:
    """One host's process: the sink starts waves when told to, the source tells when they came."""

    async def main() -> None:
        heard: list[tuple[int, float]] = []

        def on_trace(event: Event) -> None:
            if event.kind == "wave":
                heard.append((event.data["wave"], 0.0))

        policy = WavePolicy(refresh_s=3600.0)
        config = HostConfig(device=host, topology=topology, profile=profile(), wave=policy)
        node = Node(config, host_certs(Path(certs), host), NoExecutor(), on_trace=on_trace)
        on_cost = node.on_cost

        def timed(src: str, data: bytes) -> None:
            before = len(heard)
            on_cost(src, data)
            # Now the table follows from the message.
            now_s = time.monotonic()
            heard[before:] = [(wave, now_s) for wave, _ in heard[before:]]

        node.on_cost = timed  # type: ignore[method-assign]
        await node.start()
        while node.control.up != set(HOSTS) - {host}:
            await asyncio.sleep(0.01)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        if host == topology.sink:
            started = []
            for _ in range(WAVES):
                began = time.monotonic()
                node.handle(TimerFired((REFRESH_TIMER,)))
                started.append((node.host.snapshot().wave, began))
                await asyncio.sleep(EVERY_S)
            pipe.send(started)
        await asyncio.to_thread(pipe.recv)
        if host == topology.source:
            pipe.send(heard)
        await node.close()

    asyncio.run(main())


def main() -> None:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        topology = line()
        make_ca(Path(folder), days=1)
        for host in HOSTS:
            make_host(Path(folder), host, days=1)
        pipes, processes = {}, []
        for host in HOSTS:
            pipes[host], end = spawn.Pipe()
            process = spawn.Process(target=serve, args=(host, topology, folder, end), daemon=True)
            process.start()
            processes.append(process)
        for pipe in pipes.values():
            pipe.recv()
        for pipe in pipes.values():
            pipe.send("go")
        started = pipes[topology.sink].recv()
        time.sleep(0.5)
        for pipe in pipes.values():
            pipe.send("tell")
        arrived = dict(pipes[topology.source].recv())
        for process in processes:
            process.join(10)
    took = [arrived[wave] - began for wave, began in started if wave in arrived]
    if len(took) < 0.9 * WAVES:
        raise SystemExit(f"only {len(took)} of {WAVES} waves came through")
    report("wave over 5 processes, 152 operators, p50", 1e3 * statistics.median(took), "ms", "<= 5")
    report("wave over 5 processes, 152 operators, p95", 1e3 * float(np.percentile(took, 95)), "ms")


if __name__ == "__main__":
    main()
