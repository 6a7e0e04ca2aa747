"""A host that was made and not started: which plans it refuses, what it says of its links."""

import math

import msgspec
import pytest

from airloom.core.plan import Plan, Stage, Transfer
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.topology import Device, Link, Topology
from airloom.engine.config import HostConfig
from airloom.errors import ConfigError, ProfileMismatch
from airloom.runtime import commands
from airloom.runtime.certs import make_ca, make_host
from airloom.runtime.node import Node
from airloom.runtime.node_status import metrics_of

PROFILE = Profile(
    model="two operators",
    device="ue",
    operators=(OperatorCost(name="a", compute_s=1e-3), OperatorCost(name="b", compute_s=1e-3)),
    cuts=tuple(CutSize(tensors=(k,), tensor_nbytes=(8,)) for k in range(3)),
    graph_digest="sha256:" + "0a" * 32,
)
PLAN = Plan(
    model=PROFILE.model,
    graph_digest=PROFILE.graph_digest,
    problem_digest="",
    chain=("ue", "mec"),
    stops=(1, 2),
    stages=(Stage(id="near", device="ue", start=0, stop=1), Stage(id="far", device="mec", start=1, stop=2)),
    transfers=tuple(Transfer(src=a, dst=b, slices=()) for a, b in (("", "near"), ("near", "far"), ("far", ""))),
    predicted_s=1e-3,
)


class Nothing:
    """An executor that nobody asks."""

    def run(self, start, stop, data):
        raise AssertionError

    def load(self, start, stop):
        raise AssertionError


@pytest.fixture
def node(tmp_path):
    make_ca(tmp_path)
    devices = (Device(id="ue", role="ue"), Device(id="mec", role="mec"))
    links = (Link(src="ue", dst="mec", rate_bps=1e6, delay_s=0.002), Link(src="mec", dst="ue", rate_bps=2e6))
    topology = Topology(devices=devices, links=links, source="ue", sink="mec")
    node = Node(HostConfig(device="ue", topology=topology, profile=PROFILE), make_host(tmp_path, "ue"), Nothing())
    handled = []
    node.handle = handled.append
    node.handled = handled
    return node


def test_a_plan_that_fits_is_given_to_the_engine(node):
    node.pin(PLAN)
    node.pin(None)
    assert [event.plan for event in node.handled] == [PLAN, None]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            {"stages": (PLAN.stages[0], msgspec.structs.replace(PLAN.stages[1], stop=9))},
            ConfigError,
            r"\$\.stages\[1\]",
        ),
        ({"transfers": PLAN.transfers[:2]}, ConfigError, r"\$\.transfers"),
        ({"graph_digest": "sha256:" + "0b" * 32}, ProfileMismatch, "plan again"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_its_place(node, change, error, says):
    plan = msgspec.structs.replace(PLAN, **change)
    with pytest.raises(error, match=says) as raised:
        node.pin(plan)
    assert not node.handled
    # The same line is the answer to a command from elsewhere.
    assert node.on_command("operator", commands.Pin(plan=plan)) == commands.Ack(ok=False, error=str(raised.value))


def test_links_are_as_the_topology_says_until_they_are_measured(node):
    node.on_link("ue", "mec", 5e5, None, 0.25)
    node.on_link("mec", "ue", 1.0, 1.0, 1.0)  # not ours to tell
    [link] = node.status().links
    assert (link.src, link.dst, link.rate_bps, link.delay_s, link.loss, link.up) == (
        "ue",
        "mec",
        5e5,
        0.002,
        0.25,
        False,
    )
    rates = [metric for metric in metrics_of(node) if metric.name == "link_rate_bps"]
    assert [(m.value, m.labels) for m in rates] == [(5e5, (("host", "ue"), ("dst", "mec")))]
    assert all(math.isfinite(metric.value) for metric in metrics_of(node))
