"""What the end-to-end tests are made of: a profile that needs no measuring, and a line of hosts."""

import itertools

from airloom.core.profile import CutSize, Machine, OperatorCost, Profile, Weights
from airloom.core.topology import Link, Topology


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
