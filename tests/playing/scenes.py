"""Small scenarios for tests: a chain whose links others share, and a tree with cells that UEs move between."""

from __future__ import annotations

from typing import Any

import msgspec
from engine_cases import line

from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.scenario import Antenna, Background, Cell, Coherence, Path, Scenario, SharedLink, Tasks, Ue
from airloom.core.topology import Device, Link, Power, Topology

PROFILE = Profile(
    model="small",
    device="bench",
    operators=tuple(OperatorCost(name=f"op{k}", compute_s=0.001 * (1 + k % 3)) for k in range(8)),
    cuts=tuple(
        CutSize(tensor_nbytes=(n,), tensors=(k,))
        for k, n in enumerate((40_000, 60_000, 30_000, 30_000, 15_000, 8_000, 8_000, 2_000, 40))
    ),
    output_nbytes=(40,),
    graph_digest="sha256:" + "cd" * 32,
)
BUSY = Background(users=3.0, rate_bps=8e6, rate_spread=0.6, swing=0.4, stay_s=5.0)


def held(topology: Topology | None = None, *, coherence_s: float = 10.0, **more: Any) -> Scenario:
    """A chain whose links each keep a rate for `coherence_s`."""
    net = topology or line((20.0, 4.0, 2.0, 0.5), (40e6, 60e6, 30e6))
    links = tuple(
        SharedLink(src=a.src, dst=a.dst, kind="wired", background=BUSY, label=f"{a.src}-{a.dst}", published=(5e6, 1e6))
        for a in net.links
    )
    tasks = more.pop("tasks", Tasks(every_s=1.0, deadline_s=5.0))
    made = Scenario(
        topology=net, ues=(Ue(id=net.source, path=Path(waypoints=((0.0, 0.0),))),), links=links, tasks=tasks,
        coherence=_coherence(coherence_s), name="held",
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def _coherence(seconds: float) -> Coherence:
    return Coherence(access_s=seconds, backhaul_s=seconds, wired_s=seconds)


def moving(ues: int = 1, *, speed_mps: float = 50.0, **more: Any) -> Scenario:
    """Two cells with a MEC host behind them and a cloud; UEs go to and fro between the cells."""
    names = ["ue", *(f"ue{k}" for k in range(2, ues + 1))]
    power = Power(busy_w=2.0, radio_j_per_bit=1e-7, source="assumed")
    devices = [Device(id=id, role="ue", factor=10.0, power=power) for id in names]
    devices += [Device(id="a", role="gnb", factor=2.0), Device(id="b", role="gnb", factor=2.0)]
    devices += [Device(id="mec", role="mec"), Device(id="cloud", role="cloud", factor=0.5)]
    pairs = [(id, cell, 100e6) for id in names for cell in ("a", "b")]
    pairs += [("a", "mec", 200e6), ("b", "mec", 200e6), ("mec", "cloud", 50e6)]
    links = [Link(src=s, dst=t, rate_bps=rate, delay_s=0.002) for x, y, rate in pairs for s, t in ((x, y), (y, x))]
    topology = Topology(devices=tuple(devices), links=tuple(links), source="ue", sink="cloud", name="two cells")
    radio = Antenna(carrier_hz=3.5e9, bandwidth_hz=40e6, scs_khz=30)
    cells = tuple(
        Cell(device=id, at_m=(x, 100.0), antenna=radio, capacity_bps=100e6, uplink=BUSY, downlink=BUSY)
        for id, x in (("a", 100.0), ("b", 500.0))
    )
    shared = tuple(
        SharedLink(src=s, dst=t, kind="wired", background=BUSY, label="G" if s == "mec" else "", published=(36e6, 8e6))
        for s, t in (("mec", "cloud"), ("cloud", "mec"))
    )
    path = Path(waypoints=((60.0, 100.0), (540.0, 100.0)), speed_mps=speed_mps)
    made = Scenario(
        topology=topology, ues=tuple(Ue(id=id, path=path) for id in names), cells=cells, links=shared,
        tasks=Tasks(every_s=0.2, deadline_s=2.0), coherence=_coherence(0.05), name="moving", seed=3,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)
