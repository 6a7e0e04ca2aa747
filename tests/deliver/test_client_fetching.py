"""Chunks over HTTP and from a folder: verified, resumed, retried, refused."""

import os
import socket
import threading
import time

import numpy as np
import pytest
from client_models import hosted, write_weights

from airloom.deliver.client.backoff import LONGEST_S, Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.connection import Connections
from airloom.deliver.client.faults import Damaged, Interrupted, Refused
from airloom.deliver.client.fetcher import Fetcher, _ranges
from airloom.deliver.client.intake import Stopped
from airloom.deliver.client.meter import Meter
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.web import open_host
from airloom.errors import ConfigError
from airloom.planner.delivery import arrival

QUICK = {"connect_timeout_s": 2.0, "stall_timeout_s": 0.3, "patience_s": 2.0}


OPEN = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while OPEN:
        OPEN.pop().close()


def fetcher(folder, manifest, url, *, lines=None, digest="0" * 64, token=None, **options):
    chosen = FetchOptions(cache=folder, **{**QUICK, **options})
    host = open_host(url, chosen, token=token)
    OPEN.append(host)
    host.get("manifest.json", 1 << 20)  # as every model does first: whether it is our server
    broke = (lines if lines is not None else []).append
    return Fetcher(
        host, manifest, digest, Cache(folder, 1 << 30) if host.remote else None, chosen,
        Backoff(np.random.default_rng(0)), stop=threading.Event(), arrived=lambda n: None, broke=broke,
    )  # fmt: skip


def bring(one, path, loaded=frozenset()):
    return {k: bytes(data) for k, data in one.bring(loaded, path)}


def expected(folder, manifest, path):
    return {k: (folder / manifest.chunks[k].file).read_bytes() for k in arrival(manifest, (), path)}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    return folder, write_weights(folder)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_static_host(model, tmp_path, ranges):
    folder, manifest = model
    path = (manifest.configurations[0], manifest.configurations[-1])
    with hosted(folder) as host:
        host.ranges = ranges
        one = fetcher(tmp_path / "c", manifest, host.url + "/")
        assert bring(one, path) == expected(folder, manifest, path)
        assert one.fetched_nbytes == sum(manifest.chunks[k].nbytes for k in arrival(manifest, (), path))
        asked = len(host.requests)
        again = fetcher(tmp_path / "c", manifest, host.url + "/manifest.json")
        assert bring(again, path) == expected(folder, manifest, path)
        assert again.fetched_nbytes == 0
        assert len(host.requests) == asked + 1  # the manifest alone


def test_a_folder_is_read_as_it_is(model, tmp_path):
    folder, manifest = model
    path = (manifest.configurations[-1],)
    one = fetcher(tmp_path / "c", manifest, str(folder))
    assert bring(one, path) == expected(folder, manifest, path)
    assert one.fetched_nbytes == 0
    assert one.held() == frozenset()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_goes_on_where_it_was(model, tmp_path, ranges):
    folder, manifest = model
    path = (manifest.configurations[-1],)
    chunk = manifest.chunks[manifest.chunks_of(path[0])[1]]
    lines = []
    with hosted(folder) as host:
        host.ranges, host.cut = ranges, {chunk.file: chunk.nbytes // 2}
        one = fetcher(tmp_path / "c", manifest, host.url, lines=lines)
        assert bring(one, path) == expected(folder, manifest, path)
        assert len(lines) == 1
        assert "again in" in lines[0]
        asked = [r for _, file, r in host.requests if file == chunk.file]
        assert asked[0] is None
        assert asked[1] == f"bytes={chunk.nbytes // 2}-"
        if ranges:
            assert host.sent[chunk.file] == chunk.nbytes  # not a byte twice


def test_a_host_that_stalls_is_given_up_and_asked_again(model, tmp_path):
    folder, manifest = model
    path, stalled, lines = (manifest.configurations[0],), [], []

    def stall(handler, file, start):
        if file.startswith("chunks/") and not stalled:
            stalled.append(file)
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            time.sleep(0.8)
            return True
        return False

    with hosted(folder) as host:
        host.fault = stall
        # The length is wrong, too: but of a whole answer it is the first thing that is looked at.
        with pytest.raises(Damaged, match="the host has 100000 bytes"):
            bring(fetcher(tmp_path / "c", manifest, host.url), path)
        stalled.clear()

        def silent(handler, file, start):
            if file.startswith("chunks/") and not stalled:
                stalled.append(file)
                time.sleep(0.8)
            return False

        host.fault = silent
        began = time.monotonic()
        one = fetcher(tmp_path / "c", manifest, host.url, lines=lines)
        assert bring(one, path) == expected(folder, manifest, path)
        assert time.monotonic() - began < 5
        assert any("stalls" in line for line in lines)


def test_patience_ends(model, tmp_path):
    folder, manifest = model
    with hosted(folder) as host:
        host.fault = lambda handler, file, start: file.startswith("chunks/") and (handler.send_error(503) or True)
        one = fetcher(tmp_path / "c", manifest, host.url, patience_s=0.5)
        began = time.monotonic()
        with pytest.raises(Interrupted, match="cannot answer now"):
            bring(one, (manifest.configurations[0],))
        assert time.monotonic() - began < 3


def test_a_host_may_ask_to_wait(model, tmp_path):
    folder, manifest = model
    busy, lines = [1], []

    def wait(handler, file, start):
        if file.startswith("chunks/") and busy:
            busy.pop()
            handler.send_response(429)
            handler.send_header("Retry-After", "1")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        return False

    with hosted(folder) as host:
        host.fault = wait
        one = fetcher(tmp_path / "c", manifest, host.url, lines=lines, patience_s=5.0)
        began = time.monotonic()
        bring(one, (manifest.configurations[0],))
        assert time.monotonic() - began >= 1.0
        assert "429" in lines[0]


@pytest.mark.parametrize(
    ("status", "line"), [(404, "not there"), (401, "--token-file"), (403, "does not allow"), (418, "418")]
)
def test_what_a_host_refuses_is_not_asked_again(model, tmp_path, status, line):
    folder, manifest = model
    with hosted(folder) as host:
        one = fetcher(tmp_path / "c", manifest, host.url)
        host.fault = lambda handler, file, start: handler.send_error(status) or True
        with pytest.raises(Refused, match=line):
            bring(one, (manifest.configurations[0],))
        assert len(host.chunk_requests()) == 1


def test_fewer_bytes_than_are_here_begins_anew(model, tmp_path):
    folder, manifest = model
    path = (manifest.configurations[0],)
    chunk = manifest.chunks[manifest.chunks_of(path[0])[0]]
    lines = []
    with hosted(folder) as host:
        one = fetcher(tmp_path / "c", manifest, host.url, lines=lines)
        part = Cache(tmp_path / "c", 1 << 30).partial(chunk.sha256, chunk.nbytes)
        part.into()[:50] = bytes(50)
        part.took(50)
        part.close()
        refused = []

        def short(handler, file, start):
            if start and not refused:
                refused.append(file)
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return True
            return False

        host.fault = short
        assert bring(one, path) == expected(folder, manifest, path)
        assert "from the beginning" in lines[0]


def test_a_part_of_something_else_is_fetched_anew(model, tmp_path):
    folder, manifest = model
    path = (manifest.configurations[0],)
    chunk = manifest.chunks[manifest.chunks_of(path[0])[0]]
    with hosted(folder) as host:
        one = fetcher(tmp_path / "c", manifest, host.url)
        part = Cache(tmp_path / "c", 1 << 30).partial(chunk.sha256, chunk.nbytes)
        part.into()[:50] = bytes(50)
        part.took(50)
        part.close()
        assert bring(one, path) == expected(folder, manifest, path)


def test_two_processes_share_what_arrives(model, tmp_path):
    folder, manifest = model
    path = (manifest.configurations[-1],)
    with hosted(folder) as host:
        host.pace, host.nap_s = 4000, 0.01
        results = []

        def one():
            results.append(bring(fetcher(tmp_path / "c", manifest, host.url), path))

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [expected(folder, manifest, path)] * 3
        for k in manifest.chunks_of(path[0]):
            assert host.sent[manifest.chunks[k].file] == manifest.chunks[k].nbytes


def test_whoever_does_not_want_the_rest_stops_it(model, tmp_path):
    folder, manifest = model
    with hosted(folder) as host:
        host.pace, host.nap_s = 500, 0.02
        one = fetcher(tmp_path / "c", manifest, host.url)
        threading.Timer(0.2, one._stop.set).start()
        with pytest.raises(Stopped):
            bring(one, (manifest.configurations[-1],))
        one._stop.clear()
        host.nap_s = 0.0
        bring(one, (manifest.configurations[-1],))
        chunks = manifest.chunks_of(manifest.configurations[-1])
        # What was broken off in flight may come twice, what was kept does not.
        assert one.fetched_nbytes == sum(manifest.chunks[k].nbytes for k in chunks)


def test_a_token_goes_to_its_own_origin_alone(model, tmp_path):
    folder, manifest = model
    with hosted(folder) as other, hosted(folder) as host:

        def elsewhere(handler, file, start):
            if not file.startswith("chunks/"):
                return False
            handler.send_response(302)
            handler.send_header("Location", f"{other.url}/{file}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        host.fault = elsewhere
        one = fetcher(tmp_path / "c", manifest, host.url, token="secret")
        path = (manifest.configurations[0],)
        assert bring(one, path) == expected(folder, manifest, path)
        chunk = manifest.chunks[manifest.chunks_of(path[0])[0]].file
        assert host.headers[chunk]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.headers[chunk]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "/again"])
def test_redirects_that_lead_nowhere_good(model, tmp_path, target):
    folder, manifest = model

    def round_and_round(handler, file, start):
        if not file.startswith(("chunks/", "again")):
            return False
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with hosted(folder) as host:
        host.fault = round_and_round
        with pytest.raises(Refused, match="redirects"):
            bring(fetcher(tmp_path / "c", manifest, host.url), (manifest.configurations[0],))


def test_more_bytes_than_the_manifest_names_are_not_read(model, tmp_path):
    folder, manifest = model

    def endless(handler, file, start):
        if not file.startswith("chunks/"):
            return False
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        except OSError:
            handler.close_connection = True
        return True

    with hosted(folder) as host:
        host.fault = endless
        with pytest.raises(Damaged, match=r"longer than|more bytes|not those"):
            bring(fetcher(tmp_path / "c", manifest, host.url), (manifest.configurations[0],))


def test_a_manifest_may_not_be_larger_than_it_may(model):
    folder, _ = model
    with hosted(folder) as host:
        web = open_host(host.url, FetchOptions(**QUICK))
        with pytest.raises(Refused, match="larger than 100 bytes"):
            web.get("manifest.json", 100)
        web.close()


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "http://", "http://user:pw@x/y", "http://x/y?a=b", "http://x:0/y", "http://x:y/z"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError):
        open_host(url, FetchOptions())


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "\xe4"])
def test_tokens_that_are_none(token):
    with pytest.raises(ConfigError, match="token"):
        open_host("http://127.0.0.1:1/x", FetchOptions(), token=token)


def test_certificates_to_trust_are_read(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="certificates"):
        open_host("https://127.0.0.1:1/x", FetchOptions(ca=tmp_path / "ca.pem"))


def test_what_cannot_be_reached():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    connections = Connections(
        f"http://127.0.0.1:{port}", token=None, ca=None, connect_timeout_s=1.0, stall_timeout_s=1.0, least_bps=0
    )
    with pytest.raises(Interrupted, match="cannot be reached"):
        connections.request("GET", f"http://127.0.0.1:{port}/x")
    connections.abort()
    with pytest.raises(Interrupted, match="closed"):
        connections.request("GET", f"http://127.0.0.1:{port}/x")


def test_a_connection_is_kept(model, tmp_path):
    folder, manifest = model
    with hosted(folder) as host:
        ports = set()
        host.fault = lambda handler, file, start: bool(ports.add(handler.client_address[1]))
        bring(fetcher(tmp_path / "c", manifest, host.url), (manifest.configurations[-1],))
        assert len(ports) == 1
        assert len(host.chunk_requests()) == len(manifest.chunks_of(manifest.configurations[-1]))


def test_backoff_doubles_spreads_and_begins_anew():
    backoff = Backoff(np.random.default_rng(1))
    waits = [backoff.wait_s() for _ in range(12)]
    for k, wait in enumerate(waits):
        longest = min(0.1 * 2**k, LONGEST_S)
        assert longest / 2 <= wait <= longest
    assert backoff.wait_s(30.0) == 30.0
    backoff.reset()
    assert backoff.wait_s() <= 0.1
    assert len({round(w, 9) for w in waits}) == 12


def test_a_rate_is_told_when_enough_has_come():
    meter = Meter()
    meter.add(1000, 0.1)
    assert meter.rate_bps is None
    meter.add(99_000, 0.9)
    assert meter.rate_bps == pytest.approx(800_000)


def test_indices_as_ranges():
    assert _ranges(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"
    assert _ranges(frozenset()) == ""


def test_our_server_sends_all_in_one_answer_that_resumes(model, tmp_path):
    """The server of docs/serving-models.md: `stream`, with Range, asked for what lacks alone."""
    folder, manifest = model
    path = (manifest.configurations[0], manifest.configurations[-1])
    streams = []

    def stream(handler, file, start):
        if file == "manifest.json":
            handler.send_response(200)
            handler.send_header("Airloom-Api", "1")
            data = (folder / file).read_bytes()
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
            return True
        if not file.startswith("stream?"):
            return False
        query = dict(pair.split("=") for pair in file.partition("?")[2].split("&"))
        have = set()
        for piece in filter(None, query["have"].split(",")):
            a, _, b = piece.partition("-")
            have |= set(range(int(a), int(b or a) + 1))
        named = [next(c for c in manifest.configurations if c.name == n) for n in query["configuration"].split(",")]
        body = b"".join((folder / manifest.chunks[k].file).read_bytes() for k in arrival(manifest, have, named))
        streams.append((start, len(body)))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        host.send(handler, "stream", body[start:])
        return True

    with hosted(folder) as host:
        host.fault = stream
        host.cut = {"stream": manifest.chunks[manifest.chunks_of(path[0])[0]].nbytes + 100}
        one = fetcher(tmp_path / "c", manifest, host.url, digest="a" * 64)
        assert bring(one, path) == expected(folder, manifest, path)
        total = sum(manifest.chunks[k].nbytes for k in arrival(manifest, (), path))
        assert one.fetched_nbytes == total == host.sent["stream"]
        assert [start for start, _ in streams] == [0, 100]
        assert "manifest=" + "a" * 64 in host.requests[-1][1]
        assert not host.chunk_requests()
        # A chunk that is damaged in the cache comes by itself.
        victim = manifest.chunks[manifest.chunks_of(path[0])[1]]
        file = tmp_path / "c" / "chunks" / victim.sha256
        file.write_bytes(bytes(victim.nbytes))
        again = fetcher(tmp_path / "c", manifest, host.url)
        assert bring(again, path) == expected(folder, manifest, path)
        assert again.fetched_nbytes == victim.nbytes


def test_a_pipe_in_a_folder_is_not_waited_for(model, tmp_path):
    folder, manifest = model
    chunk = manifest.chunks[0]
    for file in ("manifest.json", chunk.file):
        (folder / file).unlink()
        os.mkfifo(folder / file)
    host = open_host(str(folder), FetchOptions(cache=tmp_path))
    for ask in (lambda: host.get("manifest.json", 100), lambda: host.body(chunk.file, 0, chunk.nbytes)):
        found = []

        def told(ask=ask, found=found):
            with pytest.raises(Refused, match="not a regular file"):
                ask()
            found.append(True)

        thread = threading.Thread(target=told, daemon=True)
        thread.start()
        thread.join(10)
        assert found
