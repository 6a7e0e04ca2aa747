"""The data plane on loopback, between two processes: throughput and the latency of 400 KB.

Sealed UDP beside plain UDP sockets (segmentation both ways, nothing sealed, nothing confirmed),
plain TCP sockets, and our sealed TCP, all in the same run. Two processes on two cores: on a busy
machine the throughput says little, so the CPU time of a gigabit is reported beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import statistics
import struct
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.runtime.tcp import TcpTransport
from airloom.runtime.udp import UdpTransport
from airloom.runtime.udpsocket import UdpSocket
from airloom.wire.seal import LinkKey
from airloom.wire.sender import Burst
from harness import report

THERE, BACK = LinkKey(b"there" + bytes(27), b"salt"), LinkKey(b"back" + bytes(28), b"salt")
MESSAGE_BYTES = 4_000_000
SMALL_BYTES = 400_000
SECONDS = 3.0
IN_FLIGHT = 3


def transport(kind: str, host: str, on_message: Any) -> UdpTransport | TcpTransport:
    if kind == "udp":
        return UdpTransport(host, on_message=on_message)
    return TcpTransport(host, on_message=on_message)


def answer(kind: str, pipe: Connection) -> None:
    """The receiving process: answers each message with a few bytes, until told to stop."""

    async def run() -> None:
        def arrived(peer: str, frame: Frame, parcel: Parcel) -> None:
            missing = sum(gap.stop - gap.start for gap in parcel.missing)
            reply = Parcel((0,), (memoryview(struct.pack("<Q", missing)),))
            mine.send(peer, Frame(kind=FrameKind.RESULT, source=0, request=frame.request), reply)

        mine = transport(kind, "b", arrived)
        await mine.start()
        pipe.send(mine.local_address)
        address = await asyncio.to_thread(pipe.recv)
        mine.add_peer("a", address, BACK, THERE, rate_bps=math.inf)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        pipe.send((time.process_time(), mine.counters()))
        await mine.close()

    asyncio.run(run())


def messages(kind: str) -> dict[str, float]:
    """Throughput with a few messages in flight, then the time of one message and its answer."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=answer, args=(kind, theirs))
    process.start()

    async def run() -> dict[str, float]:
        loop = asyncio.get_running_loop()
        waiting: dict[int, asyncio.Future[float]] = {}

        def arrived(_: str, frame: Frame, parcel: Parcel) -> None:
            (missing,) = struct.unpack("<Q", parcel.data[0])
            assert missing == 0, f"{missing} bytes missing on loopback"
            waiting.pop(frame.request).set_result(loop.time())

        mine = transport(kind, "a", arrived)
        await mine.start()
        address = await asyncio.to_thread(ours.recv)
        ours.send(mine.local_address)
        mine.add_peer("b", address, THERE, BACK, rate_bps=math.inf)
        await asyncio.to_thread(ours.recv)

        async def one(request: int, data: memoryview) -> float:
            waiting[request] = loop.create_future()
            began_s = loop.time()
            mine.send("b", Frame(kind=FrameKind.TASK, source=0, request=request), Parcel((0,), (data,)))
            return await waiting[request] - began_s

        data = memoryview(os.urandom(MESSAGE_BYTES))
        latencies = [await one(k, data[:SMALL_BYTES]) for k in range(60)][10:]
        sent, stop_s = 0, loop.time() + SECONDS

        async def keep_sending(lane: int) -> None:
            nonlocal sent
            request = 1000 * (lane + 1)
            while loop.time() < stop_s:
                request += IN_FLIGHT * 1000
                await one(request, data)
                sent += len(data)

        began_s, began_cpu_s = loop.time(), time.process_time()
        await asyncio.gather(*(keep_sending(lane) for lane in range(IN_FLIGHT)))
        took_s, cpu_s = loop.time() - began_s, time.process_time() - began_cpu_s
        ours.send("stop")
        other_cpu_s, counters = await asyncio.to_thread(ours.recv)
        await mine.close()
        return {
            "bps": 8 * sent / took_s,
            "p50_s": statistics.median(latencies),
            "p95_s": statistics.quantiles(latencies, n=20)[-1],
            "cpu_s_per_gbit": max(cpu_s, other_cpu_s) / (8 * sent / 1e9),
            "kernel_drops": counters.get("drop_kernel", 0),
        }

    try:
        return asyncio.run(run())
    finally:
        process.join(10)
        if process.is_alive():
            process.terminate()


def count_udp(pipe: Connection) -> None:
    """Counts what arrives on a plain UDP socket until it stays silent."""
    sock = UdpSocket(("127.0.0.1", 0), buffer_bytes=8 << 20)
    pipe.send(sock.address)
    nbytes, began_s, last_s = 0, 0.0, math.inf
    while time.monotonic() < last_s + 0.5:
        received = sock.receive()
        if received is None:
            continue
        last_s = time.monotonic()
        began_s = began_s or last_s
        nbytes += len(received.data)
    pipe.send(8 * nbytes / (last_s - began_s))


def plain_udp() -> float:
    """bit/s that arrive when one process sends as fast as it can, with segmentation, and nothing else."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=count_udp, args=(theirs,))
    process.start()
    address = ours.recv()
    sock = UdpSocket(("127.0.0.1", 0), buffer_bytes=8 << 20)
    burst = Burst(memoryview(bytes(54 * 1200)), 1200, "first", 54)
    stop_s = time.monotonic() + SECONDS
    while time.monotonic() < stop_s:
        sock.send(burst, address)
    arrived_bps = float(ours.recv())
    process.join()
    sock.close()
    return arrived_bps


def count_tcp(pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname())
        connection, _ = server.accept()
        buffer, nbytes, began_s = bytearray(1 << 18), 0, time.monotonic()
        with connection:
            while got := connection.recv_into(buffer):
                nbytes += got
        pipe.send(8 * nbytes / (time.monotonic() - began_s))


def plain_tcp() -> float:
    """bit/s of a plain TCP stream."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=count_tcp, args=(theirs,))
    process.start()
    data = bytes(1 << 18)
    with socket.create_connection(ours.recv()) as sock:
        stop_s = time.monotonic() + SECONDS
        while time.monotonic() < stop_s:
            sock.sendall(data)
    arrived_bps = float(ours.recv())
    process.join()
    return arrived_bps


def main() -> None:
    udp = messages("udp")
    tcp = messages("tcp")
    bare_udp, bare_tcp = plain_udp(), plain_tcp()
    report("sealed UDP throughput, loopback", udp["bps"] / 1e9, "Gbit/s", ">= 2")
    report("sealed UDP, busier process", udp["cpu_s_per_gbit"], "CPU s/Gbit")
    report("sealed UDP / plain UDP sockets", udp["bps"] / bare_udp, "ratio")
    report("sealed UDP / plain TCP sockets", udp["bps"] / bare_tcp, "ratio")
    report("sealed UDP / sealed TCP", udp["bps"] / tcp["bps"], "ratio")
    report("plain UDP sockets, loopback", bare_udp / 1e9, "Gbit/s")
    report("plain TCP sockets, loopback", bare_tcp / 1e9, "Gbit/s")
    report("sealed TCP throughput, loopback", tcp["bps"] / 1e9, "Gbit/s")
    report("400 KB and answer, sealed UDP, p50", 1e3 * udp["p50_s"], "ms")
    report("400 KB and answer, sealed UDP, p95", 1e3 * udp["p95_s"], "ms")
    report("400 KB and answer, sealed TCP, p50", 1e3 * tcp["p50_s"], "ms")
    report("datagrams the kernel dropped", udp["kernel_drops"], "")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
        sys.exit(0)
