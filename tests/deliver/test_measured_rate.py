"""The rate that a client measures is the link's, however slow or quick the client is with what has come."""

import time
from types import SimpleNamespace

import pytest
from client_models import hosted

from airloom.deliver.client import ahead
from airloom.deliver.client.ahead import ReadAhead
from airloom.deliver.client.faults import Interrupted
from airloom.deliver.client.meter import Meter
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.web import open_host


def fetched(tmp_path, nbytes, *, nap_s, pace=1 << 30, host_nap_s=0.0, piece=1 << 18):
    """The rate as measured, and that at which the client took the bytes."""
    data = bytes(range(256)) * (nbytes // 256)
    (tmp_path / "file").write_bytes(data)
    with hosted(tmp_path) as host:
        host.pace, host.nap_s = pace, host_nap_s
        web = open_host(host.url, FetchOptions(cache=tmp_path))
        body, into, got = web.body("file", 0, len(data)), memoryview(bytearray(len(data))), 0
        began = time.monotonic()
        while got < len(data):
            got += body.readinto(into[got : got + piece])
            time.sleep(nap_s)  # as if it were decoded
        seconds = time.monotonic() - began
        assert body.readinto(into[:1]) == 0
        body.close()
        web.close()
        assert bytes(into) == data
    return web.rate_bps, 8 * len(data) / seconds


def test_a_slow_client_behind_a_fast_link(tmp_path):
    measured, taken = fetched(tmp_path, 1 << 20, nap_s=0.1)
    assert taken < 30e6
    assert measured > 4 * taken


def test_a_slow_client_that_may_not_read_far_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "MOST_AHEAD", 1 << 18)
    measured, taken = fetched(tmp_path, 2 << 20, nap_s=0.1)
    assert measured > 4 * taken


def test_a_slow_link_is_not_taken_for_a_fast_one_by_a_client_that_is_busy(tmp_path):
    # Counting only the time in which the client waits would make twice the rate of it, or more.
    link_bps = 8 * 8192 / 0.02
    measured, _ = fetched(tmp_path, 1 << 18, nap_s=0.015, pace=8192, host_nap_s=0.02, piece=8192)
    assert 0.4 * link_bps < measured < 1.3 * link_bps


def test_what_came_while_nobody_looked_does_not_count(monkeypatch):
    monkeypatch.setattr(ahead, "MOST_AHEAD", 1000)
    meter, into, asked = Meter(), memoryview(bytearray(1000)), []

    class Full:
        def read(self, limit):
            asked.append(limit)
            return bytes(1000)

    one = ReadAhead(Full(), 4000, meter)
    while not asked:
        time.sleep(0.001)
    time.sleep(0.05)
    assert asked == [4000]  # no more than may lie there
    assert [one.readinto(into) for _ in range(5)] == [1000] * 4 + [0]
    one.join()
    assert meter.nbytes == 1000


def test_what_came_before_a_transfer_broke_is_handed_out_first():
    said = [b"abc", b"de"]

    def read(limit):
        if not said:
            raise Interrupted("it broke")
        return said.pop(0)

    one, into = ReadAhead(SimpleNamespace(read=read), 9, Meter()), memoryview(bytearray(2))
    one.join()
    found = b""
    while len(found) < 5:
        found += bytes(into[: one.readinto(into)])
    assert found == b"abcde"
    with pytest.raises(Interrupted, match="it broke"):
        one.readinto(into)
