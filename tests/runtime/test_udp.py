"""The UDP transport on 127.0.0.1, with and without something evil between its ends."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from forwarder import Forwarder

from airloom.core.framing import Framing
from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.runtime.udp import UdpTransport
from airloom.runtime.udpsocket import UdpSocket
from airloom.wire.receiver import ReceiverLimits
from airloom.wire.seal import LinkKey
from airloom.wire.sender import Burst

THERE, BACK = LinkKey(b"t" * 32, b"salt"), LinkKey(b"b" * 32, b"salt")
Message = tuple[str, Frame, Parcel]


@dataclass
class Ends:
    a: UdpTransport
    b: UdpTransport
    at_b: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    at_a: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    links: list[tuple[Any, ...]] = field(default_factory=list)


@asynccontextmanager
async def ends(
    *, through: Callable[[tuple[str, int]], Forwarder] | None = None, rate_bps: float | None = math.inf, **options: Any
) -> AsyncIterator[Ends]:
    """Two transports that know each other, both ways through forwarders where asked."""
    found: Ends
    a = UdpTransport(
        "a", on_message=lambda *m: found.at_a.put_nowait(m), on_link=lambda *f: found.links.append(f), **options
    )
    b = UdpTransport("b", on_message=lambda *m: found.at_b.put_nowait(m), **options)
    found = Ends(a, b)
    await a.start()
    await b.start()
    to_a, to_b, forwarders = a.local_address, b.local_address, []
    if through is not None:
        forwarders = [through(to_a), through(to_b)]
        to_a, to_b = [await forwarder.open() for forwarder in forwarders]
    a.add_peer("b", to_b, THERE, BACK, rate_bps=rate_bps)
    b.add_peer("a", to_a, BACK, THERE, rate_bps=rate_bps)
    try:
        yield found
    finally:
        await a.close()
        await b.close()
        for forwarder in forwarders:
            forwarder.close()


def task(request: int, nbytes: int) -> tuple[Frame, Parcel]:
    data = np.random.default_rng(request).bytes(nbytes)
    return Frame(kind=FrameKind.TASK, source=0, request=request), Parcel((4, 9), (memoryview(data), memoryview(b"abc")))


def same(got: Message, frame: Frame, parcel: Parcel) -> bool:
    return (
        got[1].request == frame.request
        and got[1].tensors == tuple((t, d.nbytes) for t, d in zip(parcel.tensors, parcel.data, strict=True))
        and [bytes(d) for d in got[2].data] == [bytes(d) for d in parcel.data]
        and got[2].missing == ()
    )


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize("nbytes", [0, 1000, 400_000])
def test_messages_arrive_both_ways(nbytes: int, segmentation: bool) -> None:
    async def run() -> None:
        async with ends(segmentation=segmentation) as e:
            for k in range(3):
                frame, parcel = task(k, nbytes)
                e.a.send("b", frame, parcel)
                got = await asyncio.wait_for(e.at_b.get(), 10)
                assert got[0] == "a"
                assert same(got, frame, parcel)
                e.b.send("a", frame, parcel)
                assert same(await asyncio.wait_for(e.at_a.get(), 10), frame, parcel)
            counters = e.a.counters()
            assert counters["sent_messages"] == counters["received_messages"] == 3
            assert counters["sent_first_bytes"] == 3 * Framing().wire_nbytes((nbytes, 3))

    asyncio.run(run())


@pytest.mark.parametrize(("loss", "jitter_s"), [(0.1, 0.0), (0.05, 0.003), (0.3, 0.001)])
def test_a_lossy_reordering_network_loses_no_byte(loss: float, jitter_s: float) -> None:
    rng = np.random.default_rng(1)

    async def run() -> None:
        limits = ReceiverLimits(rounds=12)  # reordering looks like loss to a repair
        async with ends(
            through=lambda to: Forwarder(to, rng, loss=loss, duplicate=0.1, jitter_s=jitter_s),
            rate_bps=2e8, receiver_limits=limits,
        ) as e:  # fmt: skip
            for k in range(4):
                frame, parcel = task(k, 200_000)
                e.a.send("b", frame, parcel)
                assert same(await asyncio.wait_for(e.at_b.get(), 20), frame, parcel)
            counters = e.a.counters()
            assert counters["sent_repair_bytes"] > 0
            assert counters["sent_first_bytes"] == 4 * Framing().wire_nbytes((200_000, 3))

    asyncio.run(run())


def test_what_is_not_ours_is_dropped_and_counted() -> None:
    async def run() -> None:
        rng = np.random.default_rng(2)
        async with ends(through=lambda to: Forwarder(to, rng)) as e:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.connect(e.b.local_address)
                for data in (b"", b"x", rng.bytes(100), rng.bytes(1200), rng.bytes(60_000)):
                    stranger.send(data)
                # A datagram that claims our key.
                stranger.send(b"\xa1\x01\0\0" + THERE.tag.to_bytes(4, "little") + rng.bytes(1192))
                stranger.send(b"\xa1\x01\0\0" + THERE.tag.to_bytes(4, "little") + rng.bytes(1400))
            frame, parcel = task(1, 50_000)
            e.a.send("b", frame, parcel)
            assert same(await asyncio.wait_for(e.at_b.get(), 10), frame, parcel)
            counters = e.b.counters()
            assert counters["drop_malformed"] >= 2  # the two too short for a key's tag
            assert counters["drop_unknown_peer"] == 3
            assert counters["drop_oversized"] == 1
            assert counters["received_messages"] == 1

    asyncio.run(run())


def test_a_recorded_message_cannot_be_played_again() -> None:
    async def run() -> None:
        forwarders: list[Forwarder] = []

        def through(to: tuple[str, int]) -> Forwarder:
            forwarders.append(Forwarder(to, np.random.default_rng(3)))
            return forwarders[-1]

        async with ends(through=through, probe=False) as e:
            e.a.send("b", *task(1, 20_000))
            await asyncio.wait_for(e.at_b.get(), 10)
            await asyncio.sleep(0.1)
            recorded = list(forwarders[1].seen)
            before = e.b.counters()
            for datagram in recorded:
                forwarders[1].inject(datagram)
            e.a.send("b", *task(2, 10))
            got = await asyncio.wait_for(e.at_b.get(), 10)
            assert got[1].request == 2
            counters = e.b.counters()
            assert counters["received_messages"] == 2
            refused = sum(counters.get(k, 0) - before.get(k, 0) for k in ("drop_duplicate", "drop_replayed"))
            assert refused >= len(recorded)

    asyncio.run(run())


def test_a_peer_with_another_key_gets_nothing_across() -> None:
    async def run() -> None:
        async with ends() as e:
            wrong = LinkKey(b"w" * 32, b"salt")
            e.a.add_peer("b", e.b.local_address, wrong, BACK, rate_bps=math.inf)
            e.a.send("b", *task(1, 5000))
            await asyncio.sleep(0.2)
            assert e.at_b.empty()
            assert e.b.counters()["drop_unknown_peer"] > 0

    asyncio.run(run())


def test_peers_come_and_go() -> None:
    async def run() -> None:
        async with ends() as e:
            e.a.send("nobody", *task(1, 10))
            assert e.a.counters()["drop_no_peer"] == 1
            e.a.remove_peer("b")
            e.a.remove_peer("b")
            e.a.send("b", *task(1, 10))
            assert e.a.counters()["drop_no_peer"] == 2
            # Back with fresh keys, as after a restart.
            there, back = LinkKey.generate(), LinkKey.generate()
            e.a.add_peer("b", e.b.local_address, there, back, rate_bps=math.inf)
            e.b.add_peer("a", e.a.local_address, back, there, rate_bps=math.inf)
            frame, parcel = task(2, 30_000)
            e.a.send("b", frame, parcel)
            assert same(await asyncio.wait_for(e.at_b.get(), 10), frame, parcel)
            with pytest.raises(ValueError, match="its own"):
                e.b.add_peer("c", e.a.local_address, LinkKey.generate(), there)

    asyncio.run(run())


def test_a_message_above_the_limit_is_the_callers_error() -> None:
    async def run() -> None:
        async with ends(receiver_limits=ReceiverLimits(message_bytes=1000)) as e:
            with pytest.raises(ValueError, match="at most 1000"):
                e.a.send("b", *task(1, 1000))

    asyncio.run(run())


def test_the_rate_of_a_slow_link_is_told() -> None:
    """Through a forwarder that serialises at 20 Mbit/s, though 100 were promised."""

    async def run() -> None:
        free_s = 0.0
        loop = asyncio.get_running_loop()

        class Slow(Forwarder):
            def datagram_received(self, data: bytes, addr: object) -> None:
                nonlocal free_s
                free_s = max(free_s, loop.time()) + (len(data) + 28) * 8 / 20e6
                loop.call_at(free_s, self.inject, data)

        made: list[Forwarder] = []

        def through(to: tuple[str, int]) -> Forwarder:
            made.append((Slow if made else Forwarder)(to, np.random.default_rng(0)))
            return made[-1]

        async with ends(through=through, rate_bps=1e8) as e:
            for k in range(4):
                e.a.send("b", *task(k, 100_000))
                await asyncio.wait_for(e.at_b.get(), 20)
            await asyncio.sleep(0.15)
            e.a.send("b", *task(9, 100_000))
            await asyncio.wait_for(e.at_b.get(), 20)
            rates = [rate for src, dst, rate, _, _ in e.links if (src, dst) == ("a", "b") and rate]
            assert rates
            assert 12e6 < rates[-1] < 28e6
            delays = [delay for *_, delay, _ in e.links if delay is not None]
            assert 0 < min(delays) < 0.05

    asyncio.run(run())


def test_no_callback_after_close() -> None:
    async def run() -> None:
        async with ends() as e:
            e.a.send("b", *task(1, 100_000))
            await e.b.close()
            await e.b.close()
            await asyncio.sleep(0.05)
            assert e.at_b.empty()
            with pytest.raises(RuntimeError, match="start"):
                _ = e.b.local_address

    asyncio.run(run())


def test_an_error_in_a_callback_stops_nothing() -> None:
    async def run() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with ends() as e:
            e.b._on_message = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
            e.a.send("b", *task(1, 10))
            await asyncio.sleep(0.1)
            e.b._on_message = lambda *m: e.at_b.put_nowait(m)
            e.a.send("b", *task(2, 10))
            assert (await asyncio.wait_for(e.at_b.get(), 10))[1].request == 2
            assert len(errors) == 1

    asyncio.run(run())


def test_a_socket_that_is_not_read_counts_what_the_kernel_dropped() -> None:
    receiver = UdpSocket(("127.0.0.1", 0), buffer_bytes=20_000)
    sender = UdpSocket(("127.0.0.1", 0), buffer_bytes=1 << 20, segmentation=False)
    try:
        for _ in range(100):
            sender.send(Burst(memoryview(bytes(1000)), 1000, "first", 1), receiver.address)
        taken = 0
        while receiver.receive() is not None:
            taken += 1
        sender.send(Burst(memoryview(bytes(1000)), 1000, "first", 1), receiver.address)
        assert receiver.receive() is not None
        assert receiver.kernel_drops == 100 - taken > 0
    finally:
        receiver.close()
        sender.close()


def test_the_receive_buffer_is_raised_and_verified() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        default = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    raised = UdpSocket(("127.0.0.1", 0), buffer_bytes=4 * default)
    try:
        assert raised.receive_buffer_bytes > default
    finally:
        raised.close()
