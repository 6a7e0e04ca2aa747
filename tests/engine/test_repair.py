"""The controller: Eq. (1), allowances by hop, what frames say of what they lost."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from engine_cases import MODEL, SMALL_CODING, chain_profile, contract, line
from engine_pump import Pump
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.coding import RAW
from airloom.core.messages import BLOB, GAPS, UNKNOWN_DROP, Frame, FrameKind, Gap, Mode, Parcel
from airloom.core.plan import Hop, Plan, Stage, Transfer
from airloom.engine.config import HostConfig
from airloom.engine.events import FrameArrived, PlanPinned, SendFrame, StageRaised
from airloom.engine.host import Host
from airloom.engine.layout import check_plan
from airloom.engine.repair import MOST_ROUNDS, independent, retransmissions
from airloom.errors import ConfigError, Infeasible, ProfileMismatch, StageFailed
from airloom.planner.accuracy import tolerable

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
LOSSY = line((20.0, 4.0, 2.0, 1.0), losses=(0.2, 0.0, 0.2))
AGREED = contract(SMALL, 0.60)


def host(device: str = "gnb", **settings: object) -> Host:
    return Host(HostConfig(device=device, topology=LOSSY, profile=SMALL, **{"contract": AGREED, **settings}))  # type: ignore[arg-type]


def coded(of: Host, **changes: object) -> Frame:
    frame = Frame(kind=FrameKind.TASK, source=0, request=1, cut=1, coding=1, model=of.codings.key(1))
    return msgspec.structs.replace(frame, **changes)


@settings(deadline=None)
@given(st.floats(0.001, 0.99), st.floats(0.001, 1.0))
def test_f_is_the_least_number_that_does(error_rate: float, share: float) -> None:
    n = independent(error_rate, share)
    if n < MOST_ROUNDS:
        assert error_rate ** (n + 1) <= share * (1 + 1e-6)
    if n:
        assert error_rate**n > share


def test_eq_1() -> None:
    entry = AGREED.tolerance.cuts[1]
    share = tolerable(entry.curves[0], 0.60)
    assert retransmissions(entry, 0.60, share) == 0
    assert retransmissions(entry, 0.60, 0.6) == 1
    assert retransmissions(entry, 0.60, 0.9) == independent(0.9, share) > 5
    assert retransmissions(entry, 0.60, 0.9, lambda r, target: 3) == 3  # HARQ


def test_allowances_follow_the_budgets_of_the_hops() -> None:
    """Clean 0.71 and floor 0.60 over ue->gnb and mec->cloud, which lose: 0.055 each."""
    curve = AGREED.tolerance.cuts[1].curves[0]
    gnb, mec, cloud = host("gnb"), host("mec"), host("cloud")
    assert gnb.repair.tolerable("ue", coded(gnb)) == pytest.approx(tolerable(curve, 0.71 - 0.055))
    assert mec.repair.tolerable("gnb", coded(mec)) == 0.0
    assert cloud.repair.tolerable("mec", coded(cloud)) == pytest.approx(tolerable(curve, 0.60))
    assert cloud.repair.tolerable("mec", coded(cloud, gone_bp=2000)) == pytest.approx(tolerable(curve, 0.60) - 0.2)
    assert cloud.repair.tolerable("mec", coded(cloud, drop_bp=600)) == pytest.approx(tolerable(curve, 0.66))
    assert cloud.repair.tolerable("mec", coded(cloud, drop_bp=2000)) == 0.0
    assert cloud.repair.tolerable("mec", coded(cloud, drop_bp=UNKNOWN_DROP)) == 0.0
    assert cloud.repair.tolerable("ue", coded(cloud)) == 0.0  # no hop of the way


@pytest.mark.parametrize(
    "changes",
    [{"kind": FrameKind.RESULT}, {"coding": 0, "model": MODEL}, {"coding": 7}, {"model": MODEL}, {"mode": Mode.WEIGHTS},
     {"cut": 5}, {"cut": 99}, {"source": 77}],
)  # fmt: skip
def test_nothing_may_be_missing_of_anything_else(changes: dict[str, object]) -> None:
    gnb = host("gnb")
    missing, rounds = gnb.repair.allow("ue", coded(gnb, **changes), 50, 0.3)
    assert missing == 0.0
    assert rounds >= 3
    no_floor = host("gnb", contract=msgspec.structs.replace(AGREED, min_accuracy=None))
    assert no_floor.repair.tolerable("ue", coded(no_floor)) == 0.0


def test_rounds_grow_with_the_loss() -> None:
    gnb = host("gnb")
    rounds = [gnb.repair.allow("ue", coded(gnb), 100, loss)[1] for loss in (0.0, 0.3, 0.6, 0.9, 0.99, 1.0)]
    assert rounds == sorted(rounds)
    assert rounds[0] == independent(0.2, 1e-5)  # the topology knows of a fifth
    assert rounds[-1] == MOST_ROUNDS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"model": bytes(8)}, "message of another model"), ({"coding": 9}, "unknown coding"),
     ({"model": MODEL}, "message of another model"), ({"mode": Mode.WEIGHTS}, "not of split inference"),
     ({"cut": 5}, "not the live set of its cut")],
)  # fmt: skip
def test_frames_of_others_are_refused_and_counted(changes: dict[str, object], reason: str) -> None:
    gnb = host("gnb")
    parcel = Parcel((BLOB, GAPS), (memoryview(bytes(3000)), memoryview(b"")))
    effects = gnb.handle(FrameArrived("ue", coded(gnb, **changes), parcel), 1.0)
    assert gnb.snapshot().counters == {reason: 1}
    assert not any(isinstance(effect, SendFrame) for effect in effects)


def test_another_profile_of_the_same_model_is_another_language() -> None:
    """Its codings could have the same numbers and mean something else."""
    cuts = tuple(
        msgspec.structs.replace(e, coding=msgspec.structs.replace(e.coding, seed=1)) for e in AGREED.tolerance.cuts
    )
    other = msgspec.structs.replace(AGREED, tolerance=msgspec.structs.replace(AGREED.tolerance, cuts=cuts))
    assert host(contract=other).codings.key(1) != host().codings.key(1)
    assert host(contract=other).codings.key(0) == host(contract=None).codings.key(0)


# --- hosts together ------------------------------------------------------------------------------


def pump(**settings: object) -> Pump:
    """The UE is slow and its link too: it codes the input; the gNB only forwards, the MEC host runs all."""
    topology = line((200.0, 1.0, 1.0), (4e6, 400e6), (0.001, 0.001), losses=(0.2, 0.2))
    devices = tuple(msgspec.structs.replace(d, computes=d.id != "gnb") for d in topology.devices)
    return Pump(msgspec.structs.replace(topology, devices=devices), SMALL, **{"contract": AGREED, **settings})


def lose(network: Pump, at: str, *units: int) -> None:
    """Units of blobs that go to `at` are lost."""

    def held(_: str, effect: SendFrame) -> bool:
        return effect.frame.kind == FrameKind.TASK and effect.dst == at

    network.hold_frames = held
    rooms = (1056, 1152)
    network.submit(1)
    while network.held:
        device, effect = network.held.pop()
        assert isinstance(effect, SendFrame)
        edges = [(0, rooms[0]), *((rooms[0] + k * rooms[1], rooms[0] + (k + 1) * rooms[1]) for k in range(5))]
        size = effect.parcel.data[0].nbytes
        gaps = tuple(Gap(BLOB, edges[u][0], min(edges[u][1], size)) for u in units)
        network.tell(at, FrameArrived(device, effect.frame, effect.parcel._replace(missing=gaps)))


def test_a_blob_goes_through_hosts_that_run_nothing() -> None:
    network = pump()
    network.submit(1)
    assert [(d, e.start, e.stop, e.decode.name, e.encode.name) for d, e in network.stages] == [
        ("ue", 0, 0, "raw", SMALL_CODING.name), ("mec", 0, 5, SMALL_CODING.name, "raw"),
    ]  # fmt: skip
    tasks = [(d, e.frame.coding, e.frame.tensors) for d, e in network.frames if e.frame.kind == FrameKind.TASK]
    assert tasks == [("ue", 1, ((BLOB, 3686), (GAPS, 0))), ("gnb", 1, ((BLOB, 3686), (GAPS, 0)))]
    (finish,) = network.finishes
    assert (finish.missing, finish.predicted_accuracy) == (0.0, pytest.approx(0.70))


def test_gaps_of_a_blob_go_with_it_and_cost_accuracy_once() -> None:
    network = pump()
    lose(network, "gnb", 1, 2)
    forwarded = next(e for d, e in network.frames if d == "gnb" and e.frame.kind == FrameKind.TASK)
    assert forwarded.frame.gone_bp == 5000
    assert forwarded.frame.tensors == ((BLOB, 3686), (GAPS, 8))
    assert not forwarded.parcel.missing
    decoded = next(e for d, e in network.stages if d == "mec")
    assert decoded.parcel == Parcel((BLOB,), (decoded.parcel.data[0],), (Gap(BLOB, 1056, 3360),))
    (finish,) = network.finishes
    assert finish.missing == pytest.approx(2304 / (3686), rel=1e-3)
    assert finish.predicted_accuracy == pytest.approx(0.60, abs=1e-4)  # G(2 units of 4)
    result = network.events("result")[0].data
    assert result["predicted_accuracy"] == finish.predicted_accuracy
    arrive = network.events("arrive", "gnb")[0].data
    assert (arrive["coding"], arrive["missing_share"]) == (SMALL_CODING.name, 0.5)


def test_a_result_below_the_floor_is_a_failed_attempt_and_the_last_resort() -> None:
    """3 of 4 units are lost however often it is sent; then the source runs the model itself, where it can."""
    network = pump()
    lose(network, "gnb", 1, 2, 3)
    (finish,) = network.finishes
    assert (finish.missing, finish.predicted_accuracy) == (0.0, pytest.approx(0.71))
    tries = [e.data["reason"] for e in network.events("attempt")]
    assert tries == ["first", *["below the floor"] * (len(tries) - 1)]
    assert len(tries) > 2
    refused = [e for e in network.events("drop") if e.data["reason"] == "below the floor"]
    assert len(refused) == len(tries) - 1
    assert all(e.data["predicted_accuracy"] < 0.60 for e in refused)

    small = network.topology.devices[0]
    devices = (msgspec.structs.replace(small, memory_bytes=10), *network.topology.devices[1:])
    network = Pump(msgspec.structs.replace(network.topology, devices=devices), SMALL, contract=AGREED)
    lose(network, "gnb", 1, 2, 3)
    (finish,) = network.finishes
    assert isinstance(finish.outcome, Parcel)
    assert finish.missing > 0.5
    assert 0.0 < finish.predicted_accuracy < 0.60
    assert network.events("result")[0].data["predicted_accuracy"] == finish.predicted_accuracy


def test_a_plan_with_tuned_weights_ends_where_they_begin() -> None:
    tuned = msgspec.structs.replace(SMALL_CODING, tuned=True)
    cuts = tuple(msgspec.structs.replace(entry, coding=tuned) for entry in AGREED.tolerance.cuts)
    agreed = msgspec.structs.replace(AGREED, tolerance=msgspec.structs.replace(AGREED.tolerance, cuts=cuts))
    config = HostConfig(device="ue", topology=LOSSY, profile=SMALL, contract=agreed)

    def plan(*stops: int) -> Plan:
        stages = [Stage(id=f"s{k}", device=("ue", "gnb", "mec")[k], start=start, stop=stop)
                  for k, (start, stop) in enumerate(pairwise((0, *stops)))]  # fmt: skip
        names = ["", *(stage.id for stage in stages), ""]
        transfers = [Transfer(src=a, dst=b, slices=(), coding=tuned.name if (a, b) == ("s0", "s1") else "raw")
                     for a, b in pairwise(names)]  # fmt: skip
        return Plan(
            model="chain", graph_digest=SMALL.graph_digest, problem_digest="", chain=("ue", "gnb", "mec"),
            stops=(*stops, 5)[:3], predicted_s=0.1, stages=tuple(stages), transfers=tuple(transfers),
        )  # fmt: skip

    check_plan(plan(1, 5), config)
    with pytest.raises(ConfigError, match="runs to the end"):
        check_plan(plan(1, 3, 5), config)


def test_raw_bytes_that_never_came_and_were_never_measured_leave_no_prediction() -> None:
    network = pump(contract=msgspec.structs.replace(AGREED, min_accuracy=None))
    network.hold_frames = lambda d, e: e.dst == "gnb" and e.frame.kind == FrameKind.TASK
    network.submit(1)
    ((device, effect),) = network.held
    assert isinstance(effect, SendFrame)
    network.tell("gnb", FrameArrived(device, effect.frame, effect.parcel._replace(missing=(Gap(0, 0, 100),))))
    (finish,) = network.finishes
    assert finish.predicted_accuracy is None
    assert finish.missing > 0


def test_without_a_profile_nothing_is_predicted() -> None:
    network = pump(contract=None)
    network.submit(1)
    assert network.finishes[0].predicted_accuracy is None
    assert "predicted_accuracy" not in network.events("result")[0].data


def test_a_live_set_that_cannot_be_coded_fails_the_request_in_one_line() -> None:
    """A stage made NaN, say."""
    network = pump()
    network.hold_stages = lambda d, e: not e.encode.is_raw
    network.submit(1)
    for _ in range(10):
        if not network.held:
            break
        device, effect = network.held.pop()
        network.tell(device, StageRaised(effect.job, "StageFailed: cut 0: tensor 0 holds NaN or infinity"))  # type: ignore[union-attr]
    outcome = network.outcome(1)
    assert isinstance(outcome, Parcel) or "NaN" in str(outcome)
    assert isinstance(outcome, Parcel | StageFailed)


def test_a_pinned_plan_names_the_coding() -> None:
    network = pump()
    route = (Hop(src="ue", dst="gnb", mcs=13), Hop(src="gnb", dst="mec"))
    plan = Plan(
        model="chain", graph_digest=SMALL.graph_digest, problem_digest="", chain=("ue", "gnb", "mec"), stops=(1, 1, 5),
        predicted_s=0.1, epoch=3,
        stages=(Stage(id="a", device="ue", start=0, stop=1), Stage(id="b", device="mec", start=1, stop=5)),
        transfers=(
            Transfer(src="", dst="a", slices=()),
            Transfer(src="a", dst="b", slices=(), route=route, coding=SMALL_CODING.name),
            Transfer(src="b", dst="", slices=()),
        ),
    )  # fmt: skip
    for device in network.hosts:
        network.tell(device, PlanPinned(plan))
    lose(network, "gnb", 1)
    (finish,) = network.finishes
    lost_units = 1 / 18  # 19661 bytes
    assert finish.missing == pytest.approx(1152 / 19661, abs=1e-4)
    assert 0.69 < finish.predicted_accuracy < 0.70
    assert finish.predicted_accuracy < 0.70 - 0.01 * lost_units
    assert [e.mcs for d, e in network.frames if e.frame.kind == FrameKind.TASK] == [13, None]
    assert network.events("result")[0].data["mode"] == "pinned"

    config = HostConfig(device="ue", topology=network.topology, profile=SMALL)
    with pytest.raises(ConfigError, match="tolerance profile"):
        check_plan(plan, config)
    both = tuple(msgspec.structs.replace(t, coding=SMALL_CODING.name) if t.src == "b" else t for t in plan.transfers)
    with pytest.raises(ConfigError, match="no coding"):
        check_plan(msgspec.structs.replace(plan, transfers=both), msgspec.structs.replace(config, contract=AGREED))


def test_a_pinned_plan_may_code_the_input() -> None:
    network = pump()
    plan = Plan(
        model="chain", graph_digest=SMALL.graph_digest, problem_digest="", chain=("ue", "gnb", "mec"), stops=(0, 0, 5),
        predicted_s=0.1, epoch=0,
        stages=(Stage(id="b", device="mec", start=0, stop=5),),
        transfers=(
            Transfer(src="", dst="b", slices=(), coding=SMALL_CODING.name), Transfer(src="b", dst="", slices=()),
        ),
    )  # fmt: skip
    for device in network.hosts:
        network.tell(device, PlanPinned(plan))
    network.submit(1)
    (finish,) = network.finishes
    assert isinstance(finish.outcome, Parcel)
    assert [(d, e.encode.is_raw, e.decode.is_raw) for d, e in network.stages] == [
        ("ue", False, True),
        ("mec", True, False),
    ]
    assert RAW.is_raw


def test_contracts_that_cannot_be_kept_are_refused_before_a_host_is_made() -> None:
    with pytest.raises(Infeasible):
        host(contract=contract(SMALL, 0.9))
    other = msgspec.structs.replace(AGREED.tolerance, graph_digest="sha256:" + "00" * 32)
    with pytest.raises(ProfileMismatch):
        host(contract=msgspec.structs.replace(AGREED, tolerance=other))
