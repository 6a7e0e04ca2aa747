"""The TCP transport on 127.0.0.1: the same messages, sealed with the same keys, over a stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.errors import MissingExtra, WireError
from airloom.runtime.memory import MemoryNetwork, MemoryTransport
from airloom.runtime.tcp import TcpTransport
from airloom.wire.receiver import ReceiverLimits
from airloom.wire.records import RECORD_ROOM, RecordReader, seal_message
from airloom.wire.seal import LinkKey, Opener, Sealer

THERE, BACK = LinkKey(b"t" * 32, b"salt"), LinkKey(b"b" * 32, b"salt")
Message = tuple[str, Frame, Parcel]


def task(request: int, nbytes: int) -> tuple[Frame, Parcel]:
    data = memoryview(np.random.default_rng(request).bytes(nbytes))
    return Frame(kind=FrameKind.TASK, source=0, request=request), Parcel((4,), (data,))


@asynccontextmanager
async def ends(**options: Any) -> AsyncIterator[tuple[TcpTransport, TcpTransport, asyncio.Queue[Message]]]:
    arrived: asyncio.Queue[Message] = asyncio.Queue()
    a = TcpTransport("a", on_message=lambda *m: arrived.put_nowait(m), **options)
    b = TcpTransport("b", on_message=lambda *m: arrived.put_nowait(m), **options)
    await a.start()
    await b.start()
    a.add_peer("b", b.local_address, THERE, BACK)
    b.add_peer("a", a.local_address, BACK, THERE)
    try:
        yield a, b, arrived
    finally:
        await a.close()
        await b.close()


async def expect(arrived: asyncio.Queue[Message], peer: str, frame: Frame, parcel: Parcel) -> None:
    got = await asyncio.wait_for(arrived.get(), 10)
    assert (got[0], got[1].request, got[2].missing) == (peer, frame.request, ())
    assert [bytes(d) for d in got[2].data] == [bytes(d) for d in parcel.data]


@pytest.mark.parametrize("nbytes", [0, RECORD_ROOM - 80, RECORD_ROOM, 3_000_000])
def test_messages_arrive_both_ways(nbytes: int) -> None:
    async def run() -> None:
        async with ends() as (a, b, arrived):
            for k in range(3):
                a.send("b", *task(k, nbytes))
                await expect(arrived, "a", *task(k, nbytes))
                b.send("a", *task(k, nbytes))
                await expect(arrived, "b", *task(k, nbytes))
            assert a.counters()["received_messages"] == a.counters()["sent_messages"] == 3

    asyncio.run(run())


def test_a_connection_that_breaks_is_opened_again() -> None:
    async def run() -> None:
        async with ends() as (a, b, arrived):
            a.send("b", *task(1, 1000))
            await expect(arrived, "a", *task(1, 1000))
            b._incoming.abort()
            await asyncio.sleep(0.3)
            a.send("b", *task(2, 1000))
            await expect(arrived, "a", *task(2, 1000))
            assert a.counters()["drop_connection_lost"] == 1

    asyncio.run(run())


def test_messages_wait_for_a_peer_that_is_not_up_yet() -> None:
    async def run() -> None:
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        a = TcpTransport("a", on_message=lambda *_: None)
        await a.start()
        a.add_peer("b", address, THERE, BACK)
        a.send("b", *task(1, 1000))
        await asyncio.sleep(0.1)
        b = TcpTransport("b", address, on_message=lambda *m: arrived.put_nowait(m))
        b.add_peer("a", a.local_address, BACK, THERE)
        await b.start()
        await expect(arrived, "a", *task(1, 1000))
        await a.close()
        await b.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: me\r\n\r\n", "malformed"),
        (bytes(seal_message(Sealer(LinkKey(b"x" * 32, b"salt")), [b"abc"])), "unknown_peer"),
        (bytes(seal_message(Sealer(THERE), [bytes(2000)])), "oversized"),
    ],
)
def test_a_stream_that_is_not_ours_is_cut(data: bytes, reason: str) -> None:
    async def run() -> None:
        async with ends(receiver_limits=ReceiverLimits(message_bytes=1000)) as (_, b, arrived):
            reader, writer = await asyncio.open_connection(*b.local_address)
            writer.write(data)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            assert b.counters()[f"drop_{reason}"] == 1
            assert arrived.empty()

    asyncio.run(run())


def test_congestion_control_is_named() -> None:
    async def run() -> None:
        async with ends(congestion="reno") as (a, _, arrived):
            a.send("b", *task(1, 10))
            await asyncio.wait_for(arrived.get(), 10)
            connection = a._peers["b"].outgoing.connection
            assert connection is not None
            sock = connection.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        with pytest.raises(MissingExtra, match="have: "):
            await TcpTransport("c", on_message=lambda *_: None, congestion="nosuch").start()

    asyncio.run(run())


def test_the_kernels_figures_of_the_link_are_told() -> None:
    async def run() -> None:
        links: list[tuple[Any, ...]] = []
        async with ends(on_link=lambda *f: links.append(f)) as (a, _, arrived):
            a.send("b", *task(1, 1_000_000))
            await asyncio.wait_for(arrived.get(), 10)
            await asyncio.sleep(0.4)
        src, dst, rate_bps, delay_s, loss = links[0]
        assert (src, dst) == ("a", "b")
        assert rate_bps > 1e6
        assert 0 < delay_s < 0.1
        assert loss == 0

    asyncio.run(run())


# --- records, without sockets -------------------------------------------------------------------


def reader(key: LinkKey = THERE, newest: dict[int, int] | None = None, limit: int = 1 << 20) -> RecordReader:
    opener = Opener(key)
    return RecordReader({opener.tag: opener}, {} if newest is None else newest, message_bytes=limit)


@given(st.lists(st.integers(1, 200_000), max_size=4), st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_records_survive_any_cutting_of_the_stream(sizes: list[int], cuts: list[int]) -> None:
    sealer, rng = Sealer(THERE), np.random.default_rng(0)
    messages = [rng.bytes(size) for size in sizes]
    stream = b"".join(bytes(seal_message(sealer, [m[:5], m[5:]])) for m in messages)
    got, at, to = [], 0, reader()
    for cut in (*cuts, len(stream)):
        got += [bytes(m) for m in to.feed(stream[at : at + cut])]
        at += cut
    assert got == messages


@given(st.binary(max_size=400), st.data())
@settings(max_examples=500, deadline=None)
def test_no_bytes_break_the_reader(noise: bytes, draw: st.DataObject) -> None:
    """Noise, or an authentic stream with a byte changed: nothing wrong comes out."""
    sealed = bytearray(seal_message(Sealer(THERE), [b"x" * 300]))
    if draw.draw(st.booleans()):
        place = draw.draw(st.integers(0, len(sealed) - 1))
        sealed[place] ^= draw.draw(st.integers(1, 255))
        noise = bytes(sealed)
    to = reader()
    with suppress(WireError):
        assert to.feed(noise) == []


@pytest.mark.long
def test_a_hundred_thousand_mutants_of_a_stream() -> None:
    rng = np.random.default_rng(0)
    sealed = bytes(seal_message(Sealer(THERE), [b"x" * 300]))
    for _ in range(100_000):
        data = bytearray(sealed)
        data[rng.integers(len(data))] ^= rng.integers(1, 256)
        with suppress(WireError):
            assert reader().feed(data[: rng.integers(1, len(data) + 1)]) == []


def test_a_stream_played_again_is_refused() -> None:
    newest: dict[int, int] = {}
    stream = seal_message(Sealer(THERE), [b"hello"])
    assert [bytes(m) for m in reader(newest=newest).feed(stream)] == [b"hello"]
    with pytest.raises(WireError, match="replayed"):
        reader(newest=newest).feed(stream)


def test_a_claim_of_size_takes_no_memory_before_it_is_proved() -> None:
    sealed = bytearray(seal_message(Sealer(THERE), [bytes(RECORD_ROOM * 4)]))
    sealed[100] ^= 1
    to = reader()
    with pytest.raises(WireError, match="unauthentic"):
        to.feed(sealed)
    assert to._message is None


def test_memory_transports_pass_messages() -> None:
    async def run() -> None:
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        network = MemoryNetwork()
        a = MemoryTransport("a", network, on_message=lambda *m: arrived.put_nowait(m))
        b = MemoryTransport("b", network, on_message=lambda *m: arrived.put_nowait(m))
        await a.start()
        await b.start()
        a.add_peer("b", b.local_address, THERE, BACK)
        a.send("b", *task(1, 100))
        await asyncio.sleep(0.01)
        assert b.counters()["drop_unknown_peer"] == 1
        b.add_peer("a", a.local_address, BACK, THERE)
        a.send("b", *task(2, 100))
        await expect(arrived, "a", *task(2, 100))
        await b.close()
        a.send("b", *task(3, 100))
        await asyncio.sleep(0.01)
        assert a.counters()["drop_unanswered"] == 1
        await a.close()

    asyncio.run(run())
