"""A service reached over emulated links: it takes what is left of them, and no more than they have."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from airloom.core.topology import Link, NrRadio
from airloom.errors import ConfigError
from airloom.runtime.relay_control import RelaySpec, Stream
from airloom.runtime.relay_process import start_relay

RATE, DELAY, SIZE = 8e6, 0.01, 300_000


def links(**changes):
    pairs = (("ue", "gnb"), ("gnb", "ue"), ("gnb", "mec"), ("mec", "gnb"))
    return tuple(Link(src=a, dst=b, rate_bps=changes.get(f"{a}-{b}", RATE), delay_s=DELAY) for a, b in pairs)


@pytest.fixture
def server():
    """Answers every connection with SIZE bytes once it has heard one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1)
                connection.sendall(bytes(SIZE))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield "{}:{}".format(*listener.getsockname())
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


async def fetched(address):
    """When each piece came, and how many bytes in all."""
    host, port = address.split(":")
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"?")
    times, total = [], 0
    while data := await reader.read(65536):
        times.append(time.monotonic() - began)
        total += len(data)
    writer.close()
    await writer.wait_closed()
    return times, total


def test_a_stream_takes_as_long_as_its_slowest_link_and_both_delays(server):
    async def go():
        path = Stream(name="model", path=("ue", "gnb", "mec"), address=server)
        async with await start_relay(RelaySpec(links=links(**{"mec-gnb": 4e7}), streams=(path,))) as relay:
            # A busy machine delays: the best of a few is the link's.
            return min([await fetched(relay.stream("model")) for _ in range(4)], key=lambda found: found[0][-1])

    times, total = asyncio.run(go())
    assert total == SIZE
    assert times[0] > 4 * DELAY  # the question there, the answer back
    alone = SIZE * 8 * 1500 / 1448 / RATE
    assert alone + 4 * DELAY - 0.02 < times[-1] < 1.25 * (alone + 4 * DELAY)


def test_datagrams_go_before_it(server):
    async def go():
        loop = asyncio.get_running_loop()
        ue, gnb = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ue, gnb):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        hosts = {"ue": "{}:{}".format(*ue.getsockname()), "gnb": "{}:{}".format(*gnb.getsockname())}
        path = Stream(name="model", path=("ue", "gnb"), address=server)
        waits = []
        async with await start_relay(RelaySpec(links=links(), hosts=hosts, streams=(path,))) as relay:
            stream = asyncio.create_task(fetched(relay.stream("model")))
            await asyncio.sleep(0.08)
            host, port = relay.address("gnb", "ue").split(":")
            for _ in range(10):
                began = time.monotonic()
                await loop.sock_sendto(gnb, bytes(100), (host, int(port)))
                await loop.sock_recv(ue, 2000)
                waits.append(time.monotonic() - began - DELAY)
                await asyncio.sleep(0.01)
            assert not stream.done()
            _, total = await stream
        ue.close()
        gnb.close()
        return waits, total

    waits, total = asyncio.run(go())
    assert total == SIZE
    # A full buffer of 256 KiB would be 262 ms.
    assert sorted(waits)[5] < 0.012


def test_what_cannot_be_a_stream_is_refused(server):
    async def go(spec):
        await start_relay(spec)

    with pytest.raises(ConfigError, match="gnb->cloud"):
        asyncio.run(go(RelaySpec(links=links(), streams=(Stream(name="m", path=("gnb", "cloud"), address=server),))))
    radio = Link(src="ue", dst="gnb", rate_bps=1e7, nr=NrRadio(snr_db=20.0))
    with pytest.raises(ConfigError, match="not a radio"):
        asyncio.run(
            go(RelaySpec(links=(radio, *links()[1:]), streams=(Stream(name="m", path=("ue", "gnb"), address=server),)))
        )
