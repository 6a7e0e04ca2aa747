"""A source's requests: one outcome each, retries, deadlines, cancellation, backpressure, late results."""

from __future__ import annotations

import pytest
from engine_cases import MODEL, chain_profile, line
from engine_pump import Pump

from airloom.core.messages import Frame, FrameKind, Gap, Parcel
from airloom.core.topology import Topology
from airloom.engine.events import Cancel, Execute, FrameArrived, LinkMeasured, SendFrame, StageRaised, Submit
from airloom.errors import Cancelled, DeadlineExceeded, Overloaded, StageFailed

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
L = SMALL.num_operators


def make(topology: Topology | None = None, **settings: object) -> Pump:
    return Pump(topology or line(), SMALL, **settings)


def lose_tasks_of(pump: Pump, device: str) -> None:
    pump.hold_frames = lambda d, e: d == device and e.frame.kind == FrameKind.TASK


def test_a_request_runs_where_the_tables_say() -> None:
    pump = make()
    pump.submit(1)
    assert isinstance(pump.outcome(1), Parcel)
    assert pump.outcome(1).tensors == (L,)  # type: ignore[union-attr]
    ran = [(device, e.start, e.stop) for device, e in pump.stages]
    tables = {h: pump.hosts[h].snapshot().stop for h in pump.hosts}
    cut, expected = 0, []
    for host in ("ue", "gnb", "mec", "cloud"):
        if tables[host][cut] > cut:
            expected.append((host, cut, tables[host][cut]))
            cut = tables[host][cut]
    assert ran == expected
    assert [e.kind for e in pump.trace if e.request == 1 and e.host == "ue"][-1] == "result"


def test_private_operators_stay_on_the_source() -> None:
    pump = make(private_operators=2)
    pump.submit(1)
    device, first = pump.stages[0]
    assert (device, first.start) == ("ue", 0)
    assert first.stop >= 2
    assert all(e.frame.cut >= 2 for d, e in pump.frames if d == "ue")


def test_a_lost_frame_is_tried_again_after_a_while() -> None:
    pump = make()
    pump.hold_frames = lambda d, e: d == "ue" and e.frame.attempt == 0
    pump.submit(1, deadline_s=5.0)
    assert not pump.finishes
    pump.wait(1.0)
    assert isinstance(pump.outcome(1), Parcel)
    assert [e.data["reason"] for e in pump.events("attempt")] == ["first", "timeout"]


def test_a_late_result_of_an_earlier_attempt_is_as_good_and_the_second_is_dropped() -> None:
    pump = make()
    lose_tasks_of(pump, "gnb")
    pump.submit(1, deadline_s=5.0)
    pump.wait(0.6)
    tries = [effect for _, effect in pump.held]
    assert len(tries) >= 2
    pump.hold_frames = lambda d, e: False
    pump.release("gnb", tries[0])
    assert isinstance(pump.outcome(1), Parcel)
    assert pump.events("result")[0].attempt == 0
    pump.release("gnb", tries[1])
    assert len(pump.outcomes["ue", 1]) == 1


def test_what_is_left_of_a_request_is_cancelled_downstream() -> None:
    pump = make()
    pump.hold_stages = lambda d, e: d == "mec"
    pump.submit(1)
    assert pump.hosts["mec"].snapshot().jobs == 1
    effects = pump.tell("ue", Cancel(1))
    assert isinstance(pump.outcome(1), Cancelled)
    assert any(isinstance(e, SendFrame) and e.frame.kind == FrameKind.CANCEL for e in effects)
    assert pump.hosts["mec"].snapshot().jobs == 0
    for device, effect in pump.held:
        pump.release(device, effect)  # the executor had begun: its result finds nobody
    assert len(pump.outcomes["ue", 1]) == 1
    pump.tell("ue", Cancel(1))
    assert len(pump.outcomes["ue", 1]) == 1


def test_backpressure() -> None:
    pump = make(max_in_flight=2)
    lose_tasks_of(pump, "ue")
    for k in range(3):
        pump.submit(k)
    assert isinstance(pump.outcome(2), Overloaded)
    pump.tell("ue", Cancel(0))
    pump.submit(3)
    assert ("ue", 3) not in pump.outcomes
    pump.wait(3.0)
    assert all(len(pump.outcomes["ue", k]) == 1 for k in range(4))


def test_a_number_in_use_is_refused_without_an_outcome_of_its_own() -> None:
    pump = make()
    lose_tasks_of(pump, "ue")
    pump.submit(1)
    pump.submit(1)
    assert pump.drops("ue")["request number in use"] == 1
    pump.wait(3.0)
    assert len(pump.outcomes["ue", 1]) == 1


def test_the_source_runs_the_model_itself_as_the_deadline_nears() -> None:
    pump = make()
    pump.hold_frames = lambda d, e: d == "ue"
    pump.submit(1, deadline_s=0.4)  # its own run takes 0.2 s
    pump.wait(0.11)
    assert isinstance(pump.outcome(1), Parcel)
    assert pump.events("attempt")[-1].data["reason"] == "deadline near"
    assert pump.events("result")[0].data["mode"] == "local"


def test_the_source_runs_the_model_itself_after_the_last_attempt() -> None:
    pump = make()
    pump.hold_frames = lambda d, e: d == "ue"
    pump.submit(1, deadline_s=100.0)
    pump.wait(30.0)
    assert isinstance(pump.outcome(1), Parcel)
    assert [e.data["reason"] for e in pump.events("attempt")] == ["first", "timeout", "timeout", "timeout", "timeout"]


def test_deadline_is_kept_where_the_source_cannot_run_the_model() -> None:
    pump = make(line(memory_bytes=(1000, None, None, None)))
    pump.hold_frames = lambda d, e: True
    pump.submit(1, deadline_s=1.0)
    pump.wait(0.999)
    assert not pump.finishes
    pump.wait(0.001)
    outcome = pump.outcome(1)
    assert isinstance(outcome, DeadlineExceeded)
    assert "no result within 1 s after 3 attempts" in str(outcome)
    assert "\n" not in str(outcome)


def test_what_is_said_is_the_deadline_that_was_asked_for() -> None:
    pump = make(line(memory_bytes=(1000, None, None, None)))
    pump.hold_frames = lambda d, e: True
    pump.tell("ue", Submit(1, pump.parcel((0,)), pump.now_s + 0.0496, asked_s=0.05))
    pump.wait(1.0)
    assert "no result within 0.05 s after 1 attempt" in str(pump.outcome(1))
    pump.tell("ue", Submit(2, pump.parcel((0,)), pump.now_s, asked_s=1e-6))
    assert str(pump.outcome(2)) == "request 2: its deadline of 1e-06 s had passed before it began"


def test_a_deadline_in_the_past() -> None:
    pump = make()
    pump.submit(1, deadline_s=-0.1)
    assert isinstance(pump.outcome(1), DeadlineExceeded)


def fail_on(pump: Pump, devices: tuple[str, ...]) -> None:
    """Stages on these devices raise."""
    pump.hold_stages = lambda d, e: d in devices
    while pump.held:
        device, effect = pump.held.pop(0)
        assert isinstance(effect, Execute)
        pump.tell(device, StageRaised(effect.job, "out of memory"))


def test_failures_are_retried_then_run_here_then_named() -> None:
    pump = make()
    fail_on(pump, ("mec",))
    pump.submit(1, deadline_s=10.0)
    fail_on(pump, ("mec",))
    assert isinstance(pump.outcome(1), Parcel)  # the source did it
    assert pump.events("result")[0].data["mode"] == "local"

    pump = make()
    fail_on(pump, ("ue", "mec"))
    pump.submit(2, deadline_s=10.0)
    fail_on(pump, ("ue", "mec"))
    outcome = pump.outcome(2)
    assert isinstance(outcome, StageFailed)
    assert "out of memory" in str(outcome)
    assert "ue: operators 0..4" in str(outcome)


def test_a_host_that_goes_down_is_gone_round_at_once() -> None:
    pump = make()
    pump.hold_stages = lambda d, e: d == "mec"
    pump.submit(1)
    assert not pump.finishes
    pump.down("mec")  # nothing waits for a timer
    assert isinstance(pump.outcome(1), Parcel)
    # gnb hears of it after the second attempt has gone to mec, and says so.
    assert [e.data["reason"] for e in pump.events("attempt")] == ["first", "peer down", "failure"]
    pump.up("mec")
    pump.hold_stages = lambda d, e: False
    pump.stages.clear()
    pump.submit(2)
    assert "mec" in [device for device, _ in pump.stages]


def test_a_host_that_dies_unnoticed_costs_a_timeout_only() -> None:
    pump = make()
    pump.down("mec", noticed=False)
    pump.submit(1, deadline_s=3.0)
    assert not pump.finishes
    pump.wait(3.0)
    assert isinstance(pump.outcome(1), Parcel)


def test_without_a_way_and_without_memory_a_request_waits_for_one() -> None:
    pump = make(line(memory_bytes=(1000, None, None, None)))
    pump.down("gnb")
    pump.submit(1, deadline_s=2.0)
    pump.wait(0.5)
    assert not pump.finishes
    pump.up("gnb")
    assert isinstance(pump.outcome(1), Parcel)
    assert pump.events("attempt")[-1].data["reason"] == "way back up"


def test_a_first_stage_still_here_goes_another_way_when_a_host_dies() -> None:
    pump = make(private_operators=1)
    pump.hold_stages = lambda d, e: d == "ue"
    pump.submit(1)
    assert "gnb" in pump.events("attempt")[0].data["hosts"]
    pump.down("gnb")
    assert [e.data["reason"] for e in pump.events("attempt")] == ["first"]
    pump.hold_stages = lambda d, e: False
    pump.release(*pump.held.pop())
    assert isinstance(pump.outcome(1), Parcel)
    assert len(pump.events("attempt")) == 1


def test_frames_that_nobody_waits_for_are_dropped_and_counted() -> None:
    pump = make()
    pump.submit(1)
    result = Parcel((L,), (memoryview(bytes(40)),))
    head = Frame(model=MODEL, kind=FrameKind.RESULT, source=0, request=1, cut=L)
    for changes, reason in (
        ({"attempt": 3}, "late result"),
        ({"request": 77}, "late result"),
        ({"source": 99}, "no such source"),
    ):
        frame = Frame(**{**{f: getattr(head, f) for f in head.__struct_fields__}, **changes})
        before = pump.drops("ue").get(reason, 0)
        pump.tell("ue", FrameArrived("gnb", frame, result))
        assert pump.drops("ue")[reason] == before + 1
    lose_tasks_of(pump, "ue")
    pump.submit(5)
    pump.tell(
        "ue", FrameArrived("gnb", Frame(model=MODEL, kind=FrameKind.RESULT, source=0, request=5, attempt=9), result)
    )
    assert pump.drops("ue")["unknown attempt"] == 1
    pump.tell(
        "ue",
        FrameArrived(
            "gnb", Frame(model=MODEL, kind=FrameKind.RESULT, source=0, request=5), Parcel((3,), (result.data[0],))
        ),
    )
    assert pump.drops("ue")["not the model's outputs"] == 1
    assert ("ue", 5) not in pump.outcomes


def test_missing_bytes_reach_the_user_whichever_hop_lost_them() -> None:
    pump = make()
    lose_tasks_of(pump, "ue")
    pump.submit(1)
    ((_, effect),) = pump.held
    assert isinstance(effect, SendFrame)
    pump.hold_frames = lambda d, e: False
    torn = effect.parcel._replace(missing=(Gap(0, 100, 1252),))
    pump.tell("gnb", FrameArrived("ue", effect.frame, torn))
    (finish,) = pump.finishes
    assert finish.missing == pytest.approx(1152 / 12288, abs=2e-6)
    assert pump.events("result")[0].data["missing_share"] == finish.missing
    assert all(not e.parcel.missing for _, e in pump.frames)


def test_hosts_that_disagree_do_not_play_ball() -> None:
    pump = make()
    task = Frame(model=MODEL, kind=FrameKind.TASK, source=0, request=1, tensors=((0, 12288),))
    assert pump.hosts["gnb"].snapshot().stop[0] == 0  # it would hand on to mec
    pump.tell("gnb", FrameArrived("mec", task, pump.parcel((0,))))
    assert [(d, e.start, e.stop) for d, e in pump.stages] == [("gnb", 0, L)]
    result = Frame(model=MODEL, kind=FrameKind.RESULT, source=0, request=2, cut=L)
    pump.tell("gnb", FrameArrived("ue", result, pump.parcel((L,))))
    assert pump.drops("gnb")["would go in circles"] == 1


def test_a_result_that_stays_where_it_is_made_is_an_acknowledgement() -> None:
    pump = make(result_returns=False)
    pump.submit(1)
    assert pump.outcome(1) == Parcel()


def test_timeouts_grow_with_what_results_really_take() -> None:
    pump = make()
    for k in range(10):
        lose_tasks_of(pump, "ue")
        pump.submit(k, deadline_s=100.0)
        pump.wait(0.2)  # seven times as predicted, still before the timeout
        (held,) = pump.held
        pump.held.clear()
        pump.hold_frames = lambda d, e: False
        pump.release(*held)
    lose_tasks_of(pump, "ue")
    pump.submit(99, deadline_s=100.0)
    pump.wait(0.5)  # by the prediction alone this is too long
    assert len([e for e in pump.events("attempt") if e.request == 99]) == 1


def test_a_link_measured_dead_sends_nothing_over_it() -> None:
    pump = make()
    pump.tell("ue", LinkMeasured("ue", "gnb", loss=1.0))
    pump.submit(1)
    assert isinstance(pump.outcome(1), Parcel)
    assert [device for device, _ in pump.stages] == ["ue"]


def test_a_submit_with_anything_but_the_input_is_answered_at_once() -> None:
    pump = make()
    pump.tell("ue", Submit(1, pump.parcel((3,)), pump.now_s + 0.5))
    assert isinstance(pump.outcome(1), StageFailed)
    assert "the model takes ((0, 12288),)" in str(pump.outcome(1))
