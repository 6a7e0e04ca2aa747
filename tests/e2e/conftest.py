"""A small network, and what it gives when it runs whole."""

import numpy as np
import pytest
import torch
from small_network import line, profile_of_graph

from airloom.core.topology import Device
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor
from airloom.zoo.build import build


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
