"""The state machine of training: fences, tries, hosts that fail, weights that nobody asked for."""

import msgspec
import numpy as np
import pytest
from training_pump import SPEC, TrainingPump, plan_of, profile, star

from airloom.core.messages import Frame, FrameKind, Gap, Mode, Parcel
from airloom.core.training import LABELS, LOSS, Sharing, TrainingSpec, Word, gradient_id, state_id, weight_of
from airloom.engine.config import HostConfig
from airloom.engine.events import FrameArrived, GatherState, TrainingPinned, TrainStep
from airloom.engine.training import lay_out_training, moved_nbytes, moves
from airloom.engine.training.pieces import PIECE_BYTES, Collector, pieces
from airloom.errors import ConfigError, DeadlineExceeded, Overloaded, ProfileMismatch, StageFailed


def batch():
    return Parcel((0, LABELS), (memoryview(bytes(16)), memoryview(bytes(16))))


@pytest.fixture
def pump():
    made = TrainingPump(star(), profile(), SPEC)
    assert made.pin(("ue", "mec", "cloud"), (2, 4, 6))[2] == Parcel()
    return made


def replayed(pump, effect, src="gnb", **changed):
    """The same message once more, or another one like it."""
    frame = msgspec.structs.replace(effect.frame, **changed)
    pump.tell(effect.dst, FrameArrived(src, frame, effect.parcel))


def test_a_step_goes_there_and_back_and_is_over_everywhere(pump):
    assert isinstance(pump.train(batch()), Parcel)
    actions = [(d, job.action) for d, job in pump.jobs if job.action not in ("place", "export")]
    assert set(actions) >= {("ue", "update"), ("mec", "update"), ("cloud", "update"), ("cloud", "install")}
    order = [a for a in actions if a[1] in ("forward", "backward")]
    assert order == [
        ("ue", "forward"), ("mec", "forward"), ("cloud", "forward"), ("cloud", "backward"), ("mec", "backward"),
        ("ue", "backward"),
    ]  # fmt: skip
    back = [(d, e.parcel.tensors) for d, e in pump.frames if e.frame.mode == Mode.BACKWARD]
    # Weight 0 is read before and behind every cut: its gradient passes mec, which does not read it.
    assert back[0] == ("cloud", (4, gradient_id(0)))
    assert ("mec", (2, gradient_id(0))) in back
    values = {e.parcel.tensors for d, e in pump.frames if e.frame.mode == Mode.VALUES}
    assert values == {(state_id(0),)}
    assert [e.kind for e in pump.trace if e.kind in ("submit", "result", "error")] == ["submit", "result"]


def test_frames_of_old_epochs_and_duplicates_change_nothing(pump):
    pump.train(batch())
    seen = [e for _, e in pump.frames if e.frame.mode in (Mode.FORWARD, Mode.BACKWARD, Mode.VALUES, Mode.TRAINING)]
    jobs, outcomes = len(pump.jobs), len(pump.outcomes)
    for effect in seen:
        replayed(pump, effect)
        replayed(pump, effect, epoch=0)
    assert (len(pump.jobs), len(pump.outcomes)) == (jobs, outcomes)
    assert pump.drops("mec")["of another epoch"] >= 2
    assert pump.drops("mec")["of another try, or a duplicate"] >= 2
    assert isinstance(pump.train(batch()), Parcel)  # and the next step is as good as ever
    # A plan later, what was of this one is of another epoch.
    pump.pin(("ue", "cloud"), (3, 6))
    jobs = len(pump.jobs)
    for effect in seen:
        replayed(pump, effect)
    assert len(pump.jobs) == jobs


def test_late_words_never_take_a_host_back_a_step(pump):
    """What asked for weights before a step, and comes again after it, would have a trainer undo that step."""
    pump.pin(("mec", "cloud"), (3, 6))
    assert isinstance(pump.gather(), Parcel)
    words = [e for _, e in pump.frames if e.frame.mode == Mode.TRAINING and e.frame.epoch == 2]
    assert {e.frame.cut for e in words} >= {Word.MOVE, Word.STATE}
    assert isinstance(pump.train(batch()), Parcel)
    jobs, outcomes = len(pump.jobs), len(pump.outcomes)
    for effect in words:
        replayed(pump, effect)
    assert (len(pump.jobs), len(pump.outcomes)) == (jobs, outcomes)
    # Before the next step the source may ask as often as it has to.
    count = len(pump.gather().tensors)
    assert len(pump.gather().tensors) == count


def test_a_try_that_failed_may_be_taken_back_and_what_was_late_of_it_may_not(pump):
    lost = [True]
    pump.lose = lambda device, effect: device == "cloud" and effect.frame.mode == Mode.TRAINING and bool(lost)
    assert pump.train(batch()) is None  # cloud has updated, and nobody hears of it
    pump.wait(11)
    assert isinstance(pump.outcomes[-1][2], DeadlineExceeded)
    lost.clear()
    forwards = [e for _, e in pump.frames if e.frame.mode == Mode.FORWARD]
    assert isinstance(pump.gather(), Parcel)
    jobs = len(pump.jobs)
    for effect in forwards:
        replayed(pump, effect)
    assert len(pump.jobs) == jobs
    assert isinstance(pump.train(batch()), Parcel)


def test_asking_again_and_again_asks_the_executor_once(pump):
    pump.hold = lambda device, effect: getattr(effect, "action", "") == "export"
    pump.pin(("mec", "cloud"), (3, 6))
    before = len(pump.jobs)
    moves = [e for _, e in pump.frames if e.frame.mode == Mode.TRAINING and e.frame.epoch == 2]
    for effect in moves * 20:
        replayed(pump, effect)
    assert len(pump.jobs) == before
    pump.hold = lambda device, effect: False
    pump.release()
    assert pump.outcomes[-1] == ("plan", 2, Parcel())
    pump.hold = lambda device, effect: getattr(effect, "action", "") == "export"
    pump.tell("ue", GatherState(0))
    before = len(pump.jobs)
    for effect in [e for _, e in pump.frames if e.frame.cut == Word.STATE and e.frame.mode == Mode.TRAINING] * 20:
        replayed(pump, effect)
    assert len(pump.jobs) == before
    pump.hold = lambda device, effect: False
    pump.release()
    assert pump.outcomes[-1][0] == "state"


def test_a_large_weight_that_stages_share_travels_in_pieces():
    """The table of a tied embedding is larger than a message may be."""
    shared = msgspec.structs.replace(profile().weights[0], nbytes=2 * PIECE_BYTES + 5)
    large = msgspec.structs.replace(profile(), weights=(shared, *profile().weights[1:]))
    pump = TrainingPump(star(), large, SPEC)
    pump.pin(("ue", "cloud"), (3, 6))
    assert isinstance(pump.train(batch()), Parcel)
    sent = [e.parcel.nbytes for d, e in pump.frames if d == "ue" and e.frame.mode == Mode.VALUES]
    assert sent == [PIECE_BYTES, PIECE_BYTES, 5]
    assert [job.parcel.nbytes for d, job in pump.jobs if job.action == "install"] == [shared.nbytes]


def test_a_late_frame_of_an_earlier_try_is_dropped(pump):
    pump.hold = lambda device, effect: device == "mec" and getattr(effect, "action", "") == "forward"
    assert pump.train(batch()) is None
    pump.hold = lambda device, effect: False
    pump.wait(6)  # the source tries again, and mec, which the first try still holds up, lets go of it
    assert isinstance(pump.outcomes[-1][2], Parcel)
    pump.release()
    assert len(pump.outcomes) == 2
    assert [e.attempt for e in pump.trace if e.kind == "attempt"] == [0, 1]


def test_a_host_that_goes_down_ends_the_step_with_its_name(pump):
    pump.hold = lambda device, effect: device == "cloud" and getattr(effect, "action", "") == "backward"
    assert pump.train(batch()) is None
    pump.down("mec")
    what, number, outcome = pump.outcomes[-1]
    assert (what, number) == ("step", 0)
    assert isinstance(outcome, StageFailed)
    assert "step 0: mec went down" in str(outcome)
    # Nothing can be done without it, and nothing hangs.
    assert "mec is down" in str(pump.train(batch()))
    # It comes back without its weights, and says so.
    pump.hold = lambda device, effect: False
    pump.up("mec")
    outcome = pump.train(batch())
    assert isinstance(outcome, StageFailed)
    assert "no plan of epoch 1 here" in str(outcome)


def test_a_stage_that_raises_fails_the_step_and_the_next_try_may_come(pump):
    real, broken = pump.executors["mec"].train, [True]

    def train(job):
        if job.action == "backward" and broken:
            broken.pop()
            raise StageFailed("out of memory")
        return real(job)

    pump.executors["mec"].train = train
    outcome = pump.train(batch())
    assert isinstance(outcome, StageFailed)
    assert "step 0: mec: backward: out of memory" in str(outcome)
    assert isinstance(pump.train(batch()), Parcel)


def test_silence_ends_in_a_deadline_that_names_who_was_silent(pump):
    pump.lose = lambda device, effect: device == "mec" and effect.frame.mode == Mode.FORWARD
    assert pump.train(batch()) is None
    pump.wait(11)
    outcome = pump.outcomes[-1][2]
    assert isinstance(outcome, DeadlineExceeded)
    assert "step 0: nothing from cloud, mec, ue within 5 s in 2 tries" in str(outcome)


def test_an_incomplete_message_is_never_computed_with(pump):
    lost = [True]

    def change(device, effect):
        if device == "gnb" and effect.frame.mode == Mode.FORWARD and lost:
            lost.pop()
            gaps = (Gap(effect.parcel.tensors[0], 0, 4),)
            return type(effect)(effect.dst, effect.frame, Parcel(effect.parcel.tensors, effect.parcel.data, gaps))
        return effect

    pump.change = change
    assert isinstance(pump.train(batch()), Parcel)
    assert pump.drops("mec")["incomplete"] == 1
    assert [e.attempt for e in pump.trace if e.kind == "attempt"] == [0, 1]


def test_one_thing_at_a_time(pump):
    pump.hold = lambda device, effect: getattr(effect, "action", "") == "update"
    assert pump.train(batch()) is None
    assert isinstance(pump.train(batch()), Overloaded)
    assert isinstance(pump.gather(), Overloaded)
    pump.hold = lambda device, effect: False
    pump.release()
    assert pump.outcomes[-1][0] == "step"
    assert isinstance(pump.outcomes[-1][2], Parcel)


def test_only_what_changes_hosts_moves_and_its_state_with_it(pump):
    first = lay_out_training(plan_of(profile(), ("ue", "mec", "cloud"), (2, 4, 6)), config())
    then = lay_out_training(plan_of(profile(), ("mec", "cloud"), (3, 6), epoch=2), config())
    found = {(m.src, m.dst): dict(m.tensors) for m in moves(first, then, profile(), SPEC)}
    # mec becomes the owner of weight 0; cloud has its value as a reader, and needs nothing of it.
    assert found == {
        ("ue", "mec"): {state_id(0): 40, state_id(0, 1): 40, state_id(1): 41, state_id(1, 1): 41, state_id(5): 45},
        ("mec", "cloud"): {state_id(3): 43, state_id(3, 1): 43},
    }
    assert moved_nbytes(first, then, profile(), SPEC) == 40 * 2 + 41 * 2 + 45 + 43 * 2
    assert not moves(first, first, profile(), SPEC)
    before = len(pump.frames)
    assert pump.pin(("mec", "cloud"), (3, 6))[2] == Parcel()
    sent = {(d, e.dst) for d, e in pump.frames[before:] if e.frame.mode == Mode.PARAMETERS}
    assert sent == {("ue", "gnb"), ("gnb", "mec"), ("mec", "cloud")}


def test_a_host_that_loses_its_stage_has_to_know(pump):
    """Word of the plan is lost on its way to cloud, whose weights nobody needs: it is told again before steps go on."""
    pump.lose = lambda device, effect: device == "mec" and effect.dst == "cloud"
    assert pump.pin(("ue", "mec"), (2, 6))[:2] == ("plan", 1)
    pump.lose = lambda device, effect: False
    pump.wait(6)
    assert pump.outcomes[-1] == ("plan", 2, Parcel())
    assert [job.stage for device, job in pump.jobs if device == "cloud" and job.action == "place"][-1] == -1


def test_lost_weights_are_asked_for_again(pump):
    lost = [True]

    def lose(device, effect):
        return effect.frame.mode == Mode.PARAMETERS and bool(lost) and bool(lost.pop())

    pump.lose = lose
    pump.pin(("mec", "cloud"), (3, 6))
    assert pump.outcomes[-1][:2] == ("plan", 1)
    pump.wait(6)
    assert pump.outcomes[-1][0] == "plan"
    assert pump.outcomes[-1][1:] == (2, Parcel())


def test_gathering_brings_each_weight_and_its_state_once(pump):
    pump.train(batch())
    found = pump.gather()
    assert isinstance(found, Parcel)
    slots = {weight_of(id) for id in found.tensors}
    assert slots == {(k, 0) for k in range(6)} | {(k, 1) for k in range(5)}
    assert len(found.tensors) == len(slots)


HOSTILE = [
    ((state_id(1),), (5,), "not weights that are expected here"),  # a wrong size
    ((state_id(4),), (44,), "not weights that are expected here"),  # a weight of another stage
    ((3,), (43,), "not weights that are expected here"),  # no weight at all
    ((state_id(1, 7),), (41,), "not weights that are expected here"),  # state that no optimiser has
]


@pytest.mark.parametrize(("ids", "sizes", "reason"), HOSTILE)
def test_hostile_weights_are_refused_and_cost_nothing(pump, ids, sizes, reason):
    pump.hold = lambda device, effect: getattr(effect, "action", "") == "export"
    pump.pin(("gnb", "cloud"), (2, 6))  # gnb waits for weights 0, 1 and 5
    parcel = Parcel(ids, tuple(memoryview(bytes(n)) for n in sizes))
    tensors = tuple(zip(ids, sizes, strict=True))
    frame = Frame(kind=FrameKind.TASK, source=0, request=0, epoch=2, transfer=1, mode=Mode.PARAMETERS, tensors=tensors)
    pump.tell("gnb", FrameArrived("ue", frame, parcel))
    assert pump.drops("gnb")[reason] == 1
    pump.hold = lambda device, effect: False
    pump.release()
    assert pump.outcomes[-1] == ("plan", 2, Parcel())


@pytest.mark.parametrize("mode", [Mode.FORWARD, Mode.BACKWARD, Mode.VALUES, Mode.PARAMETERS, Mode.TRAINING])
@pytest.mark.parametrize("kind", list(FrameKind))
def test_made_up_messages_never_raise_and_never_begin_anything(pump, mode, kind):
    rng = np.random.default_rng(3)
    jobs, outcomes = len(pump.jobs), len(pump.outcomes)
    for _ in range(60):
        count = int(rng.integers(0, 3))
        ids = tuple(
            int(rng.choice([0, 2, 4, LABELS, LOSS, gradient_id(0), state_id(0), 1 << 62])) for _ in range(count)
        )
        data = tuple(memoryview(bytes(int(rng.integers(0, 50)))) for _ in range(count))
        frame = Frame(
            kind=kind, source=int(rng.integers(0, 6)), request=int(rng.integers(0, 3)), attempt=int(rng.integers(0, 3)),
            epoch=int(rng.choice([0, 2, 7])), cut=int(rng.integers(0, 9)), transfer=int(rng.integers(-1, 6)), mode=mode,
            coding=int(rng.integers(0, 9)), model=bytes(8) if rng.random() < 0.8 else b"12345678",
            tensors=tuple((id, d.nbytes) for id, d in zip(ids, data, strict=True)),
        )  # fmt: skip
        pump.tell(str(rng.choice(["ue", "gnb", "mec", "cloud"])), FrameArrived("gnb", frame, Parcel(ids, data)))
    assert (len(pump.jobs), len(pump.outcomes)) == (jobs, outcomes)
    assert isinstance(pump.train(batch()), Parcel)


def test_a_host_that_does_not_train_drops_training():
    from airloom.engine.host import Host

    host = Host(HostConfig(device="mec", topology=star(), profile=profile()))
    host.start(0.0)
    frame = Frame(kind=FrameKind.TASK, source=0, request=0, transfer=2, mode=Mode.FORWARD)
    host.handle(FrameArrived("gnb", frame, Parcel()), 1.0)
    host.handle(TrainingPinned(plan_of(profile(), ("ue",), (6,))), 1.0)
    host.handle(TrainStep(0, batch()), 1.0)
    assert host.snapshot().counters == {"this host does not train": 1}


def config():
    return HostConfig(device="ue", topology=star(), profile=profile(), training=SPEC)


@pytest.mark.parametrize(
    ("devices", "stops", "line"),
    [
        (("ue", "nobody"), (2, 6), r"\$\.stages\[1\]\.device: no device 'nobody'"),
        (("ue", "mec"), (2, 5), "end at operator 5 of 6"),
        (("ue", "mec", "ue"), (2, 4, 6), "one stage: join"),
    ],
)
def test_plans_that_cannot_be_followed(devices, stops, line):
    with pytest.raises(ConfigError, match=line):
        lay_out_training(plan_of(profile(), devices, stops), config())
    pump = TrainingPump(star(), profile(), SPEC)
    assert isinstance(pump.pin(devices, stops)[2], StageFailed)


def test_plans_and_profiles_of_something_else():
    plan = msgspec.structs.replace(plan_of(profile(), ("ue",), (6,)), graph_digest="sha256:" + "a" * 64)
    with pytest.raises(ProfileMismatch, match="plan is for six"):
        lay_out_training(plan, _with_digest())
    bare = msgspec.structs.replace(profile(), weights=())
    made = HostConfig(device="ue", topology=star(), profile=bare, training=SPEC)
    with pytest.raises(ProfileMismatch, match="knows of no training"):
        lay_out_training(plan_of(profile(), ("ue",), (6,)), made)


def _with_digest():
    other = msgspec.structs.replace(profile(), graph_digest="sha256:" + "b" * 64)
    return HostConfig(device="ue", topology=star(), profile=other, training=SPEC)


def test_a_step_needs_a_plan_and_the_model_s_input():
    pump = TrainingPump(star(), profile(), SPEC)
    assert "no plan is in force" in str(pump.train(batch()))
    pump.pin(("ue", "cloud"), (3, 6))
    small = Parcel((0, LABELS), (memoryview(bytes(3)), memoryview(bytes(16))))
    assert "the input is" in str(pump.train(small))


def test_pieces_come_together_in_any_order_and_nothing_else_does():
    big = memoryview(bytes(range(256)) * (PIECE_BYTES // 100))
    ids, data = (state_id(0), state_id(1), state_id(1, 1)), (big, memoryview(b"12345"), memoryview(b""))
    expected = [(state_id(0), big.nbytes), (state_id(1), 5), (state_id(1, 1), 5)]
    messages = list(pieces(Parcel(ids, data)))
    assert len(messages) == -(-big.nbytes // PIECE_BYTES) + 1
    assert max(parcel.nbytes for _, parcel in messages) <= PIECE_BYTES
    collector = Collector(expected)
    for number, parcel in reversed(messages):
        assert not collector.is_complete
        assert collector.add(number, parcel)
        assert collector.add(number, parcel)  # once more changes nothing
    assert collector.is_complete
    assert collector.parcel() == Parcel(ids, data)
    last = Parcel((state_id(0),), (memoryview(bytes(7)),))
    assert not Collector(expected).add(99, last)
    assert not Collector(expected).add(0, last)
    assert not Collector(expected).add(0, Parcel((state_id(1),), (memoryview(b""),)))  # only state may be empty


def test_who_owns_what():
    sharing = Sharing([(0, 4), (1,), (2, 3), (), (5,)], ((0, 2), (2, 4), (4, 6)))
    assert sharing.owner == [0, 0, 1, -1, 2]
    assert [sharing.owned(k) for k in range(3)] == [(0, 1), (2,), (4,)]
    assert [sharing.crossing(k) for k in range(3)] == [(), (0,), (0,)]
    assert (sharing.lent(0), sharing.borrowed(2), sharing.borrowed(1)) == ((0,), (0,), ())


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}, {"weight_decay": -1.0}, {"nesterov": True},
        {"betas": (0.9, 1.0)}, {"optimizer": "adam", "momentum": 0.9}, {"patience_s": 0.0}, {"attempts": 0},
    ],
)  # fmt: skip
def test_figures_that_no_optimiser_takes(changed):
    with pytest.raises(ConfigError):
        TrainingSpec(**changed).check()
