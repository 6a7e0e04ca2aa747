"""What a deadline is left for after its round trips: they are few, and those that remain are counted."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from client_models import PUBLIC, SumRunner, hosted, write_weights
from server_models import running as serving

from airloom.deliver import running
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.planner.delivery import Demand, choose

DELAY_S = 0.1
FILE = b'{"blocks": "as far as this test looks"}' * 20


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    monkeypatch.setenv("no_proxy", "*")
    return FetchOptions(cache=tmp_path / "cache")


@contextmanager
def delayed(address):
    """A way to `address` on which every request takes `DELAY_S`; the requests are kept."""
    listening, seen, ends = socket.create_server(("127.0.0.1", 0)), [], []

    def pump(source, sink, delay_s):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if delay_s:
                    seen.append(data)
                    time.sleep(delay_s)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept():
        with suppress(OSError):
            while True:
                client, server = listening.accept()[0], socket.create_connection(address)
                ends.extend((client, server))
                for way in ((client, server, DELAY_S), (server, client, 0.0)):
                    threading.Thread(target=pump, args=way, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        for end in (listening, *ends):
            end.close()


def test_our_server_is_asked_once_after_the_manifest(tmp_path, options):
    manifest = write_weights(tmp_path / "m" / "tiny", file=FILE)
    with serving(tmp_path / "m" / "tiny") as server, delayed(server.address) as (url, seen):
        source = f"{url}/v1/models/tiny"
        with ProgressiveModel.open(source, key=PUBLIC, options=options, deadline_s=30.0) as model:
            best = model.wait(30)
            assert best.accuracy == max(c.accuracy for c in manifest.configurations)
            assert model._running.runner.data == FILE
            assert model._host.rtt_s >= DELAY_S
        assert [data.split()[1].decode().partition("tiny/")[2].partition("?")[0] for data in seen] == [
            "manifest.json", "stream",
        ]  # fmt: skip
        seen.clear()
        # The architecture is kept: what comes along with chunks the next time are chunks alone.
        with ProgressiveModel.open(source, key=PUBLIC, options=options) as model:
            assert model.wait(30) == best
            assert model.fetched_nbytes == 0
        assert len(seen) == 1
        # A round trip is counted: what would just arrive without one is too much.
        small, large = manifest.configurations[0], manifest.configurations[-1]
        rate_bps = 8.0 * (large.nbytes - small.nbytes) / (0.9 * DELAY_S)
        fresh = FetchOptions(cache=tmp_path / "fresh")
        with ProgressiveModel.open(source, key=PUBLIC, options=fresh, max_nbytes=small.nbytes) as model:
            assert model.wait(30) == small
            without = Demand(deadline_s=DELAY_S, rate_bps=rate_bps, have=model._fetcher.held())
            assert choose(manifest, without).configuration == best
            assert model.upgrade(deadline_s=DELAY_S, rate_bps=rate_bps) == small
            assert model.upgrade(deadline_s=3 * DELAY_S, rate_bps=rate_bps) == best


def test_a_static_hosts_files_are_a_round_trip_each(tmp_path, options):
    manifest = write_weights(tmp_path / "m", blocks=6, precisions=("fp32",), file=FILE)
    rate_bps = 1e9
    with hosted(tmp_path / "m") as host:
        host.fault = lambda *_: bool(time.sleep(DELAY_S))
        # The manifest, its signature, the architecture, a base, a block, statistics are six; each further block is one.
        deadline_s = 9 * DELAY_S
        with ProgressiveModel.open(
            host.url, key=PUBLIC, options=options, deadline_s=deadline_s, rate_bps=rate_bps
        ) as model:
            reached = model.wait(30)
            ready_s = next(e.at_s for e in model.history if e.kind == "usable" and e.configuration == reached)
    assert reached.depth <= 3
    assert ready_s < deadline_s + DELAY_S
    bare = Demand(deadline_s=deadline_s, rate_bps=rate_bps)
    assert choose(manifest, bare).configuration.depth == 6  # as it were without counting them


def test_the_law_of_overheads(tmp_path):
    manifest = write_weights(tmp_path / "m", blocks=4, precisions=("fp32",))
    for row in manifest.configurations:
        count, nbytes = len(manifest.chunks_of(row)), row.nbytes
        takes_s = 0.3 + 0.07 * count + 8 * nbytes / 1e6
        demand = Demand(deadline_s=takes_s, rate_bps=1e6, overhead_s=0.3, chunk_s=0.07)
        found = choose(manifest, demand)
        assert found.configuration == row
        assert found.expected_s == pytest.approx(takes_s)
