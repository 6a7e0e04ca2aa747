"""What `airloom serve-model` bears: decisions, bytes beside nginx, memory with slow clients.

Whole server processes over the loopback, all on the machine's cores together with the load. The load is one process of
raw sockets that lets the kernel drop what it has received (MSG_TRUNC), so that reading costs next to nothing; it is
the same for both servers, which serve the same files in turns. nginx has its packages' defaults: a worker for each
core, sendfile. Both answer over one connection for each client.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.core.depth import DepthOrder
from airloom.core.progressive import STATISTICS, Architecture, Configuration, Manifest, Part, encodings_of
from airloom.deliver.artifact import EncodedChunk, describe_chunks, write_artifact
from airloom.planner.delivery import Demand, Lookup, choose, upgrade_path
from airloom.runtime.certs import make_ca, make_host
from harness import median_seconds, report, skip

MB = 2**20
CLIENTS = 200
SECONDS = 1.5
ROUNDS = 5
BITS = ("bits-4", "bits-6", "bits-8", "bits-12", "bits-16")


def write_model(folder: Path, name: str, *, blocks: int, nbytes: int, precisions: tuple[str, ...]) -> Manifest:
    """A folder as `airloom elastic pack` writes it; chunks are random bytes, which no server looks into."""
    rng = np.random.default_rng(0)
    parts = ("base", *(f"block{k}" for k in range(blocks)))
    encodings = dict.fromkeys(e for precision in precisions for e in encodings_of(precision))
    depths = tuple(range(1, blocks + 1))
    chunks = [EncodedChunk(rng.bytes(nbytes), part, e) for e in encodings for part in range(len(parts))]
    chunks += [EncodedChunk(rng.bytes(100), 0, STATISTICS, depth) for depth in depths]
    bare = Manifest(
        model=name,
        architecture=Architecture(kind="zoo", name="resnet110", blocks=parts[1:]),
        inputs=("1x3x32x32:uint8",),
        parts=tuple(Part(name=part, parameters=1) for part in parts),
        order=DepthOrder(kind="back", arrival=tuple(range(blocks)), depths=depths),
        chunks=describe_chunks(chunks, parts),
        configurations=(),
    )
    rows = []
    for depth in depths:
        for k, precision in enumerate(precisions):
            row = Configuration(depth=depth, precision=precision, nbytes=0, parameters=1 + depth)
            size, accuracy = bare.nbytes_of(row), 0.9 * (1 - 0.9 ** (depth + k))
            rows.append(msgspec.structs.replace(row, nbytes=size, macs=depth, accuracy=accuracy))
    manifest = msgspec.structs.replace(bare, configurations=tuple(sorted(rows, key=lambda row: row.nbytes)))
    write_artifact(folder, manifest, chunks, Ed25519PrivateKey.generate())
    return manifest


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()
            running.wait(20)


@contextlib.contextmanager
def airloom(folder: Path, options: tuple[str, ...] = ()) -> Iterator[tuple[int, int]]:
    """`airloom serve-model`: its port and process id."""
    command = (sys.executable, "-m", "airloom.cli.main", "serve-model", str(folder), "--port", "0", "--json")
    with process(*command, "--max-transfers-per-client", "1000", *options) as running:
        assert running.stdout is not None
        yield urlsplit(json.loads(running.stdout.readline())["url"]).port or 0, running.pid


@contextlib.contextmanager
def nginx(program: str, folder: Path, work: Path) -> Iterator[int]:
    """nginx with `folder` as its root: its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (work / "nginx.conf").write_text(
        f"""daemon off; worker_processes auto; pid {work}/pid; error_log {work}/errors;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
          client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;
          uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
          server {{ listen 127.0.0.1:{port}; root {folder}; }}
        }}"""
    )
    # Run as root, workers would be another user, who may not read a temporary folder.
    with process(program, "-c", str(work / "nginx.conf"), "-p", str(work), "-e", str(work / "errors"), "-g", USER):
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port


USER = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""


class Load:
    """`clients` connections, each of which asks again as soon as it has its answer."""

    def __init__(self, port: int, clients: int, request: Callable[[], bytes]) -> None:
        self._request = request
        self._poll = select.epoll()
        self._sockets = {}
        # Of each: bytes of the body that are still to come, and what there is of the head.
        self._left: dict[int, int | None] = {}
        self._heads: dict[int, bytes] = {}
        for _ in range(clients):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            fd = sock.fileno()
            self._sockets[fd], self._left[fd], self._heads[fd] = sock, None, b""
            self._poll.register(fd, select.EPOLLIN)
            sock.send(request())

    def run(self, seconds: float) -> tuple[float, float]:
        """Answers a second, and bytes of bodies a second."""
        answers = nbytes = 0
        trash = bytearray(MB)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for fd, _ in self._poll.poll(1):
                sock, left = self._sockets[fd], self._left[fd]
                if left is None:
                    self._heads[fd] += sock.recv(16384)
                    head, end, rest = self._heads[fd].partition(b"\r\n\r\n")
                    if not end:
                        continue
                    lines = head.lower().split(b"\r\n")
                    if b" 200" not in lines[0]:
                        raise RuntimeError(head.decode())
                    length = next(line for line in lines if line.startswith(b"content-length:"))
                    left = int(length.partition(b":")[2]) - len(rest)
                    nbytes += len(rest)
                    self._heads[fd] = b""
                else:
                    # TCP: what was received is dropped, not copied.
                    got = sock.recv_into(trash, min(left, MB), socket.MSG_TRUNC)
                    if not got:
                        raise RuntimeError("the server closed the connection")
                    left -= got
                    nbytes += got
                if left == 0:
                    answers += 1
                    sock.send(self._request())
                    self._left[fd] = None
                else:
                    self._left[fd] = left
        took = time.perf_counter() - began
        return answers / took, nbytes / took

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()


def get(path: str) -> Callable[[], bytes]:
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    return lambda: request


def throughput(work: Path) -> None:
    """Ours and nginx in turns, chunks of 1 and of 8 MB."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    for size in (1, 8):
        name = f"of-{size}-MB"
        manifest = write_model(work / name, name, blocks=3, nbytes=size * MB, precisions=("fp32",))
        file = manifest.chunks[1].file
        title = f"{size} MB chunks to {CLIENTS} clients"
        with contextlib.ExitStack() as stack:
            port, _ = stack.enter_context(airloom(work / name))
            ours, theirs = [], []
            other = stack.enter_context(nginx(program, work / name, work)) if program else None
            for _ in range(ROUNDS):
                ours.append(once(port, f"/v1/models/{name}/{file}"))
                if other is not None:
                    theirs.append(once(other, f"/{file}"))
        report(f"{title}", statistics.median(ours) / 1e6, "MB/s")
        if theirs:
            report(f"{title}, nginx", statistics.median(theirs) / 1e6, "MB/s")
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            report(f"{title}, beside nginx", ratio, "times", ">= 0.5")
        else:
            skip(f"{title}, beside nginx", "nginx is not installed (apt-get install nginx)")


def once(port: int, path: str) -> float:
    load = Load(port, CLIENTS, get(path))
    try:
        load.run(0.3)
        return load.run(SECONDS)[1]
    finally:
        load.close()


def decisions(work: Path) -> None:
    """Plans for ResNet-110 in five precisions, 270 configurations, each demand another."""
    manifest = write_model(work / "resnet110", "resnet110", blocks=54, nbytes=2000, precisions=BITS)
    table = Lookup(manifest)
    held = manifest.chunks_of(next(row for row in manifest.configurations if row.name == "20/bits-4"))
    rng = np.random.default_rng(1)

    def demand() -> bytes:
        asked = {"deadline_s": float(rng.uniform(0.05, 0.5)), "rate_bps": float(rng.uniform(1e6, 50e6))}
        body = json.dumps(asked | ({"have": held} if rng.random() < 0.5 else {})).encode()
        head = f"POST /v1/models/resnet110/plan HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    with airloom(work / "resnet110") as (port, pid):
        load = Load(port, CLIENTS, demand)
        load.run(1.0)
        before = cpu_seconds(pid)
        rate, _ = load.run(4.0)
        report(f"decisions over HTTP, {CLIENTS} clients", rate, "/s", ">= 500")
        report("server's CPU time a decision", 1e3 * (cpu_seconds(pid) - before) / (4.0 * rate), "ms", "<= 2")
        load.close()
    asked = Demand(deadline_s=0.2, rate_bps=2e7, have=frozenset(held))
    report("one choice of 270 configurations", 1e3 * median_seconds(lambda: choose(table, asked), loops=50), "ms")
    goal = manifest.configurations[-1]
    report("one path through 270 configurations", 1e3 * median_seconds(lambda: upgrade_path(table, (), goal)), "ms")


def memory(work: Path) -> None:
    """What the server grows by while 200 clients take 32 MB each, slowly; in the clear, and with TLS."""
    name = "slowly"
    write_model(work / name, name, blocks=31, nbytes=MB, precisions=("fp32",))
    make_ca(work / "certs")
    certs = make_host(work / "certs", "mec")
    for title, options, context in (
        ("", (), None),
        (" over TLS", ("--cert", str(certs.certificate), "--key", str(certs.key)), trusting(certs.ca)),
    ):
        with airloom(work / name, options=options) as (port, pid):
            before, most = grown(port, pid, f"/v1/models/{name}/stream?configuration=31/fp32", context)
        report(f"server before {CLIENTS} slow clients{title}, chunks in its cache", before / MB, "MiB")
        report(f"growth with {CLIENTS} slow clients of 32 MiB each{title}", (most - before) / MB, "MiB", "<= 64")


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def grown(port: int, pid: int, path: str, context: ssl.SSLContext | None) -> tuple[float, float]:
    """Bytes of the server's memory before the slow clients come, and the most while they are there."""

    def connect() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.connect(("127.0.0.1", port))
        sock = sock if context is None else context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(get(path)())
        return sock

    left = 32 * MB
    with connect() as warm:
        while left > 0 and (got := len(warm.recv(MB))):
            left -= got
    before = most = resident(pid)
    clients = [connect() for _ in range(CLIENTS)]
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        for sock in clients:
            sock.recv(16 * 1024)
        most = max(most, resident(pid))
        time.sleep(0.05)
    for sock in clients:
        sock.close()
    return before, most


def cpu_seconds(pid: int) -> float:
    """What a process has taken of the cores so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Bytes of memory of a process, those of files apart."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process has")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        decisions(work)
        throughput(work)
        memory(work)


if __name__ == "__main__":
    main()
