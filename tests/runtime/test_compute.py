import asyncio
import threading
import time

import pytest

from airloom.core.coding import RAW, Coding
from airloom.core.messages import BLOB, Gap, Parcel
from airloom.engine.events import Execute, StageDone, StageRaised
from airloom.errors import ConfigError
from airloom.runtime.compute import Compute


class Sum:
    """Counts its runs; takes as long as it is told."""

    def __init__(self, seconds=0.0):
        self.seconds, self.ran, self.gate = seconds, [], threading.Event()
        self.gate.set()

    def load(self, start, stop):
        self.ran.append(("load", start, stop))
        if start == 13:
            raise ValueError("thirteen")

    def run(self, start, stop, data):
        self.gate.wait(5)
        self.ran.append((start, stop))
        if start == 13:
            raise ValueError("thirteen\nis not run")
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
        return {7: memoryview(bytes(sum(bytes(d)) for d in data.values()))}


def job(number, start=0, outputs=(7,)):
    return Execute(number, start, start + 1, Parcel((1,), (memoryview(bytes([number])),)), outputs)


def run(executor, work, *, factor=1.0):
    """Events delivered while `work(compute)` awaits."""
    events = []

    async def main():
        compute = Compute(executor, events.append, factor=factor)
        compute.start()
        try:
            await asyncio.wait_for(work(compute, events), 10)
        finally:
            await asyncio.to_thread(compute.close)

    asyncio.run(main())
    return events


async def all_of(events, count):
    while len(events) < count:
        await asyncio.sleep(0.002)


def test_stages_run_in_order_and_give_what_was_asked_for():
    async def work(compute, events):
        for number in range(5):
            compute.submit(job(number))
        await all_of(events, 5)

    events = run(Sum(), work)
    assert [e.job for e in events] == [0, 1, 2, 3, 4]
    assert all(isinstance(e, StageDone) and e.parcel.tensors == (7,) for e in events)


def test_what_an_operator_raises_is_told_in_one_line_and_the_next_stage_runs():
    async def work(compute, events):
        compute.submit(job(1, start=13))
        compute.submit(job(2, outputs=(8,)))
        compute.submit(job(3))
        await all_of(events, 3)

    raised, missing, done = run(Sum(), work)
    assert raised == StageRaised(1, "ValueError: thirteen is not run")
    assert isinstance(missing, StageRaised)
    assert isinstance(done, StageDone)


def test_an_abandoned_stage_is_skipped_unless_it_has_begun():
    executor = Sum()

    async def work(compute, events):
        executor.gate.clear()
        for number in (1, 2, 3):
            compute.submit(job(number, start=number))
        await asyncio.sleep(0.05)
        compute.abandon(1)
        compute.abandon(2)
        compute.abandon(99)
        executor.gate.set()
        await all_of(events, 2)

    events = run(executor, work)
    assert [e.job for e in events] == [1, 3]
    assert executor.ran == [(1, 2), (3, 4)]


def test_a_stage_is_made_ready_in_turn_and_may_fail_to_be():
    executor = Sum()

    async def work(compute, events):
        compute.prepare(13, 14)
        compute.prepare(4, 5)
        compute.submit(job(4, start=4))
        await all_of(events, 1)

    (event,) = run(executor, work)
    assert isinstance(event, StageDone)
    assert executor.ran == [("load", 13, 14), ("load", 4, 5), (4, 5)]


def test_a_slow_device_takes_its_factor_and_does_not_spin():
    async def work(compute, events):
        await asyncio.sleep(0)
        before = time.process_time()
        compute.submit(job(1))
        await all_of(events, 1)
        work.cpu_s = time.process_time() - before

    (event,) = run(Sum(0.02), work, factor=10.0)
    assert event.compute_s == pytest.approx(0.2, abs=0.08)
    assert work.cpu_s < 0.12


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, float("nan"), float("inf")])
def test_a_machine_cannot_stand_for_a_faster_one(factor):
    with pytest.raises(ConfigError):
        Compute(Sum(), print, factor=factor)


class Coder(Sum):
    """An executor with codecs: what it was asked to decode and code."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def run(self, start, stop, parcel, outputs, decode=RAW, encode=RAW):
        self.asked.append((start, stop, outputs, decode, encode, parcel.missing))
        return Parcel((BLOB,), (memoryview(b"blob"),)) if not encode.is_raw else Parcel(outputs, (memoryview(b"x"),))

    def prepare(self, cut, coding):
        self.asked.append(("prepare", cut, coding))


def test_codecs_get_the_coding_and_the_gaps():
    coding = Coding(precision="int8")
    blob = Parcel((BLOB,), (memoryview(b"blob"),), (Gap(BLOB, 1, 2),))

    async def work(compute, events):
        compute.prepare_coding(1, coding)
        compute.submit(Execute(1, 0, 1, Parcel((1,), (memoryview(b"x"),)), (7,), RAW, coding))
        compute.submit(Execute(2, 1, 2, blob, (8,), coding, RAW))
        await all_of(events, 2)

    coder = Coder()
    events = run(coder, work)
    assert [e.parcel.tensors for e in events] == [(BLOB,), (8,)]
    assert coder.asked == [
        ("prepare", 1, coding), (0, 1, (7,), RAW, coding, ()), (1, 2, (8,), coding, RAW, (Gap(BLOB, 1, 2),)),
    ]  # fmt: skip


def test_a_host_without_codecs_says_so():
    async def work(compute, events):
        compute.prepare_coding(1, Coding(precision="int8"))
        compute.submit(Execute(1, 0, 1, Parcel((1,), (memoryview(b"x"),)), (7,), RAW, Coding(precision="int8")))
        await all_of(events, 1)

    (raised,) = run(Sum(), work)
    assert raised.message.startswith("StageFailed: this host has no codecs")
