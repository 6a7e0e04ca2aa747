"""Two hosts of this process, sealed UDP through the emulating relay, real codecs: the accuracy contract at work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from small_network import profile_of_graph
from torch import nn

from airloom.core.coding import Coding
from airloom.core.messages import Parcel
from airloom.core.plan import Plan, Stage, Transfer
from airloom.core.repair import head_copies
from airloom.core.tolerance import Contract, Curve, CutTolerance, Tolerance
from airloom.core.topology import Device, Link, Topology
from airloom.core.trace import Event
from airloom.engine.config import HostConfig
from airloom.engine.events import Finish
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.coded_executor import CodedExecutor
from airloom.nn.executor import StageExecutor, tensor_from_bytes, tensor_to_bytes
from airloom.runtime.certs import make_ca, make_host
from airloom.runtime.node import Node, NodeOptions
from airloom.runtime.places import parse_address, with_local_addresses
from airloom.runtime.relay_control import RelaySpec
from airloom.runtime.relay_process import start_relay

CODING = Coding(precision="int8", interleave="structured", conceal="neighbours")
SHAPE = (1, 3, 40, 40)
REQUESTS = 12


@pytest.fixture(scope="module")
def captured() -> Captured:
    """Cut 1 carries 24 x 40 x 40 floats, coded in int8 about 34 blocks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return capture(model.eval(), (torch.randn(SHAPE),), name="tiny")


def agreed(captured: Captured, floor: float | None) -> Contract:
    """Accuracy 0.7, 0.6 at a share of 0.5 missing."""
    curve = Curve(kind="pchip", parameters=(0.0, 0.25, 0.5, 1.0, 0.70, 0.68, 0.60, 0.1), margin=0.005)
    cut = CutTolerance(
        cut=1, coding=CODING, pattern="burst", block_bytes=1152, nbytes=38_900, clean=0.70, curves=(curve,)
    )
    tolerance = Tolerance(
        model="tiny", graph_digest=captured.graph.digest, weights_digest="sha256:00", metric="top-1", clean=0.70,
        samples=100, cuts=(cut,),
    )  # fmt: skip
    return Contract(tolerance=tolerance, min_accuracy=floor)


def plan(captured: Captured) -> Plan:
    last = captured.graph.num_operators
    return Plan(
        model="tiny", graph_digest=captured.graph.digest, problem_digest="", chain=("ue", "mec"), stops=(1, last),
        predicted_s=0.05,
        stages=(Stage(id="near", device="ue", start=0, stop=1), Stage(id="far", device="mec", start=1, stop=last)),
        transfers=(
            Transfer(src="", dst="near", slices=()), Transfer(src="near", dst="far", slices=(), coding=CODING.name),
            Transfer(src="far", dst="", slices=()),
        ),
    )  # fmt: skip


class Pair(NamedTuple):
    ue: Node
    finished: list[Finish]
    events: list[Event]

    async def ask(self, pictures: list[torch.Tensor]) -> list[Finish]:
        """One after the other, on the pinned plan."""
        for number, picture in enumerate(pictures):
            data = tensor_to_bytes(picture)
            ids = self.ue.config.cut_tensors(0)
            self.ue.submit(number, Parcel(ids, (data,)), time.monotonic() + 20.0)
            while len(self.finished) <= number:
                await asyncio.sleep(0.002)
        return self.finished

    @property
    def repairs(self) -> int:
        assert self.ue.transport is not None
        return self.ue.transport.counters()["sent_repair_packets"]


@contextlib.asynccontextmanager
async def pair(captured: Captured, contract: Contract, loss: float, folder, *, seed: int = 4) -> AsyncIterator[Pair]:
    devices = (Device(id="ue", role="ue"), Device(id="mec", role="mec"))
    there = Link(src="ue", dst="mec", rate_bps=60e6, delay_s=0.004, loss=loss)
    back = Link(src="mec", dst="ue", rate_bps=60e6, delay_s=0.004)
    topology = with_local_addresses(Topology(devices=devices, links=(there, back), source="ue", sink="mec"))
    make_ca(folder)
    addresses = {device.id: device.address for device in topology.devices}
    relay = await start_relay(RelaySpec(links=topology.links, hosts=addresses, seed=seed))
    finished, events, nodes = list[Finish](), list[Event](), list[Node]()
    try:
        for name, peer in (("mec", "ue"), ("ue", "mec")):
            config = HostConfig(
                device=name, topology=topology, profile=profile_of_graph(captured.graph), contract=contract
            )
            node = Node(
                config, make_host(folder, name), CodedExecutor(StageExecutor(captured), contract, config.framing),
                NodeOptions(routes={peer: parse_address(relay.address(name, peer))}),
                on_finish=finished.append, on_trace=events.append,
            )  # fmt: skip
            nodes.append(node)
            await node.start()
        end = time.monotonic() + 10
        while any(len(node.control.up) < 1 for node in nodes):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        for node in nodes:
            node.pin(plan(captured))
        await asyncio.sleep(0.3)  # keys have been agreed, codecs are ready
        yield Pair(nodes[1], finished, events)
    finally:
        for node in nodes:
            await node.close()
        await relay.stop()


def pictures(number: int = REQUESTS) -> list[torch.Tensor]:
    rng = np.random.default_rng(5)
    return [torch.from_numpy(rng.standard_normal(SHAPE).astype(np.float32)) for _ in range(number)]


def outcome(finish: Finish, captured: Captured) -> torch.Tensor:
    assert isinstance(finish.outcome, Parcel), finish.outcome
    return tensor_from_bytes(finish.outcome.data[0], captured.graph.tensors[captured.graph.outputs[0]])


def test_a_safe_floor_needs_no_repair_a_high_one_does(captured: Captured, tmp_path) -> None:
    """A fifth of the blocks is lost. At a floor of 0.6 nearly half may be; at 0.695 hardly any."""

    async def run(floor: float) -> tuple[list[Finish], int, list[Event]]:
        folder = tmp_path / f"{floor}"
        async with pair(captured, agreed(captured, floor), 0.2, folder) as hosts:
            finished = await hosts.ask(pictures())
            return finished, hosts.repairs, hosts.events

    safe, few, events = asyncio.run(run(0.6))
    strict, many, _ = asyncio.run(run(0.695))
    executor = StageExecutor(captured)
    last = captured.graph.num_operators
    for finished, floor in ((safe, 0.6), (strict, 0.695)):
        for finish, picture in zip(finished, pictures(), strict=True):
            assert finish.predicted_accuracy is not None
            assert floor <= finish.predicted_accuracy <= 0.70
            (whole,) = executor.run(0, last, {captured.graph.live_sets[0][0]: tensor_to_bytes(picture)}).values()
            whole = tensor_from_bytes(whole, captured.graph.tensors[captured.graph.outputs[0]])
            assert float((outcome(finish, captured) - whole).abs().max()) < 0.25
    assert np.mean([finish.missing for finish in safe]) > 0.08
    assert all((finish.missing > 0) == (finish.predicted_accuracy < 0.70) for finish in safe)
    # Copies of the head count as repairs; beside them the others repair a fifth of 34 blocks twelve times.
    copies = REQUESTS * head_copies(0.2)
    assert few <= copies + 6
    assert many > copies + 40
    coded = [e for e in events if e.kind == "send" and e.data["what"] == "task"]
    assert {e.data["coding"] for e in coded} == {CODING.name}
    assert len({e.data["wire_nbytes"] for e in coded}) <= REQUESTS


def test_most_blocks_lost_and_the_floor_holds(captured: Captured, tmp_path) -> None:
    async def run() -> list[Finish]:
        async with pair(captured, agreed(captured, 0.6), 0.7, tmp_path) as hosts:
            return await hosts.ask(pictures(5))

    finished = asyncio.run(run())
    assert all(isinstance(finish.outcome, Parcel) for finish in finished)
    assert min(finish.predicted_accuracy or 0.0 for finish in finished) >= 0.6
    assert max(finish.missing for finish in finished) > 0.2


def test_features_that_are_no_numbers_are_never_coded(captured: Captured, tmp_path) -> None:
    """The stage fails, each attempt in one line; the source then runs the model whole, as it was given."""

    async def run() -> tuple[Finish, list[Event]]:
        async with pair(captured, agreed(captured, 0.6), 0.0, tmp_path) as hosts:
            finish = (await hosts.ask([torch.full(SHAPE, float("nan"))]))[0]
            return finish, hosts.events

    finish, events = asyncio.run(run())
    assert not [e for e in events if e.kind == "send" and e.data["what"] == "task"]
    tries = [(e.data["mode"], e.data["reason"]) for e in events if e.kind == "attempt"]
    assert tries[:2] == [("pinned", "first"), ("pinned", "failure")]
    assert tries[-1] == ("local", "failure")
    assert torch.isnan(outcome(finish, captured)).all()
    assert finish.missing == 0.0
