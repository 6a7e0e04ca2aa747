"""A run folder such as `airloom demo` writes, made from a small model of four hosts."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from airloom.core.plan import Plan, Stage
from airloom.core.profile import Machine
from airloom.core.run import Change, Phase, RunRecord, SchemeRecord
from airloom.core.topology import Conditions, Device, Link, LinkState, Power, Topology
from airloom.core.trace import Event
from airloom.files import write_value

CHAIN = ("ue", "gnb", "mec", "cloud")
L = 69
FULL_S = {"ue": 0.096, "gnb": 0.048, "mec": 0.030, "cloud": 0.004}
RATE = {("ue", "gnb"): 40e6, ("gnb", "mec"): 400e6, ("mec", "cloud"): 20e6}
DELAY = {("ue", "gnb"): 0.004, ("gnb", "mec"): 0.001, ("mec", "cloud"): 0.006}
# Bytes that cross each cut: pixels first, then feature maps that halve with each group of blocks.
CUT = np.concatenate([[12288], np.full(23, 65536), np.full(21, 32768), np.full(24, 8192), [40]])


def _topology() -> Topology:
    powers = {"ue": Power(busy_w=2.4, radio_j_per_bit=4e-8, source="a phone"), "mec": Power(busy_w=60.0)}
    devices = tuple(
        Device(id=d, role=d, factor=FULL_S[d] / FULL_S["cloud"], power=powers.get(d, Power()))  # type: ignore[arg-type]
        for d in CHAIN
    )
    links = []
    for (a, b), rate in RATE.items():
        loss = 0.02 if a == "ue" else 0.0
        links += [Link(src=s, dst=t, rate_bps=rate, delay_s=DELAY[a, b], loss=loss) for s, t in ((a, b), (b, a))]
    return Topology(devices=devices, links=tuple(links), source="ue", sink="cloud", name="four hosts")


def _predict(stops: tuple[int, ...], slow_core: float) -> float:
    total, start = 0.0, 0
    for p, (device, stop) in enumerate(zip(CHAIN, stops, strict=True)):
        total += FULL_S[device] * (stop - start) / L
        if stop == L:
            break
        hop = CHAIN[p], CHAIN[p + 1]
        rate = RATE[hop] * (slow_core if hop == ("mec", "cloud") else 1.0)
        total += 2 * DELAY[hop] + 8 * float(CUT[stop] + 200) / rate
        start = stop
    return total


def _best(slow_core: float) -> tuple[int, ...]:
    cuts = (0, 24, 45, 62, L)
    found = (c for c in itertools.product(cuts, repeat=3) if list(c) == sorted(c))
    return min(((*c, L) for c in found), key=lambda stops: _predict(stops, slow_core))


def _plan(stops: tuple[int, ...]) -> Plan:
    stages, start = [], 0
    for device, stop in zip(CHAIN, stops, strict=True):
        if stop > start:
            took = FULL_S[device] * (stop - start) / L
            stages.append(Stage(id=f"s{len(stages)}", device=device, start=start, stop=stop, predicted_s=took))
            start = stop
    return Plan(
        model="resnet20",
        graph_digest="sha256:0",
        problem_digest="sha256:1",
        chain=CHAIN,
        stops=stops,
        stages=tuple(stages),
        transfers=(),
        predicted_s=_predict(stops, 1.0),
    )


def _trace(
    stops_of: list[tuple[int, ...]], slow_at: int, rng: np.random.Generator, kill: int | None
) -> dict[str, list[Event]]:
    """Events of each host, one request after the other."""
    head = {"schema": 1, "clock": "monotonic", "airloom": "0.1.0"}
    events = {d: [Event(at_s=100.0, host=d, kind="trace", data=head)] for d in CHAIN}
    now = 100.0
    for k, stops in enumerate(stops_of):
        slow = 0.1 if k >= slow_at else 1.0
        began = now
        events["ue"].append(Event(at_s=now, host="ue", kind="submit", request=k, data={"deadline_s": 2.0}))
        events["ue"].append(Event(at_s=now, host="ue", kind="attempt", request=k, attempt=0))
        if kill is not None and k == kill:
            now += 2.0
            data = {"error": "DeadlineExceeded", "message": "no result within 2.00 s"}
            events["ue"].append(Event(at_s=now, host="ue", kind="error", took_s=2.0, request=k, attempt=0, data=data))
            continue
        start, path = 0, ["ue"]
        for p, (device, stop) in enumerate(zip(CHAIN, stops, strict=True)):
            if stop > start:
                took = FULL_S[device] * (stop - start) / L * float(1.02 + 0.06 * rng.gamma(1.2))
                now += took
                data = {"start": start, "stop": stop}
                events[device].append(
                    Event(at_s=now, host=device, kind="stage", took_s=took, request=k, attempt=0, data=data)
                )
                start = stop
            if stop == L:
                break
            to = CHAIN[p + 1]
            rate = RATE[device, to] * (slow if to == "cloud" else 1.0)
            nbytes = int(CUT[stop])
            data = {"dst": to, "what": "task", "cut": stop, "nbytes": nbytes, "wire_nbytes": nbytes + 200}
            events[device].append(Event(at_s=now, host=device, kind="send", request=k, attempt=0, data=data))
            took = 8 * (nbytes + 200) / rate + DELAY[device, to] + float(rng.gamma(1.0) * 0.0012)
            now += took
            data = {"src": device, "what": "task", "cut": stop, "nbytes": nbytes, "missing": 0}
            events[to].append(Event(at_s=now, host=to, kind="arrive", took_s=took, request=k, attempt=0, data=data))
            events[device].append(
                Event(at_s=now, host=device, kind="link", data={"dst": to, "rate_bps": rate * rng.normal(0.97, 0.02)})
            )
            path.append(to)
        for device, to in zip(path[::-1], path[-2::-1], strict=False):
            data = {"dst": to, "what": "result", "cut": L, "nbytes": 40, "wire_nbytes": 196}
            events[device].append(Event(at_s=now, host=device, kind="send", request=k, attempt=0, data=data))
            now += DELAY[to, device]
            data = {"src": device, "what": "result", "cut": L, "nbytes": 40}
            events[to].append(Event(at_s=now, host=to, kind="arrive", request=k, attempt=0, data=data))
        events["ue"].append(
            Event(at_s=now, host="ue", kind="result", took_s=now - began, request=k, attempt=0, data={"missing": 0})
        )
        now += 0.002
    return events


def write_run(folder: Path, requests: int = 40, seed: int = 7) -> RunRecord:
    """Write a run folder of four schemes; the core link drops to a tenth halfway."""
    rng = np.random.default_rng(seed)
    half = requests // 2
    topology = _topology()
    labels = tuple(int(y) for y in rng.integers(0, 10, requests))
    slow_core = Conditions(links=(LinkState(src="mec", dst="cloud", rate_bps=2e6),))
    cases = {
        "ue-only": ("UE only", (L, L, L, L), (L, L, L, L)),
        "cloud-only": ("Cloud only", (0, 0, 0, L), (0, 0, 0, L)),
        "single-split": ("Best single split", (62, 62, 62, L), (62, 62, 62, L)),
        "airloom": ("Airloom", _best(1.0), _best(0.1)),
    }
    schemes = []
    for name, (title, before, after) in cases.items():
        lag = min(half + 2, requests)
        stops = [before] * lag + [after] * (requests - lag)
        kill = 3 if name == "cloud-only" else None
        for host, events in _trace(stops, half, rng, kill).items():
            path = folder / "traces" / name / f"{host}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        wrong = rng.random(requests) < 0.08
        predictions = [int((y + w) % 10) for y, w in zip(labels, wrong, strict=True)]
        if kill is not None:
            predictions[kill] = -1
        phases = (
            Phase(name="full core link", predicted_s=_predict(before, 1.0), stops=before),
            Phase(
                name="core link at a tenth",
                first_request=half,
                conditions=slow_core,
                predicted_s=_predict(after, 0.1),
                stops=after,
            ),
        )
        schemes.append(
            SchemeRecord(
                name=name,
                title=title,
                plan=_plan(before),
                phases=phases,
                predicted_stages=_plan(after).stages,
                predictions=tuple(predictions),
            )
        )
    record = RunRecord(
        title="ResNet-20 over four hosts",
        model="resnet20",
        topology=topology,
        chain=CHAIN,
        schemes=tuple(schemes),
        operators=tuple(f"op{k}" for k in range(L)),
        labels=labels,
        changes=(Change(request=half, title="mec -> cloud drops to a tenth", conditions=slow_core),),
        emulated=("links by a relay on this machine", "compute of ue, gnb and mec stretched"),
        machine=Machine(cpu="made up", cores=2, threads=1, python="3.11.2", torch="2.13.0"),
        airloom="0.1.0",
        started="2026-01-02T03:04:05Z",
    )
    write_value(folder / "run.json", record)
    return record


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of four schemes, 40 requests each."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder
