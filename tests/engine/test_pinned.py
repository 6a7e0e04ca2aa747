"""A pinned plan: chains and graphs, joins, epochs, a device that goes down."""

from __future__ import annotations

import msgspec
import pytest
from engine_cases import chain_profile, line
from engine_pump import Pump

from airloom.core.messages import Frame, FrameKind, Gap, Parcel
from airloom.core.plan import Hop, Plan, Slice, Stage, Transfer
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.engine.config import HostConfig
from airloom.engine.events import Execute, FrameArrived, PlanPinned, SendFrame
from airloom.engine.layout import check_plan
from airloom.errors import ConfigError, ProfileMismatch

MODEL = bytes.fromhex("cd" * 8)
CHAIN = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
# An input, two branches (operators 1 and 2) after a stem (operator 0), a join (operator 3).
BRANCHED = Profile(
    model="branched",
    device="bench",
    operators=tuple(OperatorCost(name=n, compute_s=0.01) for n in ("stem", "left", "right", "join")),
    cuts=(
        CutSize(tensor_nbytes=(1000,), tensors=(0,)),
        CutSize(tensor_nbytes=(2000,), tensors=(1,)),
        CutSize(tensor_nbytes=(2000, 300), tensors=(1, 2)),
        CutSize(tensor_nbytes=(300, 400), tensors=(2, 3)),
        CutSize(tensor_nbytes=(40,), tensors=(4,)),
    ),
    graph_digest="sha256:" + "cd" * 32,
)


def chain_plan(epoch: int = 1) -> Plan:
    """Operators 0-1 on ue, 2-4 on mec."""
    return Plan(
        model="chain", graph_digest=CHAIN.graph_digest, problem_digest="", chain=("ue", "gnb", "mec", "cloud"),
        stops=(2, 2, 5, 5), predicted_s=0.1, epoch=epoch,
        stages=(
            Stage(id="a", device="ue", start=0, stop=2, inputs=(0,), outputs=(2,)),
            Stage(id="b", device="mec", start=2, stop=5, inputs=(2,), outputs=(5,)),
        ),
        transfers=(
            Transfer(src="", dst="a", slices=(Slice(tensor=0),)),
            Transfer(
                src="a", dst="b", slices=(Slice(tensor=2),),
                route=(Hop(src="ue", dst="gnb"), Hop(src="gnb", dst="mec")),
            ),
            Transfer(
                src="b", dst="", slices=(Slice(tensor=5),), route=(Hop(src="mec", dst="gnb"), Hop(src="gnb", dst="ue"))
            ),
        ),
    )  # fmt: skip


def branched_plan(epoch: int = 7) -> Plan:
    """Stem on ue; left on gnb and right on mec side by side; the join on cloud."""
    return Plan(
        model="branched", graph_digest=BRANCHED.graph_digest, problem_digest="", chain=("ue", "gnb", "mec", "cloud"),
        stops=(1, 2, 3, 4), predicted_s=0.1, epoch=epoch,
        stages=(
            Stage(id="stem", device="ue", start=0, stop=1, inputs=(0,), outputs=(1,)),
            Stage(id="left", device="gnb", start=1, stop=2, inputs=(1,), outputs=(2,)),
            Stage(id="right", device="mec", start=2, stop=3, inputs=(1,), outputs=(3,)),
            Stage(id="join", device="cloud", start=3, stop=4, inputs=(2, 3), outputs=(4,)),
        ),
        transfers=(
            Transfer(src="", dst="stem", slices=(Slice(tensor=0),)),
            Transfer(src="stem", dst="left", slices=(Slice(tensor=1),)),
            Transfer(src="stem", dst="right", slices=(Slice(tensor=1),)),
            Transfer(src="left", dst="join", slices=(Slice(tensor=2),)),
            Transfer(src="right", dst="join", slices=(Slice(tensor=3),)),
            Transfer(src="join", dst="", slices=(Slice(tensor=4),)),
        ),
    )  # fmt: skip


def pin(pump: Pump, plan: Plan | None, but: str = "") -> None:
    for host in list(pump.hosts):
        if host != but:
            pump.tell(host, PlanPinned(plan))


def pinned_pump(profile: Profile, plan: Plan, **settings: object) -> Pump:
    pump = Pump(line(), profile, **settings)
    pin(pump, plan)
    return pump


def test_a_pinned_chain_runs_as_written_and_the_table_again_after() -> None:
    pump = pinned_pump(CHAIN, chain_plan())
    pump.submit(1)
    assert isinstance(pump.outcome(1), Parcel)
    assert [(d, e.start, e.stop) for d, e in pump.stages] == [("ue", 0, 2), ("mec", 2, 5)]
    assert pump.hosts["gnb"].snapshot().pinned_epoch == 1
    pin(pump, None)
    pump.stages.clear()
    pump.submit(2)
    assert [(d, e.start, e.stop) for d, e in pump.stages] != [("ue", 0, 2), ("mec", 2, 5)]
    assert isinstance(pump.outcome(2), Parcel)


@pytest.mark.parametrize("last", ["left", "right"])
def test_side_by_side_stages_are_joined_whichever_comes_last(last: str) -> None:
    pump = pinned_pump(BRANCHED, branched_plan())
    device = "gnb" if last == "left" else "mec"
    pump.hold_stages = lambda d, e: d == device
    pump.submit(1)
    assert "cloud" not in [d for d, _ in pump.stages]
    assert pump.hosts["cloud"].snapshot().waiting == 1
    pump.release(*pump.held.pop())
    join = next(e for d, e in pump.stages if d == "cloud")
    assert join.parcel.tensors == (2, 3)
    assert tuple(d.nbytes for d in join.parcel.data) == (300, 400)
    assert pump.outcome(1).tensors == (4,)  # type: ignore[union-attr]
    assert pump.hosts["cloud"].snapshot().waiting == 0


def test_what_either_branch_lost_reaches_the_user() -> None:
    pump = pinned_pump(BRANCHED, branched_plan())
    pump.hold_frames = lambda d, e: d == "gnb" and e.frame.transfer == 3
    pump.submit(1)
    ((_, effect),) = pump.held
    assert isinstance(effect, SendFrame)
    pump.hold_frames = lambda d, e: False
    pump.tell("mec", FrameArrived("gnb", effect.frame, effect.parcel._replace(missing=(Gap(2, 0, 30),))))
    (finish,) = pump.finishes
    assert finish.missing == pytest.approx(0.1)


def test_a_result_in_parts_is_put_together() -> None:
    profile = msgspec.structs.replace(BRANCHED, operators=BRANCHED.operators[:3], cuts=BRANCHED.cuts[:4])
    plan = branched_plan()
    plan = msgspec.structs.replace(
        plan, stages=plan.stages[:3],
        transfers=(
            *plan.transfers[:3],
            Transfer(src="right", dst="", slices=(Slice(tensor=3),)),
            Transfer(src="left", dst="", slices=(Slice(tensor=2),)),
        ),
    )  # fmt: skip
    pump = pinned_pump(profile, plan)
    pump.hold_stages = lambda d, e: d == "mec"
    pump.submit(1)
    assert not pump.finishes
    pump.release(*pump.held.pop())
    outcome = pump.outcome(1)
    assert isinstance(outcome, Parcel)
    assert outcome.tensors == (2, 3)
    assert tuple(d.nbytes for d in outcome.data) == (300, 400)


def test_a_plan_of_the_source_alone_touches_nobody() -> None:
    plan = msgspec.structs.replace(
        chain_plan(),
        stages=(Stage(id="all", device="ue", start=0, stop=5),),
        transfers=(Transfer(src="", dst="all", slices=()), Transfer(src="all", dst="", slices=())),
    )
    pump = pinned_pump(CHAIN, plan)
    pump.submit(1)
    assert isinstance(pump.outcome(1), Parcel)
    assert [(d, e.start, e.stop) for d, e in pump.stages] == [("ue", 0, 5)]
    assert not pump.frames
    assert pump.events("result")[0].data["mode"] == "pinned"


def test_another_epoch_is_refused_and_the_request_saved() -> None:
    pump = Pump(line(), CHAIN)
    pin(pump, chain_plan(epoch=1))
    pump.tell("mec", PlanPinned(chain_plan(epoch=2)))
    pump.submit(1, deadline_s=5.0)
    assert isinstance(pump.outcome(1), Parcel)
    assert pump.drops("mec")["another plan is in force"] == 4
    assert pump.events("result")[0].data["mode"] == "local"


def test_a_host_without_the_plan_passes_the_failure_back() -> None:
    pump = Pump(line(), CHAIN)
    pin(pump, chain_plan(), but="gnb")
    pump.submit(1, deadline_s=5.0)
    assert isinstance(pump.outcome(1), Parcel)
    assert any(e.frame.kind == FrameKind.FAILURE for _, e in pump.frames)


@pytest.mark.parametrize("fallback", ["self", "table"])
def test_a_device_of_the_plan_goes_down(fallback: str) -> None:
    pump = pinned_pump(CHAIN, chain_plan(), pinned_fallback=fallback)
    pump.hold_stages = lambda d, e: d == "mec"
    pump.submit(1)
    pump.down("mec")
    assert isinstance(pump.outcome(1), Parcel)
    second = pump.events("attempt")[1]
    assert second.data["note"] == "pinned plan needs mec, down now"
    assert second.data["mode"] == ("local" if fallback == "self" else "table")
    pump.up("mec")
    pump.tell("mec", PlanPinned(chain_plan()))
    pump.hold_stages = lambda d, e: False
    pump.submit(2)
    assert pump.events("result")[-1].data["mode"] == "pinned"


def test_inputs_that_never_come_are_forgotten() -> None:
    pump = pinned_pump(BRANCHED, branched_plan())
    pump.hold_frames = lambda d, e: e.frame.transfer == 3
    pump.submit(1, deadline_s=3.0)
    assert pump.hosts["cloud"].snapshot().waiting == 1
    pump.wait(15.0)
    assert len(pump.outcomes["ue", 1]) == 1
    assert pump.hosts["cloud"].snapshot().waiting == 0


def test_partial_inputs_are_bounded() -> None:
    pump = pinned_pump(BRANCHED, branched_plan(), max_partial=4)
    parcel = Parcel((2,), (memoryview(bytes(300)),))
    for k in range(50):
        frame = Frame(model=MODEL, kind=FrameKind.TASK, source=0, request=k, epoch=7, transfer=3, tensors=((2, 300),))
        pump.tell("cloud", FrameArrived("mec", frame, parcel))
    assert pump.hosts["cloud"].snapshot().waiting == 4
    assert pump.drops("cloud")["too many stages wait for inputs"] == 46
    pump.wait(20.0)
    assert pump.hosts["cloud"].snapshot().waiting == 0
    assert pump.drops("cloud")["inputs never came"] == 4


def test_malformed_transfers_are_dropped() -> None:
    pump = pinned_pump(BRANCHED, branched_plan())
    data = (memoryview(bytes(300)),)
    for transfer, ids in ((3, (9,)), (77, (2,)), (6, (2,))):
        frame = Frame(model=MODEL, kind=FrameKind.TASK, source=0, request=transfer, epoch=7, transfer=transfer)
        pump.tell("cloud", FrameArrived("mec", frame, Parcel(ids, data)))
    assert pump.drops("cloud")["not a transfer of the plan"] == 3


def test_executors_get_what_the_stage_reads() -> None:
    pump = pinned_pump(BRANCHED, branched_plan())
    pump.submit(1)
    reads = {d: (e.parcel.tensors, e.outputs) for d, e in pump.stages if isinstance(e, Execute)}
    assert reads == {"ue": ((0,), (1,)), "gnb": ((1,), (2,)), "mec": ((1,), (3,)), "cloud": ((2, 3), (4,))}


def config(profile: Profile = CHAIN) -> HostConfig:
    return HostConfig(device="ue", topology=line(), profile=profile)


def test_bad_plans_name_the_place() -> None:
    good = chain_plan()
    check_plan(good, config())
    a, b = good.stages
    t0, t1, t2 = good.transfers
    replace = msgspec.structs.replace
    for plan, line_part in (
        (replace(good, stages=(a, replace(b, id="a"))), r"\$\.stages\[1\]"),
        (replace(good, stages=(a, replace(b, device="moon"))), "no device 'moon'"),
        (replace(good, stages=(a, replace(b, stop=9))), "the model has 5"),
        (replace(good, transfers=(t0, t1)), "no transfer to ''"),
        (replace(good, transfers=(t0, t2)), r"nothing brings tensors \[2\]"),
        (replace(good, transfers=(t0, replace(t1, dst="z"), t2)), "no stage 'z'"),
        (replace(good, transfers=(t0, replace(t1, slices=(Slice(tensor=2, maps=(0,)),)), t2)), "whole tensors"),
        (replace(good, transfers=(t0, replace(t1, slices=(Slice(tensor=3),)), t2)), "does not make"),
        (replace(good, transfers=(t0, replace(t1, route=(Hop(src="ue", dst="mec"),)), t2)), "no link ue->mec"),
    ):
        with pytest.raises(ConfigError, match=line_part):
            check_plan(plan, config())
    with pytest.raises(ProfileMismatch):
        check_plan(replace(good, graph_digest="sha256:00"), config())


def test_a_bad_plan_leaves_the_old_one_in_force() -> None:
    pump = pinned_pump(CHAIN, chain_plan())
    pin(pump, msgspec.structs.replace(chain_plan(epoch=3), stages=()))
    assert pump.hosts["mec"].snapshot().pinned_epoch == 1
    assert pump.drops("mec")["plan refused"] == 1
