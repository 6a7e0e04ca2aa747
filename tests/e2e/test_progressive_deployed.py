"""A model that answers while it is on its way: real hosts, a real server, a download over the emulated links."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from packed_network import elastic_residual, packed

import airloom
from airloom.core.delivery_plan import DeliveryPlan
from airloom.core.topology import Device, Link, Topology
from airloom.errors import ConfigError
from airloom.files import read_value, write_value

DOWN = 1.5e6


@pytest.fixture(scope="module")
def elastic():
    return elastic_residual()


@pytest.fixture(scope="module")
def artifact(elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "residual"
    return folder, *packed(folder, elastic)


def topology_of(*, factor=3.0, up=2e6):
    links = (
        Link(src="ue", dst="mec", rate_bps=up, delay_s=0.02),
        Link(src="mec", dst="ue", rate_bps=DOWN, delay_s=0.02),
    )
    return Topology(
        devices=(Device(id="ue", role="ue", factor=factor), Device(id="mec", role="mec")), links=links, source="ue",
        sink="mec",
    )  # fmt: skip


@pytest.fixture(scope="module")
def plan(artifact):
    _, manifest, profile = artifact
    return airloom.plan_delivery(manifest, topology_of(), profile, requests_per_s=5.0, horizon_s=30.0, min_accuracy=0.8)


def test_the_plan_runs_on_the_network_first_and_then_on_the_ue(plan):
    assert plan.phases[0].where == "network"
    assert plan.phases[-1].where == "ue"
    assert plan.phases[-1].name == "2/int8"
    assert 0 < plan.totals.own_s < 1.0
    beside = {alternative.scheme: alternative.totals for alternative in plan.alternatives}
    assert all(plan.totals.latency_s <= totals.latency_s + 1e-9 for totals in beside.values())
    assert beside["download, then UE"].nbytes > 3 * plan.totals.nbytes


def test_answers_come_from_the_network_until_the_ue_has_the_model(plan, artifact, elastic, tmp_path):
    folder, _, profile = artifact
    write_value(tmp_path / "plan.json", plan)
    rng = np.random.default_rng(0)
    pictures = [rng.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(6)]
    with airloom.deploy_progressive(tmp_path / "plan.json", folder, topology_of(), {"": profile}) as model:
        assert model.configuration is None
        first = [model(pictures[0])]
        while model.phase == 0:
            first.append(model(pictures[0]))
            assert model.now_s < 60.0
        model.wait_phase(len(plan.phases) - 1, 60.0)
        later = [model(picture) for picture in pictures]
        began, fetched, notes = model.began, model.fetched_nbytes, model.notes
        down = model.deployment(plan.phases[0].depth)
        assert down.up == {"mec"}
    with elastic.at(2), torch.no_grad():
        wanted = [elastic(torch.from_numpy(picture)) for picture in pictures]
    network = [answer for answer in first if answer.phase == 0 and answer.where == "network"]
    assert network
    for answer in network:
        # The weights as they were trained.
        torch.testing.assert_close(answer.value, wanted[0], rtol=1e-4, atol=1e-5)
        assert answer.configuration == "2"
        assert answer.latency_s > 0.04
    for answer, exact in zip(later, wanted, strict=True):
        assert (answer.where, answer.configuration) == ("ue", "2/int8")
        assert answer.accuracy == pytest.approx(0.81)
        assert answer.predicted_s == plan.phases[-1].latency_s
        error = float((answer.value - exact).abs().max())
        assert 0.0 < error < 0.1  # 8 bits of each weight, and not all 32
    # It came over the emulated link: no sooner than the link could carry it.
    assert began[-1].at_s > 8 * fetched / DOWN
    assert fetched >= plan.totals.nbytes * 0.8
    assert any("served by a process" in note for note in notes)


@pytest.mark.long
def test_a_split_uses_what_has_arrived(artifact, elastic):
    """Most of the network on the UE is worth it before all of it is there: the first result is split, then whole."""
    folder, manifest, profile = artifact
    # The uplink is slow for pictures, and the server's network is deep: the UE does what it can.
    topology = topology_of(factor=1.0, up=2e5)
    plan = airloom.plan_delivery(
        manifest, topology, profile, requests_per_s=1.0, horizon_s=20.0, minimize="accuracy", deadline_s=2.0, steps=2
    )
    graph = plan.phases[0]
    assert graph.where == "network"
    stem = next(k for k, op in enumerate(profile.operators) if op.name.startswith("body.1."))
    phase = msgspec.structs.replace(
        graph, where="split", depth=4, precision="int8", stops=(stem, profile.num_operators), start_s=0.2, end_s=5.0,
        latency_s=0.5, accuracy=0.89,
    )  # fmt: skip
    step = plan.steps[0]
    by_hand = msgspec.structs.replace(
        plan,
        phases=(msgspec.structs.replace(graph, end_s=0.2), phase),
        steps=(msgspec.structs.replace(step, depth=4, precision="int8"),),
    )
    picture = np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)
    with airloom.deploy_progressive(by_hand, folder, topology, {"": profile}, deadline_s=10.0) as model:
        model.wait_phase(1, 60.0)
        answer = model(picture)
        time.sleep(0.7)  # hosts write their traces every half second
        ran = {e.host: (e.data["start"], e.data["stop"]) for e in model.deployment(4).trace() if e.kind == "stage"}
    assert (answer.where, answer.configuration) == ("split", "4/int8")
    assert ran == {"ue": (0, stem), "mec": (stem, profile.num_operators)}
    with torch.no_grad():
        exact = elastic(torch.from_numpy(picture))
    error = float((answer.value - exact).abs().max())
    assert 0.0 < error < 0.1


def test_what_does_not_fit_together_is_refused_in_a_line(plan, artifact, tmp_path):
    folder, _, profile = artifact
    with pytest.raises(ConfigError, match="names no artifact"):
        airloom.deploy_progressive(plan)
    with pytest.raises(ConfigError, match="elastic pack"):
        airloom.deploy_progressive(plan, tmp_path / "table.json", topology_of(), {"": profile})
    other = msgspec.structs.replace(plan, model="another")
    with pytest.raises(ConfigError, match="plan again"):
        airloom.deploy_progressive(other, folder, topology_of(), {"": profile})


def test_a_plan_is_a_file(plan, tmp_path: Path):
    write_value(tmp_path / "plan.json", plan)
    assert read_value(tmp_path / "plan.json", DeliveryPlan) == plan
    assert airloom.load_delivery_plan(tmp_path / "plan.json") == plan
