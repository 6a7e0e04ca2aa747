"""A plan with an accuracy floor, deployed: hosts as processes, a lossy link acted out by the relay, real codecs."""

from __future__ import annotations

from concurrent.futures import wait

import msgspec
import numpy as np
import pytest
import torch
from small_network import profile_of_graph
from torch import nn

import airloom
from airloom.core.coding import Coding
from airloom.core.tolerance import Curve, CutTolerance, Tolerance
from airloom.core.topology import Device, Link, Topology
from airloom.nn.capture import capture

CODING = Coding(precision="int8", interleave="structured", conceal="neighbours")
SHAPE = (1, 3, 40, 40)
CLEAN, FLOOR, LOSS = 0.70, 0.60, 0.25


def test_every_result_says_what_was_missing_and_none_is_below_the_floor() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    captured = capture(model, (torch.randn(SHAPE),), name="tiny")
    # Cut 1 carries 24 x 40 x 40 elements, a byte each; at half of them missing the accuracy is at the floor.
    curve = Curve(kind="pchip", parameters=(0.0, 0.25, 0.5, 1.0, CLEAN, 0.68, FLOOR, 0.1), margin=0.005)
    entry = CutTolerance(
        cut=1, coding=CODING, pattern="burst", block_bytes=1152, nbytes=38_900, clean=CLEAN, curves=(curve,)
    )
    tolerance = Tolerance(
        model="tiny", graph_digest=captured.graph.digest, weights_digest=captured.weights_digest, metric="top-1",
        clean=CLEAN, samples=100, cuts=(entry,),
    )  # fmt: skip
    there = Link(src="ue", dst="mec", rate_bps=60e6, delay_s=0.004, loss=LOSS)
    back = Link(src="mec", dst="ue", rate_bps=60e6, delay_s=0.004)
    topology = Topology(
        devices=(Device(id="ue", role="ue"), Device(id="mec", role="mec")), links=(there, back), source="ue", sink="mec"
    )
    here = profile_of_graph(captured.graph)
    slow = [msgspec.structs.replace(op, compute_s=1.0) for op in here.operators[1:]]
    near = msgspec.structs.replace(here, operators=(here.operators[0], *slow))  # so what follows is for the mec
    plan = airloom.plan(
        captured, topology, profile={"ue": near, "": here}, private_operators=1, tolerance=tolerance, min_accuracy=FLOOR
    )
    (carried,) = [t for t in plan.plan.transfers if t.coding == CODING.name]
    assert carried.route[0].missing == pytest.approx(LOSS, abs=0.02)
    assert plan.predicted_accuracy is not None
    assert FLOOR <= plan.predicted_accuracy < CLEAN
    rng = np.random.default_rng(5)
    pictures = [rng.standard_normal(SHAPE).astype(np.float32) for _ in range(12)]
    with airloom.deploy(plan, seed=4, deadline_s=20.0) as net:
        requests = [net.submit(picture) for picture in pictures]
        wait(requests, 60)
        stats = net.stats()
    for request, picture in zip(requests, pictures, strict=True):
        with torch.no_grad():
            whole = model(torch.from_numpy(picture))
        assert float((request.result() - whole).abs().max()) < 0.25
        assert request.predicted_accuracy is not None
        assert FLOOR <= request.predicted_accuracy <= CLEAN
        assert (request.missing > 0) == (request.predicted_accuracy < CLEAN)
    shares = [request.missing for request in requests]
    over_the_link = [share for share in shares if share > 0]  # the ue runs what a busy machine leaves too late
    assert 0.08 < float(np.mean(over_the_link)) < 0.45
    assert stats.missing_max == max(shares)
    assert stats.predicted_least == min(request.predicted_accuracy or 0.0 for request in requests)
    assert stats.incomplete == sum(share > 0 for share in shares) > 0
