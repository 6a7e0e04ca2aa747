"""The relay as a process: times, losses, addresses, commands, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from airloom.core.topology import Link
from airloom.core.trace import Event
from airloom.errors import ConfigError, DeploymentError
from airloom.runtime.relay_control import LinkStats, RelaySpec
from airloom.runtime.relay_process import RelayProcess, start_relay

# Other processes may hold the processor: times are compared as medians, and never by less than this.
SLACK_S = 0.012


@pytest.fixture
def hosts() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The data planes of a and b."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for sock in pair:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5.0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        yield pair[0], pair[1]


def where(sock: socket.socket) -> str:
    return "{}:{}".format(*sock.getsockname())


def to_pair(address: str) -> tuple[str, int]:
    host, port = address.split(":")
    return host, int(port)


def link(src: str = "a", dst: str = "b", *, rate_bps: float = math.inf, **more: float | str) -> Link:
    return Link(src=src, dst=dst, rate_bps=rate_bps, **more)


def run(spec: RelaySpec, body: Callable[[RelayProcess], Awaitable[None]], events: list[Event] | None = None) -> None:
    async def main() -> None:
        async with await start_relay(spec, on_event=None if events is None else events.append) as relay:
            await body(relay)

    asyncio.run(main())


def udp_spec(hosts: tuple[socket.socket, socket.socket], *links: Link, **more: int) -> RelaySpec:
    return RelaySpec(links=links, hosts={"a": where(hosts[0]), "b": where(hosts[1])}, **more)


async def stats_of(relay: RelayProcess, src: str = "a", dst: str = "b") -> LinkStats:
    return next(s for s in (await relay.stats()).links if (s.src, s.dst) == (src, dst))


def receive_all(sock: socket.socket, *, quiet_s: float = 0.3) -> list[bytes]:
    """What comes until nothing has come for `quiet_s`."""
    sock.settimeout(quiet_s)
    got = []
    with contextlib.suppress(TimeoutError):
        while True:
            got.append(sock.recv(65536))
    return got


def test_udp_takes_the_delay_and_the_rate_that_the_link_has(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts
    delay_s, rate_bps, packets = 0.02, 20e6, 60

    async def body(relay: RelayProcess) -> None:
        entry = to_pair(relay.address("a", "b"))
        single, train = [], []
        for _ in range(9):
            start = time.monotonic()
            a.sendto(bytes(1200), entry)
            b.recv(2000)
            single.append(time.monotonic() - start)
        for _ in range(5):
            start = time.monotonic()
            for i in range(packets):
                a.sendto(struct.pack("I", i) + bytes(1196), entry)
            order = [struct.unpack("I", b.recv(2000)[:4])[0] for _ in range(packets)]
            train.append(time.monotonic() - start)
            assert order == list(range(packets))
        one_s = delay_s + 1228 * 8 / rate_bps
        all_s = delay_s + packets * 1228 * 8 / rate_bps
        assert min(single) >= one_s - 1e-4
        assert np.median(single) <= one_s + SLACK_S
        assert min(train) >= all_s - 1e-4
        assert np.median(train) <= all_s + SLACK_S
        told = await relay.stats()
        assert told.links[0].offered == told.links[0].delivered == 9 + 5 * packets
        assert told.links[0].offered_bytes == told.links[0].offered * 1228
        assert 0 <= told.late_mean_s < SLACK_S

    run(udp_spec(hosts, link(rate_bps=rate_bps, delay_s=delay_s)), body)


def test_each_host_knows_its_neighbour_by_one_address(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts

    async def body(relay: RelayProcess) -> None:
        a.sendto(b"ask", to_pair(relay.address("a", "b")))
        data, source = b.recvfrom(100)
        assert (data, source) == (b"ask", to_pair(relay.address("b", "a")))
        start = time.monotonic()
        b.sendto(b"answer", source)
        data, source = a.recvfrom(100)
        assert (data, source) == (b"answer", to_pair(relay.address("a", "b")))
        assert time.monotonic() - start >= 0.03  # the way back has its own delay

    run(udp_spec(hosts, link(), link("b", "a", delay_s=0.03)), body)


def test_losses_are_those_of_the_model_and_counted(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts

    async def body(relay: RelayProcess) -> None:
        for _ in range(1000):
            a.sendto(bytes(100), to_pair(relay.address("a", "b")))
        got = receive_all(b)
        told = await stats_of(relay)
        assert (told.offered, told.kernel_dropped) == (1000, 0)
        assert told.delivered == len(got) == 1000 - told.lost
        assert abs(told.lost - 300) < 6 * math.sqrt(1000 * 0.3 * 0.7)

    run(udp_spec(hosts, link(loss=0.3), seed=7), body)


def test_same_seed_same_losses_whatever_crosses_other_links(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts
    seen: list[list[bytes]] = []

    async def body(relay: RelayProcess) -> None:
        for i in range(300):
            a.sendto(struct.pack("I", i), to_pair(relay.address("a", "b")))
            if len(seen) == 1:
                b.sendto(b"other way", to_pair(relay.address("b", "a")))
        seen.append(receive_all(b))

    for _ in range(2):
        run(udp_spec(hosts, link(loss=0.5), link("b", "a", loss=0.5), seed=11), body)
    assert seen[0] == seen[1]
    assert 50 < len(seen[0]) < 250


def test_a_full_buffer_drops_and_a_large_datagram_counts_its_fragments(
    hosts: tuple[socket.socket, socket.socket],
) -> None:
    a, b = hosts

    async def body(relay: RelayProcess) -> None:
        for _ in range(50):
            a.sendto(bytes(1000), to_pair(relay.address("a", "b")))
        assert len(receive_all(b)) < 25
        told = await stats_of(relay)
        assert told.overflowed + told.delivered == told.offered == 50
        await relay.set_link("a", "b", rate_bps=math.inf)
        a.sendto(bytes(3777), to_pair(relay.address("a", "b")))
        assert receive_all(b) == [bytes(3777)]
        assert (await stats_of(relay)).offered_bytes - told.offered_bytes == 1500 + 1500 + 845

    run(udp_spec(hosts, link(rate_bps=2e6), buffer_bytes=10_000), body)


def test_segments_sent_at_once_are_packets_of_their_own(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts
    payload = bytes(range(250)) * 4

    async def body(relay: RelayProcess) -> None:
        segment = [(socket.IPPROTO_UDP, 103, struct.pack("H", 300))]
        a.sendmsg([payload], segment, 0, to_pair(relay.address("a", "b")))
        assert [b.recv(2000) for _ in range(4)] == [payload[i : i + 300] for i in range(0, 1000, 300)]
        assert (await stats_of(relay)).offered == 4

    run(udp_spec(hosts, link()), body)


def test_a_link_changes_while_it_runs(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts
    events: list[Event] = []

    async def body(relay: RelayProcess) -> None:
        entry = to_pair(relay.address("a", "b"))
        await relay.set_link("a", "b", up=False)
        a.sendto(b"nowhere", entry)
        assert receive_all(b, quiet_s=0.1) == []
        await relay.set_link("a", "b", up=True, delay_s=0.05, rate_bps=1e6)
        b.settimeout(5.0)
        start = time.monotonic()
        a.sendto(bytes(1222), entry)
        b.recv(2000)
        assert time.monotonic() - start >= 0.05 + 0.01
        await relay.set_link("a", "b", loss=1.0)
        a.sendto(b"lost", entry)
        assert receive_all(b, quiet_s=0.2) == []
        told = await stats_of(relay)
        assert (told.cut_off, told.delivered, told.lost) == (1, 1, 1)

    run(udp_spec(hosts, link()), body, events)
    assert [e.kind for e in events] == ["condition"] * 3
    assert [e.data["links"][0]["up"] for e in events] == [False, True, True]
    assert events[1].data["links"][0]["rate_bps"] == 1e6
    assert events[2].data["links"][0] == {
        "src": "a", "dst": "b", "rate_bps": 1e6, "delay_s": 0.05, "loss": 1.0, "up": True, "snr_db": None,
    }  # fmt: skip
    assert events[0].at_s < events[1].at_s <= time.monotonic()


def test_a_replayed_trace_is_told_as_it_moves(hosts: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("0 8\n0.1 4\n0.2 2\n")
    events: list[Event] = []

    async def body(relay: RelayProcess) -> None:
        while len(events) < 4:
            await asyncio.sleep(0.02)
        await relay.set_link("a", "b", rate_bps=1e6)  # the end of the trace
        told = len(events)
        await asyncio.sleep(0.25)
        assert len(events) == told

    run(udp_spec(hosts, link(rate_bps=1e6, trace=str(trace))), body, events)
    assert [e.data["links"][0]["rate_bps"] for e in events[:4]] == [4e6, 2e6, 8e6, 4e6]
    assert events[-1].data["links"][0]["rate_bps"] == 1e6


def test_what_cannot_be_is_refused_and_changes_nothing(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts

    async def body(relay: RelayProcess) -> None:
        for wrong, message in (
            ({"dst": "c"}, "no link a->c here; there are a->b"),
            ({"rate_bps": 0.0}, "a rate must be above 0"),
            ({"rate_bps": -5.0}, "a rate must be above 0"),
            ({"loss": 1.5, "rate_bps": 1.0}, r"loss lies in \[0, 1\]"),
            ({"delay_s": -1.0}, "delay must be finite"),
            ({"burst_s": math.inf}, "burst must be finite"),
        ):
            with pytest.raises(ConfigError, match=message):
                await relay.set_link(**{"src": "a", "dst": "b", **wrong})
        with pytest.raises(ConfigError, match="HOST:PORT"):
            await relay.set_host("b", "nowhere")
        start = time.monotonic()
        a.sendto(b"still there", to_pair(relay.address("a", "b")))
        assert b.recv(100) == b"still there"
        assert time.monotonic() - start < 5

    run(udp_spec(hosts, link()), body)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (RelaySpec(links=(link(loss=0.1), link("b", "a")), transport="tcp"), "TCP through a relay never feels loss"),
        (RelaySpec(links=(link(),), transport="tcp"), "a link in each direction"),
        (RelaySpec(links=(link(), link())), "a->b: given twice"),
        (RelaySpec(links=(link(rate_bps=-5.0),)), "a rate must be above 0"),
        (RelaySpec(links=(link(trace="/nowhere/trace"),)), "/nowhere/trace: cannot read"),
        (RelaySpec(links=(link(),), hosts={"a": "x"}), "HOST:PORT"),
    ],
)
def test_a_bad_spec_is_one_line(spec: RelaySpec, message: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=message):
            await start_relay(spec)

    asyncio.run(main())


def test_a_host_may_be_named_later_and_move(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, b = hosts

    async def body(relay: RelayProcess) -> None:
        entry = to_pair(relay.address("a", "b"))
        a.sendto(b"too early", entry)
        while (await stats_of(relay)).homeless == 0:
            await asyncio.sleep(0.01)
        await relay.set_host("b", where(b))
        a.sendto(b"one", entry)
        assert b.recv(100) == b"one"
        await relay.set_host("b", where(a))
        a.sendto(b"two", entry)
        assert a.recv(100) == b"two"

    run(RelaySpec(links=(link(),)), body)


def test_packets_that_the_kernel_dropped_are_told(hosts: tuple[socket.socket, socket.socket]) -> None:
    a, _ = hosts

    async def body(relay: RelayProcess) -> None:
        entry = to_pair(relay.address("a", "b"))
        os.kill(relay.pid, signal.SIGSTOP)
        try:
            for _ in range(12_000):
                a.sendto(bytes(1400), entry)
        finally:
            os.kill(relay.pid, signal.SIGCONT)
        # The count comes with the next packet that is received.
        a.sendto(b"x", entry)
        for _ in range(200):
            told = await stats_of(relay)
            if told.kernel_dropped:
                break
            a.sendto(b"x", entry)
            await asyncio.sleep(0.02)
        assert told.kernel_dropped > 0
        assert told.offered + told.kernel_dropped >= 12_000

    run(udp_spec(hosts, link()), body)


def test_a_relay_that_died_is_an_error_and_not_a_hang() -> None:
    async def main() -> None:
        relay = await start_relay(RelaySpec(links=(link(),)))
        os.kill(relay.pid, signal.SIGKILL)
        await relay._child.wait()
        with pytest.raises(DeploymentError, match="the relay has ended"):
            await relay.stats()
        await relay.stop()
        await relay.stop()

    asyncio.run(main())


def test_a_relay_ends_when_its_launcher_does() -> None:
    async def main() -> None:
        relay = await start_relay(RelaySpec(links=(link(),)))
        assert relay._child.stdin is not None
        relay._child.stdin.close()
        assert await asyncio.wait_for(relay._child.wait(), 5) == 0
        await relay.stop()

    asyncio.run(main())
