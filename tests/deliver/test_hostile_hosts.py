"""Hosts that mean harm: whatever they answer, the client ends in one line, soon."""

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from client_models import PUBLIC, SumRunner, write_weights

from airloom.deliver import running
from airloom.deliver.client.faults import Interrupted, Refused, TooLate
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.errors import AirloomError, ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    monkeypatch.setenv("no_proxy", "*")
    write_weights(tmp_path / "m", blocks=4)
    return tmp_path / "m"


@contextmanager
def hosted(answer):
    """A socket that hands every request, as its path and its head, to `answer`; False closes the connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(connection):
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as file:
            while not over.is_set():
                head = b"".join(iter(lambda: file.readline().rstrip(b"\r\n") + b"\n", b"\n"))
                if not head.strip() or answer(connection, head.split()[1].decode().lstrip("/"), head) is False:
                    return

    def accept():
        with suppress(OSError):
            while not over.is_set():
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.close()


def answered(connection, body, *, status=b"200 OK", more=b""):
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % len(body)
    connection.sendall(head + more + b"\r\n" + body)


def dripped(connection, data):
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def outcome(url, tmp_path, **more):
    """What opening and waiting end with, and after how long."""
    quick = {"stall_timeout_s": 0.3, "patience_s": 0.6, "connect_timeout_s": 0.3}
    options = FetchOptions(cache=tmp_path / "cache", **{**quick, **more})
    began = time.monotonic()
    with pytest.raises(AirloomError) as caught, ProgressiveModel.open(url, key=PUBLIC, options=options) as model:
        model.wait(20)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return caught.value, time.monotonic() - began


def endless_trailers(connection, path, head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    while True:
        connection.sendall(b"X: y\r\n" * 1000)


def endless_continue(connection, path, head):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def dripped_head(connection, path, head):
    dripped(connection, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)


def dripped_manifest(connection, path, head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    dripped(connection, b" " * 100_000)


@pytest.mark.parametrize("answer", [endless_trailers, endless_continue, dripped_head, dripped_manifest])
def test_an_answer_that_never_ends_is_given_up(folder, tmp_path, answer):
    with hosted(answer) as url:
        error, seconds = outcome(url, tmp_path)
    assert isinstance(error, Interrupted)
    assert "too slowly" in str(error) or "without an end" in str(error)
    assert seconds < 8


def test_chunks_that_drip_are_given_up(folder, tmp_path):
    def answer(connection, path, head):
        data = (folder / path).read_bytes()
        if not path.startswith("chunks"):
            answered(connection, data)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        dripped(connection, data)

    with hosted(answer) as url:
        error, seconds = outcome(url, tmp_path)
    assert isinstance(error, Interrupted)
    assert seconds < 8


def test_a_manifest_just_above_the_least_rate_holds_nobody_for_long(folder, tmp_path):
    def answer(connection, path, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        dripped(connection, b" " * 100_000)

    with hosted(answer) as url:
        error, seconds = outcome(url, tmp_path, least_bps=8.0, stall_timeout_s=5.0, open_timeout_s=1.0)
    assert isinstance(error, Interrupted)
    assert "not open in time" in str(error) or "no byte came" in str(error)
    assert seconds < 5


def test_an_architecture_just_above_the_least_rate_ends_as_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    monkeypatch.setenv("no_proxy", "*")
    write_weights(tmp_path / "slow", file=b"x" * 1000)

    def answer(connection, path, head):
        data = (tmp_path / "slow" / path).read_bytes()
        if not path.startswith("architecture"):
            answered(connection, data)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        dripped(connection, data)

    with hosted(answer) as url:
        error, seconds = outcome(url, tmp_path, least_bps=8.0, stall_timeout_s=5.0, open_timeout_s=1.0)
    assert isinstance(error, TooLate)
    assert seconds < 6
    assert any(0 < part.stat().st_size < 1000 for part in (tmp_path / "cache" / "chunks").glob("*.part"))


def test_a_byte_a_connection_is_no_progress(folder, tmp_path):
    def answer(connection, path, head):
        data = (folder / path).read_bytes()
        if not path.startswith("chunks"):
            answered(connection, data)
            return None
        at = int(head.partition(b"bytes=")[2].partition(b"-")[0]) if b"Range:" in head else 0
        of = b"Content-Range: bytes %d-%d/%d\r\n" % (at, len(data) - 1, len(data))
        status = b"206 Partial Content\r\n" + of if at else b"200 OK\r\n"
        connection.sendall(b"HTTP/1.1 " + status + b"Content-Length: %d\r\n\r\n" % (len(data) - at) + data[at : at + 1])
        return False

    with hosted(answer) as url:
        error, seconds = outcome(url, tmp_path)
    assert isinstance(error, Interrupted)
    assert seconds < 8


@pytest.mark.parametrize(
    "target",
    ["http://h:99999/x", "http://h:abc/", "http://[::1/", "http://" + "a" * 70 + "/", "http://a..b/", "file:///"],
)
def test_redirects_to_what_is_no_address(folder, tmp_path, target):
    more = b"Location: " + target.encode() + b"\r\n"
    with hosted(lambda connection, *_: answered(connection, b"", status=b"302 Found", more=more)) as url:
        error, _ = outcome(url, tmp_path)
    assert isinstance(error, Refused)
    assert "not followed" in str(error) or "no host" in str(error)


def test_a_range_of_thousands_of_digits(folder, tmp_path):
    def answer(connection, path, head):
        data = (folder / path).read_bytes()
        if not path.startswith("chunks"):
            answered(connection, data)
            return None
        if b"Range:" not in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:500])
            return False
        more = b"Content-Range: bytes " + b"5" * 5000 + b"-1/2\r\n"
        answered(connection, data[500:], status=b"206 Partial Content", more=more)
        return None

    with hosted(answer) as url:
        error, _ = outcome(url, tmp_path)
    assert isinstance(error, Refused)


@pytest.mark.parametrize(
    ("body", "kind", "status", "line"),
    [
        (b'{"error": ' + b"[" * 3500, b"application/json", b"403 No", "does not allow it"),
        (b'{"error": "\\u001b[31mred"}', b"application/json", b"403 No", r"\?\[31mred"),
        (b"\xff\xfe{", b"application/json", b"404 No", "not there"),
        (b"", b"text/plain", b"no number \x1b[31m", "does not answer"),
    ],
)
def test_refusals_that_cannot_be_read(folder, tmp_path, body, kind, status, line):
    more = b"Content-Type: " + kind + b"\r\n"
    with hosted(lambda connection, *_: answered(connection, body, status=status, more=more)) as url:
        error, _ = outcome(url, tmp_path)
    assert re.search(line, str(error))


def test_a_manifest_that_is_compressed_is_called_that(folder, tmp_path):
    more = b"Content-Encoding: gzip\r\n"
    with hosted(lambda connection, path, _: answered(connection, (folder / path).read_bytes(), more=more)) as url:
        error, _ = outcome(url, tmp_path)
    assert isinstance(error, Refused)
    assert "compressed" in str(error)


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999/", "http:///x"])
def test_addresses_that_are_none(folder, tmp_path, url):
    error, _ = outcome(url, tmp_path)
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize("proxy", ["http://h:abc", "http://[::1", "http://:80"])
def test_proxies_that_are_none(folder, tmp_path, monkeypatch, proxy):
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    error, _ = outcome("http://host.invalid/m", tmp_path)
    assert isinstance(error, ConfigError)
    assert "proxy" in str(error)
