"""A progressive model at part of its depth, split over real hosts and sent loss-tolerantly over a link that loses."""

from __future__ import annotations

from concurrent.futures import wait

import msgspec
import numpy as np
import pytest
import torch
from packed_network import EXAMPLE, elastic_residual
from small_network import profile_of_graph

import airloom
from airloom.core.coding import Coding
from airloom.core.tolerance import Curve, CutTolerance, Tolerance
from airloom.core.topology import Device, Link, Topology
from airloom.nn.capture import capture
from airloom.nn.elastic.graphs import skip_blocks

CODING = Coding(precision="int8", interleave="structured", conceal="neighbours")
CLEAN, FLOOR, LOSS, DEPTH = 0.82, 0.70, 0.25, 2


def test_a_depth_is_split_and_loses_no_more_than_the_floor_allows() -> None:
    elastic = elastic_residual()
    whole = capture(elastic.module, EXAMPLE, name="residual")
    captured = skip_blocks(whole, elastic.found.graph, elastic.order.kept(DEPTH))
    names = [op.name for op in captured.graph.operators]
    assert not any(name.startswith(("body.2.", "body.3.")) for name in names)
    cut = next(k for k, name in enumerate(names) if name.startswith("body.1."))
    # 32 x 16 x 16 elements, a byte each; at half of them missing the accuracy is at the floor.
    curve = Curve(kind="pchip", parameters=(0.0, 0.25, 0.5, 1.0, CLEAN, 0.80, FLOOR, 0.1), margin=0.005)
    entry = CutTolerance(
        cut=cut, coding=CODING, pattern="burst", block_bytes=1152, nbytes=8_300, clean=CLEAN, curves=(curve,)
    )
    tolerance = Tolerance(
        model="residual", graph_digest=captured.graph.digest, weights_digest=captured.weights_digest, metric="top-1",
        clean=CLEAN, samples=100, cuts=(entry,),
    )  # fmt: skip
    there = Link(src="ue", dst="mec", rate_bps=10e6, delay_s=0.004, loss=LOSS)
    back = Link(src="mec", dst="ue", rate_bps=10e6, delay_s=0.004)
    topology = Topology(
        devices=(Device(id="ue", role="ue"), Device(id="mec", role="mec")), links=(there, back), source="ue", sink="mec"
    )
    here = profile_of_graph(captured.graph)
    slow = [msgspec.structs.replace(op, compute_s=1.0) for op in here.operators[cut:]]
    near = msgspec.structs.replace(here, operators=(*here.operators[:cut], *slow))  # so what follows is for the mec
    plan = airloom.plan(
        captured, topology, profile={"ue": near, "": here}, private_operators=cut, tolerance=tolerance,
        min_accuracy=FLOOR,
    )  # fmt: skip
    (carried,) = [t for t in plan.plan.transfers if t.coding == CODING.name]
    assert carried.route[0].missing == pytest.approx(LOSS, abs=0.1)
    assert plan.predicted_accuracy is not None
    assert FLOOR <= plan.predicted_accuracy < CLEAN
    rng = np.random.default_rng(5)
    pictures = [rng.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(16)]
    with airloom.deploy(plan, seed=4, deadline_s=20.0) as net:
        requests = [net.submit(picture) for picture in pictures]
        wait(requests, 60)
    missing = [request.missing for request in requests]
    assert 0.05 < float(np.mean([share for share in missing if share > 0])) < 0.5
    with elastic.at(DEPTH), torch.no_grad():
        exact = [elastic(torch.from_numpy(picture)) for picture in pictures]
    for request, answer in zip(requests, exact, strict=True):
        error = float((request.result() - answer).abs().max())
        scale = float(answer.abs().max())
        assert error < 0.5 * scale  # of the network with two blocks, whose missing elements were concealed
        assert request.predicted_accuracy is not None
        assert FLOOR <= request.predicted_accuracy <= CLEAN
