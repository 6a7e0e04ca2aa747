"""The kernel's own TCP and UDP over an emulated link; needs root and /dev/net/tun."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from airloom.core.topology import Link
from airloom.errors import ConfigError, MissingExtra
from airloom.runtime import tun
from airloom.runtime.relay_control import LinkStats, TunSpec
from airloom.runtime.relay_process import RelayProcess

NETWORK = 100 + os.getpid() % 20
REASON = tun.available()
needs_tun = pytest.mark.skipif(bool(REASON), reason=REASON or "TUN works")


def spec(*, rate_bps: float = 50e6, delay_s: float = 0.01, loss: float = 0.0) -> TunSpec:
    def way(src: str, dst: str) -> Link:
        return Link(src=src, dst=dst, rate_bps=rate_bps, delay_s=delay_s, loss=loss)

    return TunSpec(forward=way("a", "b"), backward=way("b", "a"), seed=3, network=NETWORK)


def run(given: TunSpec, body: Callable[[RelayProcess], Awaitable[None]]) -> None:
    async def main() -> None:
        async with await tun.start_tun(given) as relay:
            await body(relay)

    asyncio.run(main())


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from forward.src to forward.dst, both ends."""
    (a, to_b), (b, _) = tun.end_addresses(NETWORK)
    with socket.socket() as listener, socket.socket() as near:
        listener.bind((b, 0))
        listener.listen()
        near.bind((a, 0))
        near.settimeout(20)
        near.connect((to_b, listener.getsockname()[1]))
        far, _ = listener.accept()
        with far:
            far.settimeout(20)
            yield near, far


def transfer(near: socket.socket, far: socket.socket, data: bytes) -> bytes:
    got = bytearray()

    def receive() -> None:
        while len(got) < len(data) and (chunk := far.recv(65536)):
            got.extend(chunk)

    reader = threading.Thread(target=receive)
    reader.start()
    near.sendall(data)
    reader.join()
    return bytes(got)


def test_each_end_has_addresses_whose_sums_agree() -> None:
    """Rewriting must leave the checksums of IP, TCP and UDP right."""
    for network in range(127):
        (a, to_b), (b, to_a) = tun.end_addresses(network)

        def words(*addresses: str) -> int:
            return sum(int.from_bytes(socket.inet_aton(x)[i : i + 2]) for x in addresses for i in (0, 2))

        assert len({a, b, to_a, to_b}) == 4
        assert words(a, to_b) == words(to_a, b)
        assert words(b, to_a) == words(to_b, a)


def test_what_is_lacking_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tun, "_DEVICE", tmp_path / "tun")
    assert tun.available() == f"no {tmp_path}/tun: load the tun module (modprobe tun)"
    (tmp_path / "tun").write_text("")
    assert tun.available().startswith("cannot make a TUN device")
    with pytest.raises(MissingExtra, match="run as root"):
        asyncio.run(tun.start_tun(spec()))


@needs_tun
def test_tcp_takes_the_links_rate_and_round_trip() -> None:
    async def body(relay: RelayProcess) -> None:
        def work() -> list[float]:
            with tcp_pair() as (near, far):
                trips = []
                for _ in range(7):
                    start = time.monotonic()
                    transfer(near, far, b"x")
                    transfer(far, near, b"y")
                    trips.append(time.monotonic() - start)
                data = np.random.default_rng(0).bytes(600_000)
                start = time.monotonic()
                assert transfer(near, far, data) == data
                trips.append(time.monotonic() - start)
                return trips

        *trips, bulk = await asyncio.to_thread(work)
        assert min(trips) >= 0.02
        assert np.median(trips) < 0.04
        assert bulk >= 600_000 * 8 / 50e6
        told = (await relay.stats()).links
        assert [(s.src, s.dst) for s in told] == [("a", "b"), ("b", "a")]
        assert told[0].offered_bytes > 600_000

    run(spec(), body)


@needs_tun
def test_tcp_feels_the_losses_and_repairs_them() -> None:
    data = np.random.default_rng(1).bytes(1_000_000)
    told: list[LinkStats] = []

    async def body(relay: RelayProcess) -> None:
        def work() -> bytes:
            with tcp_pair() as (near, far):
                return transfer(near, far, data)

        assert await asyncio.to_thread(work) == data
        told.extend((await relay.stats()).links)

    run(spec(rate_bps=500e6, delay_s=0.002, loss=0.02), body)
    assert told[0].lost > 0
    assert told[0].offered > 1_000_000 / 1448


@needs_tun
def test_a_change_reaches_packets_and_the_wrong_one_is_refused() -> None:
    async def body(relay: RelayProcess) -> None:
        (a, to_b), (b, to_a) = tun.end_addresses(NETWORK)
        assert (relay.address("a", "b"), relay.address("b", "a")) == (to_b, to_a)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        ):
            near.bind((a, 0))
            far.bind((b, 0))
            far.settimeout(0.3)
            port = far.getsockname()[1]
            near.sendto(b"hello", (to_b, port))
            assert far.recvfrom(100) == (b"hello", (to_a, near.getsockname()[1]))
            await relay.set_link("a", "b", up=False)
            near.sendto(b"nobody", (to_b, port))
            with pytest.raises(TimeoutError):
                far.recv(100)
        with pytest.raises(ConfigError, match="fixed addresses"):
            await relay.set_host("a", "127.0.0.1:5")

    run(spec(), body)


@needs_tun
def test_a_bad_spec_leaves_no_device() -> None:
    wrong = TunSpec(
        forward=Link(src="a", dst="b", rate_bps=1.0), backward=Link(src="c", dst="a", rate_bps=1.0), network=NETWORK
    )
    with pytest.raises(ConfigError, match="the same two ends"):
        asyncio.run(tun.start_tun(wrong))


@needs_tun
def test_a_killed_relay_leaves_no_device_behind() -> None:
    before = {name for _, name in socket.if_nameindex()}

    async def main() -> None:
        relay = await tun.start_tun(spec())
        assert {name for _, name in socket.if_nameindex()} - before
        os.kill(relay.pid, signal.SIGKILL)
        await relay.stop()

    asyncio.run(main())
    mine = {name for _, name in socket.if_nameindex()} - before
    assert not any(_has_address(name) for name in mine)


def _has_address(name: str) -> bool:
    """Whether the device has this test's address: others may run a relay of their own."""
    address = tun.end_addresses(NETWORK)[0][0]
    return f"{address}/" in Path("/proc/net/fib_trie").read_text() and name.startswith("airloom")
