"""An objective deployed: hosts as processes that are each told it, and decide by their own tables."""

from __future__ import annotations

from concurrent.futures import wait

import numpy as np
import torch
from small_network import line, profile_of_graph
from torch import nn

import airloom
from airloom.core.topology import Device, Power
from airloom.nn.capture import capture

SHAPE = (1, 3, 32, 32)


def test_hosts_keep_to_the_objective_of_the_plan() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(392, 10)).eval()
    captured = capture(model, (torch.randn(SHAPE),), name="tiny")
    profile = profile_of_graph(captured.graph, per_operator_s=1e-3)
    # The mec is faster and near, and draws a hundred times as much.
    ue = Device("ue", "ue", factor=4.0, power=Power(busy_w=1.0))
    mec = Device("mec", "mec", power=Power(busy_w=100.0), price_per_s=1.0)
    net = line(ue, mec, rate_bps=50e6, delay_s=0.001)
    fast = airloom.plan(captured, net, profile=profile)
    frugal = airloom.plan(captured, net, profile=profile, minimize="energy", require=["latency<=1 s", "money<=1"])
    assert frugal.plan.gap == 0.0
    assert [cost.name for cost in frugal.costs] == ["energy", "latency", "money"]
    pictures = [np.random.default_rng(k).standard_normal(SHAPE).astype(np.float32) for k in range(4)]
    # The least energy is to stay on the ue; hosts that went for the least latency would use the mec.
    assert fast.stops[0] < captured.graph.num_operators == frugal.stops[0]
    with airloom.deploy(frugal, emulate=False, deadline_s=20.0) as running:
        requests = [running.submit(picture) for picture in pictures]
        wait(requests, 60)
        mec_status = running.status()["mec"]
    for request, picture in zip(requests, pictures, strict=True):
        with torch.no_grad():
            assert torch.equal(request.result(), model(torch.from_numpy(picture)))
    assert mec_status is not None
    assert mec_status.counters["stages"] == 0
