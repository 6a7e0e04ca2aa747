"""TCP through the relay: a byte stream with a link's rate and delay, both ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from airloom.core.topology import Link
from airloom.errors import ConfigError
from airloom.runtime.relay_control import RelaySpec
from airloom.runtime.relay_process import RelayProcess, start_relay

SLACK_S = 0.02
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def spec(*, rate_bps: float = float("inf"), delay_s: float = 0.0, back_delay_s: float = 0.0) -> RelaySpec:
    forward = Link(src="a", dst="b", rate_bps=rate_bps, delay_s=delay_s)
    return RelaySpec(links=(forward, Link(src="b", dst="a", rate_bps=rate_bps, delay_s=back_delay_s)), transport="tcp")


def run(given: RelaySpec, body: Callable[[RelayProcess, Streams, Streams], Awaitable[None]]) -> None:
    """`body` gets the relay and both ends of a connection that a made to b through it."""

    async def main() -> None:
        accepted: asyncio.Queue[Streams] = asyncio.Queue()
        server = await asyncio.start_server(lambda r, w: accepted.put_nowait((r, w)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, await start_relay(given) as relay:
            await relay.set_host("b", f"127.0.0.1:{port}")
            host, entry = relay.address("a", "b").split(":")
            near = await asyncio.open_connection(host, int(entry))
            far = await asyncio.wait_for(accepted.get(), 5)
            try:
                await asyncio.wait_for(body(relay, near, far), 30)
            finally:
                for _, writer in (near, far):
                    writer.close()

    asyncio.run(main())


def test_bytes_keep_their_order_both_ways_and_an_end_is_passed_on() -> None:
    rng = np.random.default_rng(0)
    there, back = rng.bytes(3_000_000), rng.bytes(500_000)

    async def body(relay: RelayProcess, near: Streams, far: Streams) -> None:
        near[1].write(there)
        far[1].write(back)
        near[1].write_eof()
        assert await far[0].read(-1) == there
        assert await near[0].readexactly(len(back)) == back
        far[1].write(b"after the other end closed")
        far[1].write_eof()
        assert await near[0].read(-1) == b"after the other end closed"

    run(spec(rate_bps=400e6, delay_s=0.001), body)


def test_the_stream_takes_the_links_rate_and_delay() -> None:
    async def body(relay: RelayProcess, near: Streams, far: Streams) -> None:
        took, answers = [], []
        for _ in range(5):
            start = time.monotonic()
            near[1].write(bytes(200_000))
            await far[0].readexactly(200_000)
            took.append(time.monotonic() - start)
            start = time.monotonic()
            far[1].write(b"k")
            await near[0].readexactly(1)
            answers.append(time.monotonic() - start)
        # 139 segments of 1448 bytes and their headers at 40 Mbit/s, 10 ms.
        expected = 0.01 + (200_000 + 139 * 52) * 8 / 40e6
        assert min(took) >= expected - 1e-3
        assert np.median(took) <= expected + SLACK_S
        assert min(answers) >= 0.03
        assert np.median(answers) <= 0.03 + SLACK_S

    run(spec(rate_bps=40e6, delay_s=0.01, back_delay_s=0.03), body)


def test_a_severed_link_holds_bytes_and_loses_none() -> None:
    async def body(relay: RelayProcess, near: Streams, far: Streams) -> None:
        await relay.set_link("a", "b", up=False)
        near[1].write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(far[0].read(10), 0.15)
        await relay.set_link("a", "b", up=True)
        assert await asyncio.wait_for(far[0].readexactly(4), 5) == b"held"

    run(spec(), body)


def test_a_receiver_that_does_not_read_stops_the_sender() -> None:
    async def body(relay: RelayProcess, near: Streams, far: Streams) -> None:
        far[1].transport.pause_reading()
        near[1].transport.set_write_buffer_limits(high=1)
        near[1].write(bytes(40_000_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(near[1].drain(), 0.5)
        far[1].transport.resume_reading()
        got = 0
        while got < 40_000_000:
            got += len(await far[0].read(1 << 20))
        await near[1].drain()

    run(spec(), body)


def test_loss_is_refused_while_it_runs() -> None:
    async def body(relay: RelayProcess, near: Streams, far: Streams) -> None:
        with pytest.raises(ConfigError, match=r"never feels loss.*tun"):
            await relay.set_link("a", "b", loss=0.01)
        await relay.set_link("a", "b", loss=0.0, rate_bps=1e9)

    run(spec(), body)


def test_a_connection_to_nobody_is_closed() -> None:
    async def main() -> None:
        async with await start_relay(spec()) as relay:
            host, entry = relay.address("a", "b").split(":")
            for address in (None, "127.0.0.1:9"):
                if address:
                    await relay.set_host("b", address)
                reader, writer = await asyncio.open_connection(host, int(entry))
                try:
                    ended = await asyncio.wait_for(reader.read(-1), 5)
                except ConnectionResetError:
                    ended = b""
                assert ended == b""
                writer.close()

    asyncio.run(main())
