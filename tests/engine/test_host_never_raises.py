"""Whatever comes, in whatever order, a host answers with effects and never raises."""

from __future__ import annotations

import struct
import time

import msgspec
import numpy as np
import pytest
from engine_cases import MODEL, chain_profile, contract, line
from engine_pump import Pump
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_pinned import BRANCHED, branched_plan, chain_plan

from airloom.core.forecast import ForecastPolicy
from airloom.core.messages import BLOB, GAPS, UNKNOWN_DROP, Ask, Frame, FrameKind, Gap, Mode, Parcel, SplitCost
from airloom.core.objective import Bound, Objective, Term
from airloom.engine.config import HostConfig, WavePolicy
from airloom.engine.events import (
    Cancel,
    Emit,
    Event,
    Execute,
    Finish,
    FrameArrived,
    LinkChanged,
    LinkMeasured,
    PeerDown,
    PeerUp,
    PlanPinned,
    SendFrame,
    SplitCostArrived,
    StageDone,
    StageRaised,
    Submit,
    TimerFired,
    WaveAsked,
)
from airloom.engine.host import Host
from airloom.engine.wave import graph_key

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
AGREED = HostConfig(device="mec", topology=line(), profile=SMALL, contract=contract(SMALL))
CODED_MODEL = Host(AGREED).codings.key(1)
BRANCHED_MODEL = bytes.fromhex("cd" * 8)
DEVICES = st.sampled_from(["ue", "gnb", "mec", "cloud", "stranger"])
SMALL_INTS = st.integers(0, 6)


@st.composite
def parcels(draw: st.DrawFn) -> Parcel:
    ids = tuple(draw(st.lists(SMALL_INTS, max_size=3)))
    data = tuple(memoryview(bytes(draw(st.sampled_from([0, 1, 40, 300, 2000, 8192, 12288])))) for _ in ids)
    gaps = tuple(Gap(id, 0, len(d)) for id, d in zip(ids, data, strict=True) if draw(st.booleans()))
    return Parcel(ids, data, gaps)


@st.composite
def likely_parcels(draw: st.DrawFn) -> Parcel:
    """The live set of a cut of the chain model."""
    cut = draw(st.integers(0, 5))
    size = SMALL.cuts[cut].tensor_nbytes[0]
    return Parcel((cut,), (memoryview(bytes(size)),))


@st.composite
def blobs(draw: st.DrawFn) -> Parcel:
    """A blob with what is missing of it, likely or not."""
    blob = memoryview(bytes(draw(st.sampled_from([0, 1, 40, 3686, 19661]))))
    told = draw(st.one_of(st.binary(max_size=24), st.just(b""), st.just(struct.pack("<IIII", 0, 10, 1056, 3686))))
    gaps = [Gap(id, 0, 1) for id in (BLOB, GAPS) if draw(st.booleans())]
    return Parcel((BLOB, GAPS), (blob, memoryview(told)), tuple(gaps))


@st.composite
def frames(draw: st.DrawFn) -> FrameArrived:
    parcel = draw(st.one_of(parcels(), likely_parcels(), blobs()))
    cut = parcel.tensors[0] if parcel.tensors and draw(st.booleans()) else draw(st.integers(0, 9))
    frame = Frame(
        kind=draw(st.sampled_from(FrameKind)),
        source=draw(st.sampled_from([0, 0, 0, 1, 3, 99])),
        request=draw(SMALL_INTS),
        attempt=draw(st.integers(0, 3)),
        epoch=draw(st.sampled_from([0, 1, 7])),
        cut=cut,
        transfer=draw(st.sampled_from([-1, -1, 0, 1, 2, 3, 5, 9])),
        missing_ppm=draw(st.sampled_from([0, 0, 5, 1_000_000])),
        model=draw(st.sampled_from([MODEL, MODEL, MODEL, BRANCHED_MODEL, CODED_MODEL, CODED_MODEL, bytes(8)])),
        mode=draw(st.sampled_from([Mode.INFERENCE, Mode.INFERENCE, Mode.INFERENCE, Mode.WEIGHTS])),
        coding=draw(st.sampled_from([0, 0, 0, 1, 2, 77])),
        drop_bp=draw(st.sampled_from([0, 0, 300, 10_000, UNKNOWN_DROP])),
        gone_bp=draw(st.sampled_from([0, 0, 300, 10_000])),
        left=draw(st.sampled_from([(), (), (), (0.0,), (0.03,), (1e38,), (0.02, 0.5)])),
        tensors=tuple((id, d.nbytes) for id, d in zip(parcel.tensors, parcel.data, strict=True)),
    )
    return FrameArrived(draw(DEVICES), frame, parcel)


@st.composite
def costs(draw: st.DrawFn) -> SplitCostArrived:
    size = draw(st.sampled_from([6, 6, 6, 5, 0]))
    values = draw(st.lists(st.sampled_from([0.0, 0.01, 1e9, np.inf, np.nan, -1.0]), min_size=size, max_size=size))
    message = SplitCost(
        draw(st.integers(0, 5)), draw(st.integers(0, 5)), draw(st.integers(0, 2**62)),
        draw(st.sampled_from([graph_key(SMALL.graph_digest), b"", b"\0" * 8])), np.array(values, np.float32),
        draw(st.integers(0, 3)), draw(st.sampled_from([-1, -1, 0, 2, 99])),
        tuple(np.array(rows, np.float32).reshape(-1, 2) for rows in draw(LABELS)),
        draw(st.sampled_from([1.0, 1.0, 1.1, 3.4e38, 0.5, np.nan])),
    )  # fmt: skip
    return SplitCostArrived(draw(DEVICES), message)


LABELS = st.one_of(
    st.just(()),
    st.lists(
        st.lists(st.tuples(*[st.sampled_from([0.0, 0.01, 0.2, 1e9, np.inf, np.nan, -1.0])] * 2), max_size=3),
        min_size=6, max_size=6,
    ),
)  # fmt: skip


FIGURES = st.sampled_from([None, 0.0, 1e-40, -1.0, 0.5, 1.0, 1e3, 1e9, np.inf, np.nan])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    frames(),
    frames(),
    costs(),
    st.builds(Submit, SMALL_INTS, st.one_of(parcels(), likely_parcels()), st.floats(0, 30)),
    st.builds(Cancel, SMALL_INTS),
    st.builds(StageDone, st.integers(0, 12), st.one_of(parcels(), likely_parcels()), st.floats(0, 1)),
    st.builds(StageRaised, st.integers(0, 12), st.text(max_size=5)),
    st.builds(
        TimerFired,
        st.one_of(
            st.tuples(st.sampled_from(["attempt", "deadline", "local", "hold"]), SMALL_INTS),
            st.tuples(st.sampled_from(["wave", "refresh", "together", "load", "partial", "?"])),
            st.just(("partial", 0, 1, 0, "join")),
            st.just(()),
        ),
    ),
    st.builds(WaveAsked, st.builds(Ask, SMALL_INTS, st.integers(0, 9), st.just(graph_key(SMALL.graph_digest)))),
    st.builds(LinkChanged, DEVICES, DEVICES, st.booleans()),
    st.builds(PeerUp, DEVICES),
    st.builds(PeerDown, DEVICES),
    st.builds(LinkMeasured, DEVICES, DEVICES, FIGURES, FIGURES, FIGURES),
    st.builds(PlanPinned, st.sampled_from([None, chain_plan(1), chain_plan(7), branched_plan()])),
)


def feed(host: Host, events: list[Event], executor: bool) -> None:
    """All events in order, 50 ms apart; where there is an executor its stages end, some events later."""
    now_s, jobs, live = 0.0, [], set()
    host.start(now_s)
    for event in events:
        now_s += 0.05
        if executor and len(jobs) > 2:
            done = jobs.pop(0)
            outputs = Parcel(done.outputs, tuple(memoryview(bytes(SMALL.cuts[i].nbytes)) for i in done.outputs))
            if not done.encode.is_raw:
                outputs = Parcel((BLOB,), (memoryview(bytes(3000)),))
            event = StageDone(done.job, outputs, 0.01)
        if isinstance(event, Submit) and event.request not in live:
            live.add(event.request)
        for effect in host.handle(event, now_s):
            assert not isinstance(effect, Emit) or effect.event.at_s == now_s
            if isinstance(effect, Execute):
                jobs.append(effect)
            if isinstance(effect, SendFrame):
                assert not effect.parcel.missing
                assert effect.dst != host.config.device
            if isinstance(effect, Finish):
                assert effect.request in live
                live.discard(effect.request)
    host.snapshot()


BOUNDED = Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.05),))
SETTINGS: tuple[dict[str, object], ...] = (
    {"objective": BOUNDED},
    {"objective": msgspec.structs.replace(BOUNDED, solver="convex"), "wave": WavePolicy(per_request=True)},
    {"objective": Objective(minimize=(Term("bytes"),)), "forecast": ForecastPolicy(method="kalman", when="always")},
    {"forecast": ForecastPolicy(method="autoregressive", when="within"), "wave": WavePolicy(spontaneous=False)},
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.sampled_from(["ue", "gnb", "mec", "cloud"]), st.sampled_from(SETTINGS))
def test_any_events_under_objectives_and_forecasts(
    events: list[Event], device: str, settings: dict[str, object]
) -> None:
    feed(Host(HostConfig(device=device, topology=line(), profile=SMALL, **settings)), events, True)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.sampled_from(["ue", "gnb", "mec", "cloud"]), st.booleans())
def test_any_events_in_any_order(events: list[Event], device: str, executor: bool) -> None:
    feed(Host(HostConfig(device=device, topology=line(), profile=SMALL)), events, executor)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.sampled_from(["ue", "gnb", "mec", "cloud"]), st.booleans())
def test_any_events_in_any_order_under_a_contract(events: list[Event], device: str, executor: bool) -> None:
    topology = line(losses=(0.1, 0.0, 0.2))
    host = Host(HostConfig(device=device, topology=topology, profile=SMALL, contract=AGREED.contract))
    for event in events:
        if isinstance(event, FrameArrived):
            missing, rounds = host.repair.allow(event.src, event.frame, 10, 0.3)
            assert 0.0 <= missing <= 1.0
            assert 0 <= rounds <= 255
    feed(host, events, executor)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.sampled_from(["ue", "mec"]))
def test_any_events_with_a_pinned_graph(events: list[Event], device: str) -> None:
    start: list[Event] = [PeerUp("ue"), PeerUp("gnb"), PeerUp("mec"), PeerUp("cloud"), PlanPinned(branched_plan())]
    feed(Host(HostConfig(device=device, topology=line(), profile=BRANCHED)), start + events, False)


@pytest.mark.long
@settings(deadline=None, max_examples=20000, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.sampled_from(["ue", "gnb", "mec", "cloud"]), st.booleans())
def test_many_more_events_in_any_order(events: list[Event], device: str, executor: bool) -> None:
    feed(Host(HostConfig(device=device, topology=line(), profile=SMALL)), events, executor)


def test_memory_is_bounded_under_a_flood() -> None:
    host = Host(HostConfig(device="mec", topology=line(), profile=SMALL, max_jobs=16))
    for peer in ("ue", "gnb", "cloud"):
        host.handle(PeerUp(peer), 0.0)
    parcel = Parcel((0,), (memoryview(bytes(12288)),))
    jobs = failures = 0
    for k in range(5000):
        frame = Frame(model=MODEL, kind=FrameKind.TASK, source=0, request=k, tensors=((0, 12288),))
        for effect in host.handle(FrameArrived("gnb", frame, parcel), 0.001 * k):
            jobs += isinstance(effect, Execute)
            failures += isinstance(effect, SendFrame) and effect.frame.kind == FrameKind.FAILURE
    assert jobs == 16
    assert failures == 5000 - 16
    assert len(host._passages) <= 2048


def test_memory_is_bounded_under_a_flood_of_attempts() -> None:
    host = Host(HostConfig(device="mec", topology=line(), profile=SMALL))
    for attempt in range(5000):
        host.handle(
            FrameArrived(
                "gnb", Frame(model=MODEL, kind=FrameKind.CANCEL, source=0, request=1, attempt=attempt), Parcel()
            ),
            0.0,
        )
    assert len(host._passages.at(0, 1, 0.0).marks) <= 256


def test_duplicates_run_once() -> None:
    pump = Pump(line(), SMALL)
    pump.hold_frames = lambda device, effect: device == "gnb"
    pump.submit(1)
    (first, *_) = [effect for device, effect in pump.held if device == "gnb"]
    pump.hold_frames = lambda device, effect: False
    for _ in range(3):
        pump.release("gnb", first)
    assert [device for device, _ in pump.stages] == ["mec"]
    assert pump.drops("mec")["duplicate"] == 2


def test_forwarding_is_cheap() -> None:
    pump = Pump(line(), SMALL)
    gnb = pump.hosts["gnb"]
    parcel = pump.parcel((0,))
    took = []
    for k in range(300):
        event = FrameArrived(
            "ue", Frame(model=MODEL, kind=FrameKind.TASK, source=0, request=k, tensors=((0, 12288),)), parcel
        )
        began = time.perf_counter()
        effects = gnb.handle(event, pump.now_s)
        took.append(time.perf_counter() - began)
        assert any(isinstance(e, SendFrame) and e.dst == "mec" for e in effects)
    assert min(took) < 2e-4  # target 50 us on a quiet machine
