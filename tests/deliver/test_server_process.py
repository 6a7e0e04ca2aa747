"""`airloom serve-model` as a process: sockets, TLS, signals, and clients that misbehave."""

import contextlib
import hashlib
import json
import select
import signal
import socket
import sys
import time

import pytest
from server_models import answer, running, write_model

from airloom.cli.main import main
from airloom.runtime.certs import make_ca, make_host

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "tiny"
    write_model(path, nbytes=300_000, blocks=2)
    return path


@pytest.fixture(scope="module")
def server(folder):
    with running(folder) as server:
        yield server


def test_it_says_what_it_serves(server, folder):
    (model,) = server.said["models"]
    assert model["model"] == "tiny"
    assert model["key"].startswith("ed25519:")
    assert len(model["fingerprint"].split()) == 8
    assert model["pinned"] is False
    assert model["manifest"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_a_fetch_that_breaks_resumes(server, folder):
    status, fields, plan = server.ask("POST /v1/models/tiny/plan HTTP/1.1", b'{"accuracy": 0.9}')
    assert (status, fields["airloom-api"]) == (200, "1")
    plan = json.loads(plan)
    target = f"/v1/models/tiny/{plan['stream']}"
    whole = b"".join((folder / chunk["file"]).read_bytes() for chunk in plan["chunks"])
    with server.connect() as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        found = b""
        while b"\r\n\r\n" not in found or len(found) < 400_000:
            found += sock.recv(65536)
    head, _, part = found.partition(b"\r\n\r\n")
    etag = next(line for line in head.decode().split("\r\n") if line.lower().startswith("etag")).split(": ")[1]
    status, fields, rest = server.ask(f"GET {target} HTTP/1.1\nRange: bytes={len(part)}-\nIf-Range: {etag}")
    assert status == 206
    assert part + rest == whole
    assert len(whole) == plan["nbytes"]


def test_one_connection_for_many_requests_and_an_estimate(server):
    with server.connect() as sock:
        for _ in range(3):
            status, _, body = server.ask("GET /v1/models/tiny/stream?configuration=2/bits-6 HTTP/1.1", sock=sock)
            assert (status, len(body) > 10**6) == (200, True)
        _, _, plan = server.ask("POST /v1/models/tiny/plan HTTP/1.1", b'{"deadline_s": 1}', sock=sock)
    plan = json.loads(plan)
    if sys.platform == "linux":
        # The loopback, by the kernel's own counters.
        assert plan["rate_basis"] == "estimated"
        assert plan["rate_bps"] > 1e6


def test_a_slow_link_is_estimated_as_slow(server):
    """A client that takes 8 Mbit/s for most of the way is no fast one."""
    if sys.platform != "linux":
        pytest.skip("the kernel's counters are Linux's")
    with server.connect(SO_RCVBUF=8192) as sock:
        sock.sendall(b"GET /v1/models/tiny/stream?configuration=2/bits-6 HTTP/1.1\r\nHost: t\r\n\r\n")
        began, got, total = time.monotonic(), 0, 1_800_000
        while got < total * 0.6:
            got += len(sock.recv(10_000))
            time.sleep(max(got * 8 / 8e6 - (time.monotonic() - began), 0))
        sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sock.recv(1 << 20):
                pass
        sock.settimeout(10)
        _, _, plan = server.ask("POST /v1/models/tiny/plan HTTP/1.1", b'{"deadline_s": 1}', sock=sock)
    plan = json.loads(plan)
    assert plan["rate_basis"] == "estimated"
    # The mean of at most five transfers, of which this one took most of the time.
    assert 1e6 < plan["rate_bps"] < 1e8


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"GARBAGE\r\n\r\n", 400, "Invalid HTTP request"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431, "too long"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 431, "too long"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 8000 + b"\r\n", 431, "too long"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400, "Invalid HTTP request"),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: t\r\n\r\n", 404, "no such resource"),
        (b"GET /v1/models/tiny/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: t\r\n\r\n", 400, "no path below"),
        (b"GET /v1/models/tiny/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: t\r\n\r\n", 400, "no path below"),
        (b"POST /v1/models/tiny/plan HTTP/1.1\r\nHost: t\r\nContent-Length: 9999999\r\n\r\n", 413, "more than"),
        (b"GET /v1/models/tiny/plan HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 404, "no file"),
    ],
)
def test_bytes_that_are_no_request_are_refused(server, raw, status, reason):
    with server.connect() as sock:
        sock.sendall(raw)
        found, fields, body = answer(sock)
    assert found == status
    assert reason in json.loads(body)["error"]
    assert fields["content-type"] == "application/json"
    assert server.process.poll() is None


def test_thousands_of_requests_at_once_are_not_kept(server):
    one = b"GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n"
    with server.connect() as sock:
        sock.settimeout(10)
        sock.sendall(one * 20)
        came = b""
        while came.count(b"HTTP/1.1 200") < 20:
            came += sock.recv(1 << 16)
        sock.sendall(one * 3000)
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(1 << 16):
                came += more
    assert came.count(b"HTTP/1.1 200") < 3020
    with server.connect() as sock:
        sock.sendall(one)
        assert answer(sock)[0] == 200


IMPATIENT = """
import json, sys
from pathlib import Path
from airloom.deliver.server.serving import serve
from airloom.deliver.server.settings import ServerSettings
settings = ServerSettings(
    (Path(sys.argv[1]),), port=0, head_timeout_s=0.5, idle_timeout_s=1.0, stall_timeout_s=1.0, max_connections=6
)
serve(settings, ready=lambda serving: print(json.dumps({"url": serving.url}), flush=True))
"""


def ended(sock, within_s):
    """Whether the server ends the connection within some seconds; what it sent before is dropped."""
    sock.settimeout(within_s)
    try:
        while sock.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_clients_that_take_their_time(folder):
    with running(folder, code=IMPATIENT) as server, contextlib.ExitStack() as stack:
        # A head that never ends, a body that never comes, bytes that are no request, nothing at all.
        never, body, junk, silent = (stack.enter_context(server.connect()) for _ in range(4))
        never.sendall(b"GET /healthz HTTP/1.1\r\nA: ")
        body.sendall(b"POST /v1/models/tiny/plan HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        junk.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        assert answer(junk)[0] == 200
        junk.sendall(b"\r\n")
        assert answer(never)[0] == 408
        assert answer(body)[0] == 408
        assert answer(silent)[0] == 408
        assert ended(junk, 5)
        # One that stops reading is left alone, and holds up nobody.
        stalled = stack.enter_context(server.connect(SO_RCVBUF=4096))
        stalled.sendall(b"GET /v1/models/tiny/stream?configuration=2/bits-6 HTTP/1.1\r\nHost: t\r\n\r\n" * 4)
        time.sleep(0.2)
        assert server.ask("GET /healthz HTTP/1.1")[0] == 200
        time.sleep(2.5)
        assert b"requests_in_flight 1\n" in server.ask("GET /metrics HTTP/1.1")[2]
        # More connections than allowed are told so.
        crowd = [stack.enter_context(server.connect()) for _ in range(6)]
        deadline = time.monotonic() + 5
        while True:
            assert time.monotonic() < deadline
            with server.connect() as sock:
                status, fields, _ = server.ask("GET /healthz HTTP/1.1", sock=sock)
            if status == 503:
                assert fields["retry-after"] == "1"
                break
        assert all(ended(sock, 5) for sock in crowd)
        assert server.ask("GET /healthz HTTP/1.1")[0] == 200
        assert server.stop() == (0, "")


def test_tls_and_tokens(tmp_path, folder):
    make_ca(tmp_path)
    certs = make_host(tmp_path, "mec")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ue {TOKEN}\n")
    tokens.chmod(0o600)
    options = ("--cert", certs.certificate, "--key", certs.key, "--tokens", tokens, "--access-log")
    with running(folder, *options, ca=certs.ca) as server:
        assert server.said["url"].startswith("https://")
        assert server.ask("GET /v1/models HTTP/1.1")[0] == 401
        assert server.ask("GET /healthz HTTP/1.1")[0] == 200
        bearer = f"Authorization: Bearer {TOKEN}"
        assert server.ask(f"GET /v1/models HTTP/1.1\n{bearer}")[0] == 200
        status, _, body = server.ask(f"GET /v1/models/tiny/stream?configuration=2/bits-6 HTTP/1.1\n{bearer}")
        assert (status, len(body) > 1_800_000) == (200, True)
        # In the clear nothing is answered, and TLS 1.1 is not spoken.
        with socket.create_connection(server.address, 5) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert not plain.recv(100).startswith(b"HTTP")
        # Another token is let in, and the one before no longer, without a restart.
        tokens.write_text("ue fedcba9876543210fedcba9876543210\n")
        deadline = time.monotonic() + 10
        while server.ask(f"GET /v1/models HTTP/1.1\n{bearer}")[0] == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        code, err = server.stop()
    assert code == 0
    assert "ue GET /v1/models/tiny/stream 200" in err
    assert TOKEN not in err
    assert "Traceback" not in err


def test_a_new_version_is_served_without_a_restart(tmp_path):
    write_model(tmp_path / "m")
    with running(tmp_path / "m") as server:
        before = json.loads(server.ask("GET /v1/models HTTP/1.1")[2])["models"][0]["manifest"]
        write_model(tmp_path / "m", seed=5)
        deadline = time.monotonic() + 10
        while json.loads(server.ask("GET /v1/models HTTP/1.1")[2])["models"][0]["manifest"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.ask(f"GET /v1/models/tiny/manifest.json?manifest={before} HTTP/1.1")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_end(folder, number):
    with running(folder) as server, server.connect(SO_RCVBUF=8192) as sock:
        sock.sendall(b"GET /v1/models/tiny/stream?configuration=2/bits-6 HTTP/1.1\r\nHost: t\r\n\r\n")
        assert select.select([sock], [], [], 10)[0]
        server.process.send_signal(number)
        time.sleep(0.3)
        with pytest.raises(OSError):  # nobody is taken any more
            server.connect()
        status, _, body = answer(sock)
        assert (status, len(body) > 1_800_000) == (200, True)
        _, err = server.process.communicate(timeout=20)
        assert (server.process.returncode, err) == (0, "")


def test_what_cannot_be_served_is_one_line(tmp_path, folder, capsys):
    def refused(*args):
        code = main(["serve-model", *map(str, args)])
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return code, line

    code, line = refused(tmp_path / "none")
    assert (code, "cannot open the folder" in line) == (2, True)
    code, line = refused(folder, "--host", "0.0.0.0")
    assert (code, "say --open" in line) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, line = refused(folder, "--port", taken.getsockname()[1])
    assert (code, "cannot listen" in line) == (1, True)
    (tmp_path / "cert").write_text("x")
    (tmp_path / "key").write_text("x")
    (tmp_path / "key").chmod(0o600)
    code, line = refused(folder, "--cert", tmp_path / "cert", "--key", tmp_path / "key")
    assert (code, "go together" in line) == (2, True)
