"""What the runtime adds to computing: ResNet-18 (CIFAR), batch 1, stages on four processes of this machine.

Links are unlimited (the loopback itself) and nothing is emulated. Of each request the summed compute
of its stages is taken away from its latency; what is left is messages, sealing, copies, the engine,
the event loops and the threads between them. Three cuts each, named by where they lie; the target
holds where at most 64 KiB cross every cut.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict

import numpy as np

import airloom
from airloom.core.graph import ModelGraph
from airloom.core.topology import Device, Link, Topology
from airloom.deployment import Deployment, DeployOptions
from airloom.planner.chain import Solution
from airloom.planner.planning import make_plan
from airloom.planner.pricing import build_problem
from harness import report

REQUESTS = 120
WARM_UP = 20
HOSTS = ("ue", "gnb", "mec", "cloud")


def line() -> Topology:
    roles = ("ue", "gnb", "mec", "cloud")
    devices = tuple(Device(id=id, role=role) for id, role in zip(HOSTS, roles, strict=True))  # type: ignore[arg-type]
    links = []
    for a, b in itertools.pairwise(HOSTS):
        links += [Link(src=a, dst=b, rate_bps=float("inf")), Link(src=b, dst=a, rate_bps=float("inf"))]
    return Topology(devices=devices, links=tuple(links), source="ue", sink="cloud")


def cut_with(graph: ModelGraph, shape: tuple[int, ...], *, last: bool) -> int:
    """The first or last cut that one tensor of this shape crosses alone."""
    found = [
        cut
        for cut, live in enumerate(graph.live_sets)
        if len(live) == 1 and graph.tensors[live[0]].shape == shape and graph.tensors[live[0]].dtype == "float32"
    ]
    return found[-1] if last else found[0]


def named_cuts(graph: ModelGraph) -> dict[str, tuple[int, int, int]]:
    """Where the first three of four hosts stop."""
    group = {k: cut_with(graph, (1, 64 * 2**k, 32 >> k, 32 >> k), last=True) for k in range(4)}
    group_4_first = cut_with(graph, (1, 512, 4, 4), last=False)
    pooled = cut_with(graph, (1, 512), last=True)
    return {
        "the picture, after group 3, after group 4": (0, group[2], group[3]),
        "after group 3, within group 4, after pooling": (group[2], group_4_first, pooled),
        "after groups 1, 2 and 3": (group[0], group[1], group[2]),
    }


def main() -> None:
    captured = airloom.capture("resnet18")
    graph = captured.graph
    profile = airloom.profile(captured, seconds_budget=4.0)
    topology = line()
    problem = build_problem(topology, HOSTS, {"": profile})
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    with Deployment(captured, topology, profile, options=DeployOptions(emulate=False, in_flight=1)) as net:
        for name, cuts in named_cuts(graph).items():
            stops = (*cuts, graph.num_operators)
            net.pin(make_plan(problem, Solution(stops, problem.chain_s(stops)), topology, profile, runner_ups=0))
            took = {}
            for k in range(WARM_UP + REQUESTS):
                request = net.submit(picture)
                request.result()
                if k >= WARM_UP and request.took_s is not None:
                    took[request.number] = request.took_s
            time.sleep(1.0)  # hosts write their traces every half second
            compute: defaultdict[int, float] = defaultdict(float)
            for event in net.trace():
                if event.kind == "stage" and event.request is not None:
                    compute[event.request] += event.took_s
            added = [latency - compute[number] for number, latency in took.items()]
            largest = max(graph.cut_nbytes(cut) for cut in cuts)
            target = "<= 3" if largest <= 64 * 1024 else None
            label = f"added to ResNet-18 cut at {name} ({largest / 1024:.0f} KiB), p50"
            report(label, 1e3 * statistics.median(added), "ms", target)


if __name__ == "__main__":
    main()
