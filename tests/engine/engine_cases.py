"""Small models and topologies for tests of hosts."""

from __future__ import annotations

import itertools
import math

import numpy as np

from airloom.core.coding import Coding
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.tolerance import Contract, Curve, CutTolerance, Tolerance
from airloom.core.topology import Device, Link, Topology

#: What frames of `chain_profile`'s models say.
MODEL = bytes.fromhex("ab" * 8)


def chain_profile(compute_s: tuple[float, ...], nbytes: tuple[int, ...], *, constant_s: float = 0.0) -> Profile:
    """A chain model: one tensor a cut, tensor id = the cut."""
    assert len(nbytes) == len(compute_s) + 1
    return Profile(
        model="chain",
        device="bench",
        operators=tuple(OperatorCost(name=f"op{i}", compute_s=s) for i, s in enumerate(compute_s)),
        cuts=tuple(CutSize(tensor_nbytes=(n,), tensors=(c,)) for c, n in enumerate(nbytes)),
        output_nbytes=(nbytes[-1],),
        weights=tuple(Weights(nbytes=1000, operators=(i,)) for i in range(len(compute_s))),
        graph_digest="sha256:" + "ab" * 32,
        stage_constant_s=constant_s,
    )


#: Accuracy of a blob against the share of its blocks that are missing.
RATES, ACCURACIES = (0.0, 0.2, 0.5, 0.9), (0.70, 0.69, 0.60, 0.20)
SMALL_CODING = Coding(precision="int8", interleave="structured", conceal="neighbours")


def contract(profile: Profile, min_accuracy: float | None = 0.64, *, share: float = 0.3) -> Contract:
    """Every cut but the last may go as a blob of `share` of its bytes, and bears losses; coding takes 0.1 ms."""
    curve = Curve(kind="pchip", parameters=(*RATES, *ACCURACIES), mae=0.001, margin=0.005)
    cuts = tuple(
        CutTolerance(
            cut=cut, coding=SMALL_CODING, pattern="burst", block_bytes=1152, nbytes=float(round(size.nbytes * share)),
            code_s=1e-4, decode_s=2e-4, clean=0.70, curves=(curve,),
        )
        for cut, size in enumerate(profile.cuts[:-1])
    )  # fmt: skip
    tolerance = Tolerance(
        model=profile.model, graph_digest=profile.graph_digest, weights_digest="sha256:00", metric="top-1", clean=0.71,
        samples=100, cuts=cuts,
    )  # fmt: skip
    return Contract(tolerance=tolerance, min_accuracy=min_accuracy)


def blob_nbytes(made: Contract, cut: int, coding: Coding) -> int:
    """Bytes of a coded live set."""
    return next(math.ceil(e.nbytes) for e in made.tolerance.cuts if (e.cut, e.coding) == (cut, coding))


def random_profile(rng: np.random.Generator, num_operators: int = 8) -> Profile:
    compute = tuple(float(s) for s in rng.uniform(0.0005, 0.01, num_operators))
    nbytes = (*(int(n) for n in rng.integers(100, 40000, num_operators)), 40)
    return chain_profile(compute, nbytes, constant_s=float(rng.uniform(0, 0.001)))


def line(
    factors: tuple[float, ...] = (20.0, 4.0, 2.0, 1.0),
    rates: tuple[float, ...] = (40e6, 400e6, 20e6),
    delays: tuple[float, ...] = (0.004, 0.001, 0.006),
    *,
    overhead_s: float = 0.0,
    losses: tuple[float, ...] = (0.0, 0.0, 0.0),
    memory_bytes: tuple[int | None, ...] | None = None,
) -> Topology:
    """ue - gnb - mec - cloud, or as many of them as there are factors."""
    names = ("ue", "gnb", "mec", "cloud")[: len(factors)]
    limits = memory_bytes or (None,) * len(names)
    devices = tuple(
        Device(id=id, role=id, factor=f, memory_bytes=m)  # type: ignore[arg-type]
        for id, f, m in zip(names, factors, limits, strict=True)
    )
    links = tuple(
        Link(src=s, dst=d, rate_bps=rate, delay_s=delay, overhead_s=overhead_s, loss=loss)
        for (a, b), rate, delay, loss in zip(itertools.pairwise(names), rates, delays, losses, strict=False)
        for s, d in ((a, b), (b, a))
    )
    return Topology(devices=devices, links=links, source=names[0], sink=names[-1], name="line")


def tree() -> Topology:
    """Two UEs under two gNBs, one MEC host, one cloud."""
    devices = (
        Device(id="ue1", role="ue", factor=20.0),
        Device(id="ue2", role="ue", factor=10.0),
        Device(id="gnb1", role="gnb", factor=5.0),
        Device(id="gnb2", role="gnb", factor=6.0),
        Device(id="mec", role="mec", factor=2.0),
        Device(id="cloud", role="cloud", factor=0.5),
    )
    pairs = (
        ("ue1", "gnb1", 50e6, 0.003), ("ue2", "gnb2", 20e6, 0.004), ("gnb1", "mec", 200e6, 0.001),
        ("gnb2", "mec", 100e6, 0.001), ("mec", "cloud", 30e6, 0.005),
    )  # fmt: skip
    links = tuple(
        Link(src=s, dst=d, rate_bps=rate, delay_s=delay) for a, b, rate, delay in pairs for s, d in ((a, b), (b, a))
    )
    return Topology(devices=devices, links=links, source="ue1", sink="cloud", name="tree")
