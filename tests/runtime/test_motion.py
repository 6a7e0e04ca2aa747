"""Slow motion: hosts, sockets and the relay go by a clock on which one second takes several."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.core.topology import Link
from airloom.engine.events import Execute, StageDone
from airloom.errors import ConfigError
from airloom.runtime.compute import Compute
from airloom.runtime.motion import REAL, Motion, slow_enough
from airloom.runtime.places import parse_address
from airloom.runtime.relay_control import RelaySpec
from airloom.runtime.relay_process import start_relay
from airloom.runtime.tcp import TcpTransport
from airloom.runtime.timers import Timers
from airloom.runtime.udp import UdpTransport
from airloom.wire.seal import LinkKey

SLOW = 8.0


def test_the_clock_goes_slower_and_is_the_same_for_all() -> None:
    motion, before_s = Motion(SLOW), time.monotonic()
    now_s = motion.now_s()
    assert before_s <= now_s * SLOW <= time.monotonic()
    assert Motion(SLOW).now_s() - now_s < 1.0
    assert REAL.now_s() == pytest.approx(time.monotonic(), abs=1.0)
    assert (motion.real_s(0.5), motion.real_s(None)) == (4.0, None)


@pytest.mark.parametrize("slow", [0.5, 0.0, -1.0, 1e6, float("nan")])
def test_faster_than_real_time_there_is_none(slow: float) -> None:
    with pytest.raises(ConfigError, match="slow motion is from 1"):
        Motion(slow)


def test_how_slow_it_must_be() -> None:
    assert slow_enough(1.25) == 1.0
    assert slow_enough(0.25) == 4.0
    assert slow_enough(0.24) == 5.0
    # Three cores busy in the mean, of two of which one is left to others.
    assert slow_enough(1.0, busy_cores=3.0, cores=2) == 3.0


def test_a_timer_fires_by_the_slow_clock() -> None:
    async def main() -> float:
        motion, fired = Motion(SLOW), asyncio.Event()
        timers = Timers(lambda key: fired.set(), motion)
        began_s = time.monotonic()
        timers.start(("x",), motion.now_s() + 0.02)
        await asyncio.wait_for(fired.wait(), 5)
        return time.monotonic() - began_s

    assert 0.02 * SLOW - 1e-3 <= asyncio.run(main()) < 2.0


class Works:
    """Computes for `seconds` of the processor, or waits for them as if others had it."""

    def __init__(self, seconds: float, *, waits: bool = False) -> None:
        self._seconds, self._waits = seconds, waits
        self.is_single_threaded = True

    def load(self, start: int, stop: int) -> None: ...

    def run(self, start: int, stop: int, data: Any) -> dict[int, memoryview]:
        if self._waits:
            time.sleep(self._seconds)
        end_s = time.thread_time() + (0.0 if self._waits else self._seconds)
        while time.thread_time() < end_s:
            pass
        return {7: memoryview(b"x")}


def ran(executor: Works, *, factor: float, slow: float) -> tuple[float, float]:
    """Seconds that a stage is said to have taken, and that it took."""

    async def main() -> tuple[float, float]:
        done: list[Any] = []
        compute = Compute(executor, done.append, factor=factor, slow=slow)
        compute.start()
        try:
            began_s = time.monotonic()
            compute.submit(Execute(1, 0, 1, Parcel((1,), (memoryview(b"a"),)), (7,)))
            while not done:
                await asyncio.sleep(0.001)
            assert isinstance(done[0], StageDone)
            return done[0].compute_s, time.monotonic() - began_s
        finally:
            await asyncio.to_thread(compute.close)

    return asyncio.run(main())


def test_a_device_that_is_faster_than_this_machine() -> None:
    said_s, took_s = ran(Works(0.02), factor=0.25, slow=SLOW)
    assert took_s >= 0.02 * 0.25 * SLOW - 1e-3
    # A busy machine may be late.
    assert 0.02 * 0.25 - 1e-3 <= said_s < 8 * 0.02 * 0.25
    assert said_s * SLOW <= took_s


def test_what_others_take_of_the_processor_is_not_the_devices() -> None:
    # 30 ms of which the stage had none: no more than those pass, be the device twenty times slower.
    said_s, _ = ran(Works(0.03, waits=True), factor=20.0, slow=1.0)
    assert 0.03 <= said_s < 0.2


def test_no_device_is_faster_than_slow_motion_allows() -> None:
    with pytest.raises(ConfigError, match=r"0\.125 to 1e6 times slower in slow motion 8, not 0\.1 times"):
        Compute(Works(0.0), print, factor=0.1, slow=SLOW)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_links_have_the_delay_and_the_rate_of_what_they_stand_for(kind: Any) -> None:
    delay_s, rate_bps, nbytes = 0.03, 80e6, 500_000
    motion = Motion(SLOW)
    figures: list[tuple[float | None, float | None]] = []

    async def main() -> tuple[float, float]:
        arrived = asyncio.Event()
        made: Any = UdpTransport if kind == "udp" else TcpTransport
        a = made(
            "a", ("127.0.0.1", 0), on_message=lambda *m: None, motion=motion,
            on_link=lambda src, dst, rate, delay, loss: figures.append((rate, delay)) if src == "a" else None,
        )  # fmt: skip
        b = made("b", ("127.0.0.1", 0), on_message=lambda *m: arrived.set(), motion=motion)
        await a.start()
        await b.start()
        links = tuple(Link(src=s, dst=d, rate_bps=rate_bps, delay_s=delay_s) for s, d in (("a", "b"), ("b", "a")))
        hosts = {"a": "{}:{}".format(*a.local_address), "b": "{}:{}".format(*b.local_address)}
        relay = await start_relay(RelaySpec(links=links, hosts=hosts, transport=kind, slow=SLOW))
        keys = LinkKey.generate(), LinkKey.generate()
        try:
            a.add_peer("b", parse_address(relay.address("a", "b")), keys[0], keys[1], rate_bps=rate_bps)
            b.add_peer("a", parse_address(relay.address("b", "a")), keys[1], keys[0], rate_bps=rate_bps)
            began_s, real_s = motion.now_s(), time.monotonic()
            parcel = Parcel((0,), (memoryview(bytes(nbytes)),))
            a.send("b", Frame(kind=FrameKind.TASK, source=0, request=1), parcel)
            await asyncio.wait_for(arrived.wait(), 30)
            took = motion.now_s() - began_s, time.monotonic() - real_s
            await asyncio.sleep(0.3 * SLOW)
            return took
        finally:
            await a.close()
            await b.close()
            await relay.stop()

    took_s, real_s = asyncio.run(main())
    least_s = delay_s + 8 * nbytes / rate_bps
    assert least_s < took_s < 3 * least_s
    assert real_s == pytest.approx(took_s * SLOW, rel=0.05)
    delays = [delay for _, delay in figures if delay is not None]
    if kind == "udp":  # TCP ends at the relay: its round trips are this machine's
        assert delay_s <= delays[-1] < 2 * delay_s
        assert [rate for rate, _ in figures if rate is not None][-1] == pytest.approx(rate_bps, rel=0.3)
