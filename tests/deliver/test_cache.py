"""The cache on disk: whole or in parts, shared, bounded, and never believed without looking."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.deliver.client import partial
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.faults import DiskFull, disk_fault
from airloom.deliver.client.options import FetchOptions, default_cache
from airloom.errors import ConfigError, DeliveryError


def sha(data):
    return hashlib.sha256(data).hexdigest()


def fill(part, data):
    while part.lacks:
        into = part.into()
        n = min(len(into), len(data) - part.at)
        into[:n] = data[part.at : part.at + n]
        part.took(n)


def put(cache, data):
    part = cache.partial(sha(data), len(data))
    fill(part, data)
    assert part.finish()


def test_a_chunk_is_there_once_it_is_whole_and_verified(tmp_path):
    cache, data = Cache(tmp_path / "c", 1 << 20), bytes(range(256)) * 9
    assert cache.read(sha(data), len(data)) is None
    put(cache, data)
    assert cache.has(sha(data), len(data))
    assert cache.read(sha(data), len(data)) == data
    assert not cache.path(sha(data)).with_suffix(".part").exists()


@settings(deadline=None, max_examples=25)
@given(data=st.binary(min_size=1, max_size=5000), stops=st.lists(st.integers(0, 5000), max_size=5))
def test_a_part_goes_on_where_it_was(tmp_path_factory, data, stops):
    cache = Cache(tmp_path_factory.mktemp("cache"), 1 << 20)
    at = 0
    for stop in sorted(stops):
        part = cache.partial(sha(data), len(data))
        assert part.at == part.resumed == at
        n = max(0, min(stop, len(data)) - at)
        if n:
            part.into()[:n] = data[at : at + n]
            part.took(n)
        at += n
        part.close()
    part = cache.partial(sha(data), len(data))
    fill(part, data)
    assert part.finish()
    assert bytes(part.data) == data == cache.read(sha(data), len(data))


def test_other_bytes_are_never_kept(tmp_path):
    cache, data = Cache(tmp_path, 1 << 20), b"x" * 1000
    part = cache.partial(sha(data), len(data))
    fill(part, b"x" * 999 + b"y")
    assert not part.finish()
    assert not cache.has(sha(data), len(data))
    part.restart()
    fill(part, data)
    assert part.finish()


def test_a_folder_that_lets_nothing_be_removed_is_let_go_of(tmp_path, monkeypatch):
    cache = Cache(tmp_path / "c", 1 << 20)
    lease, part = cache.lease(), cache.partial("0" * 64, 10)
    cache.path("1" * 64).write_bytes(b"damaged")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    part.close()
    lease.close()
    assert cache.read("1" * 64, 7) is None


def test_a_part_that_is_too_long_begins_anew(tmp_path):
    cache, data = Cache(tmp_path, 1 << 20), b"abc"
    cache.path(sha(data)).with_name(sha(data) + ".part").write_bytes(b"abcdef")
    part = cache.partial(sha(data), 3)
    assert part.at == 0
    fill(part, data)
    assert part.finish()


@pytest.mark.parametrize("damage", [b"", b"abX", b"abcd"])
def test_a_chunk_damaged_on_disk_is_dropped(tmp_path, damage):
    cache, data = Cache(tmp_path, 1 << 20), b"abc"
    put(cache, data)
    cache.path(sha(data)).chmod(0o600)
    cache.path(sha(data)).write_bytes(damage)
    assert cache.read(sha(data), 3) is None
    assert not cache.path(sha(data)).exists()


def test_one_holds_a_part_at_a_time_also_across_processes(tmp_path):
    cache, data = Cache(tmp_path, 1 << 20), b"abc" * 100
    part = cache.partial(sha(data), len(data))
    assert cache.partial(sha(data), len(data)) is None
    code = (
        "import sys; from pathlib import Path; from airloom.deliver.client.cache import Cache\n"
        f"print(Cache(Path({str(tmp_path)!r}), 1 << 20).partial({sha(data)!r}, {len(data)}) is None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    fill(part, data)
    assert part.finish()
    assert not list(tmp_path.glob("chunks/*.part"))


def test_least_lately_used_goes_first_and_what_is_in_use_never(tmp_path):
    cache = Cache(tmp_path, 3500)
    chunks = [bytes([k]) * 1000 for k in range(4)]
    for k, data in enumerate(chunks[:3]):
        put(cache, data)
        os.utime(cache.path(sha(data)), (k, k))
    assert cache.read(sha(chunks[0]), 1000)  # used just now: 1 is the oldest
    lease = cache.lease()
    cache.reserve(lease, {sha(chunks[2]): 1000, sha(chunks[3]): 1000})
    assert [cache.has(sha(c), 1000) for c in chunks] == [True, False, True, False]
    with pytest.raises(ConfigError, match="--cache-size"):
        cache.reserve(lease, {sha(c): 1000 for c in chunks})
    other = cache.lease()
    cache.reserve(lease, {sha(chunks[2]): 1000})
    cache.reserve(other, {sha(chunks[3]): 1000, "f" * 64: 1500})
    assert cache.has(sha(chunks[2]), 1000)  # in use by the other model
    assert not cache.has(sha(chunks[0]), 1000)
    lease.close()
    cache.reserve(other, {sha(chunks[3]): 1000, "f" * 64: 2000})
    assert not cache.has(sha(chunks[2]), 1000)
    other.close()
    assert not list((tmp_path / "leases").iterdir())


def test_a_dead_process_keeps_nothing(tmp_path):
    cache, data = Cache(tmp_path, 1000), b"z" * 900
    put(cache, data)
    code = (
        "import os; from pathlib import Path; from airloom.deliver.client.cache import Cache\n"
        f"cache = Cache(Path({str(tmp_path)!r}), 1000); cache.reserve(cache.lease(), {{{sha(data)!r}: 900}})\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert list((tmp_path / "leases").iterdir())
    lease = cache.lease()
    cache.reserve(lease, {"a" * 64: 500})
    assert not cache.has(sha(data), 900)
    assert len(list((tmp_path / "leases").iterdir())) == 1
    lease.close()


def test_only_the_user_may_read_it(tmp_path):
    cache = Cache(tmp_path / "models", 1 << 20)
    put(cache, b"abc")
    assert stat.S_IMODE((tmp_path / "models").stat().st_mode) == 0o700
    assert stat.S_IMODE(cache.path(sha(b"abc")).stat().st_mode) == 0o600


def test_a_full_disk_is_one_line_and_keeps_what_came(tmp_path, monkeypatch):
    cache, data = Cache(tmp_path, 1 << 20), b"q" * 3000
    part = cache.partial(sha(data), len(data))
    part.into()[:1000] = data[:1000]
    part.took(1000)
    write = os.pwrite

    def full(handle, piece, at):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(partial.os, "pwrite", full)
    with pytest.raises(OSError, match="No space") as caught:
        part.took(1000)
    fault = disk_fault(caught.value, tmp_path, 2000)
    assert isinstance(fault, DiskFull)
    assert "the disk is full, 2000 more bytes" in str(fault)
    assert "--cache" in str(fault)
    part.close()
    monkeypatch.setattr(partial.os, "pwrite", write)
    part = cache.partial(sha(data), len(data))
    assert part.at == 1000
    part.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EDQUOT, DiskFull), (errno.EFBIG, DiskFull), (errno.EACCES, ConfigError), (errno.EIO, DeliveryError)],
)
def test_what_a_folder_may_do_is_told_apart(tmp_path, number, kind):
    assert isinstance(disk_fault(OSError(number, "reason"), tmp_path, 7), kind)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--cache"):
        Cache(tmp_path / "file" / "models", 1)


def test_where_it_lies(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    assert str(default_cache()) == "/var/xdg/airloom/models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(default_cache()) == "/home/someone/.cache/airloom/models"


@pytest.mark.parametrize(
    "wrong", [{"stall_timeout_s": 0}, {"connect_timeout_s": -1}, {"patience_s": -1}, {"cache_nbytes": -1}]
)
def test_options_that_make_no_sense(wrong):
    with pytest.raises(ConfigError):
        FetchOptions(**wrong)


@pytest.mark.parametrize("name", ["long", "loop", "file", "proc"])
def test_a_place_where_no_cache_can_be_is_the_users(tmp_path, name):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "taken").touch()
    places = {
        "long": tmp_path / ("x" * 300), "loop": tmp_path / "circle" / "c", "file": tmp_path / "taken" / "c",
        "proc": Path("/proc/x"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="--cache"):
        Cache(places[name], 1 << 20)
