"""A small network, and a profile of it that needs no measuring."""

import itertools

import numpy as np
import pytest
import torch

from airloom.core.profile import CutSize, Machine, OperatorCost, Profile, Weights
from airloom.core.topology import Device, Link, Topology
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor
from airloom.zoo.build import build


def profile_of_graph(graph, *, device="ue", per_mac_s=1e-10, per_operator_s=3e-5):
    """Times in proportion to multiply-accumulates: what the plan is made from, not what is measured."""
    return Profile(
        model=graph.model,
        device=device,
        operators=tuple(
            OperatorCost(name=op.name, compute_s=per_operator_s + per_mac_s * op.macs, macs=op.macs)
            for op in graph.operators
        ),
        cuts=tuple(
            CutSize(tensors=live, tensor_nbytes=tuple(graph.tensors[t].nbytes for t in live))
            for live in graph.live_sets
        ),
        output_nbytes=tuple(graph.tensors[t].nbytes for t in graph.outputs),
        weights=tuple(
            Weights(
                nbytes=p.spec.nbytes,
                operators=tuple(k for k, op in enumerate(graph.operators) if index in op.parameters),
            )
            for index, p in enumerate(graph.parameters)
        ),
        graph_digest=graph.digest,
        basis="modelled",
        machine=Machine(threads=1),
    )


def line(*devices, rate_bps=1e9, delay_s=0.0):
    links = []
    for a, b in itertools.pairwise(devices):
        links += [Link(src=a.id, dst=b.id, rate_bps=rate_bps, delay_s=delay_s)]
        links += [Link(src=b.id, dst=a.id, rate_bps=rate_bps, delay_s=delay_s)]
    return Topology(devices=devices, links=tuple(links), source=devices[0].id, sink=devices[-1].id, name="a line")


@pytest.fixture(scope="session")
def resnet20():
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    return capture(build("resnet20", "random"), (picture,), name="resnet20")


@pytest.fixture(scope="session")
def profile(resnet20):
    return profile_of_graph(resnet20.graph)


@pytest.fixture(scope="session")
def four_hosts():
    return line(
        Device(id="ue", role="ue", factor=8.0),
        Device(id="gnb", role="gnb", factor=4.0),
        Device(id="mec", role="mec", factor=2.0),
        Device(id="cloud", role="cloud"),
        rate_bps=100e6,
        delay_s=0.001,
    )


@pytest.fixture(scope="session")
def pictures():
    return np.random.default_rng(7).integers(0, 256, (40, 1, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="session")
def expected(resnet20, pictures):
    """The local whole run's result for each picture."""
    executor = StageExecutor(resnet20, threads=1)
    return [executor.whole((torch.from_numpy(p),))[0].clone() for p in pictures]
