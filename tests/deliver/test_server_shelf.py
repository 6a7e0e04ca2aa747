import asyncio
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from server_models import ask, write_model

from airloom.deliver.server.app import ModelServer
from airloom.deliver.server.cache import ChunkCache, DamagedFile
from airloom.deliver.server.release import load_release
from airloom.deliver.server.settings import ServerSettings, check_settings
from airloom.deliver.server.shelf import MAX_OLD, Shelf
from airloom.errors import ConfigError

OPEN_FILES = Path("/proc/self/fd")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_new_version_takes_the_place_of_the_old_one(tmp_path):
    folder, said, clock = tmp_path / "m", [], Clock()
    old = write_model(folder)
    shelf = Shelf((folder,), keep_s=100.0, say=said.append, clock=clock)
    app = ModelServer(shelf, ServerSettings((folder,)), say=said.append).app
    first = shelf.models[0]
    data = (folder / old.chunks[0].file).read_bytes()
    shelf.refresh()
    assert shelf.models[0] is first
    new = write_model(folder, seed=1)
    shutil.rmtree(folder / "chunks")
    write_model(folder, seed=1)
    shelf.refresh()
    assert shelf.models[0].manifest == new
    assert said == [f"{folder}: serving tiny, manifest {shelf.models[0].sha256[:12]}"]
    # Those who are fetching the old version get to its end, though its files are gone from the folder.
    assert not (folder / old.chunks[0].file).exists()
    assert ask(app, "GET", f"/v1/models/tiny/{old.chunks[0].file}").body == data
    query = f"configuration=3/bits-6&manifest={first.sha256}"
    assert len(ask(app, "GET", "/v1/models/tiny/stream", query=query).body) == old.configurations[-1].nbytes
    held = ask(app, "GET", "/v1/models/tiny/manifest.json", query=f"manifest={first.sha256}")
    assert held.body == first.heads["manifest.json"][0]
    assert ask(app, "GET", "/v1/models/tiny/manifest.json").body != held.body
    clock.now = 101.0
    shelf.refresh()
    assert ask(app, "GET", "/v1/models/tiny/stream", query=query).status == 409
    assert ask(app, "GET", f"/v1/models/tiny/{old.chunks[0].file}").status == 404
    assert (shelf.reloads, shelf.num_versions) == (1, 1)


def test_versions_and_their_files_are_bounded(tmp_path):
    folder = tmp_path / "m"
    write_model(folder)
    shelf = Shelf((folder,))
    for seed in range(1, MAX_OLD + 4):
        write_model(folder, seed=seed)
        shelf.refresh()
    shelf.refresh()
    assert shelf.num_versions == 1 + MAX_OLD
    before = len(list(OPEN_FILES.iterdir()))
    files = len(shelf.models[0].files)
    del shelf
    assert len(list(OPEN_FILES.iterdir())) == before - files * (1 + MAX_OLD)


def test_a_version_that_cannot_be_served_leaves_the_old_one(tmp_path):
    folder, said, clock = tmp_path / "m", [], Clock()
    old = write_model(folder)
    shelf = Shelf((folder,), say=said.append, clock=clock)
    new = write_model(tmp_path / "new", seed=1)
    # A copy in the wrong order: the manifest before its chunks.
    for name in ("manifest.json", "manifest.sig"):
        shutil.copy(tmp_path / "new" / name, folder / name)
    shelf.refresh()
    assert (shelf.models[0].manifest, shelf.failures, said) == (old, 1, [])
    clock.now = 6.0
    shelf.refresh()
    assert "the old one still is" in said[0]
    assert "no such file" in said[0]
    clock.now = 20.0
    shelf.refresh()
    assert len(said) == 1
    shutil.copytree(tmp_path / "new" / "chunks", folder / "chunks", dirs_exist_ok=True)
    clock.now = 30.0
    shelf.refresh()
    assert shelf.models[0].manifest == new


def broken(tmp_path, change):
    folder = tmp_path / "m"
    manifest = write_model(folder)
    change(folder, folder / manifest.chunks[0].file)
    with pytest.raises(ConfigError) as error:
        load_release(folder, None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_that_cannot_be_served(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 4000)

    def link(folder, chunk):
        chunk.unlink()
        chunk.symlink_to(secret)

    def link_folder(folder, chunk):
        (folder / "chunks").rename(tmp_path / "elsewhere")
        (folder / "chunks").symlink_to(tmp_path / "elsewhere")

    def pipe(folder, chunk):
        chunk.unlink()
        os.mkfifo(chunk)

    assert "symbolic link" in broken(tmp_path / "1", link)
    assert "symbolic link" in broken(tmp_path / "2", link_folder)
    assert "not a regular file" in broken(tmp_path / "3", pipe)
    assert "no such file" in broken(tmp_path / "4", lambda folder, chunk: chunk.unlink())
    assert "3 bytes, the manifest says 4000" in broken(tmp_path / "5", lambda folder, chunk: chunk.write_bytes(b"abc"))
    assert "no such file" in broken(tmp_path / "6", lambda folder, chunk: (folder / "manifest.json").unlink())
    assert "not signed by" in broken(
        tmp_path / "7", lambda folder, chunk: (folder / "manifest.json").write_bytes(b"{}")
    )
    assert "missing required field" in broken(
        tmp_path / "8",
        lambda folder, chunk: [(folder / "manifest.pub").unlink(), (folder / "manifest.json").write_bytes(b"{}")],
    )
    with pytest.raises(ConfigError, match="cannot open the folder"):
        load_release(tmp_path / "none", None)


def test_only_what_the_key_signed(tmp_path):
    write_model(tmp_path / "m")
    other = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ConfigError, match="not signed by ed25519:"):
        Shelf((tmp_path / "m",), public_key=other)
    (tmp_path / "m" / "manifest.pub").unlink()
    (tmp_path / "m" / "manifest.sig").unlink()
    assert load_release(tmp_path / "m", None).key is None
    with pytest.raises(ConfigError, match="not signed"):
        load_release(tmp_path / "m", other)


def test_models_have_names_of_their_own(tmp_path):
    write_model(tmp_path / "a")
    write_model(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"is a model tiny as well"):
        Shelf((tmp_path / "a", tmp_path / "b"))
    with pytest.raises(ConfigError, match="named twice"):
        Shelf((tmp_path / "a", tmp_path / "a"))
    write_model(tmp_path / "c", name="other")
    shelf = Shelf((tmp_path / "a", tmp_path / "c"))
    assert [release.manifest.model for release in shelf.models] == ["tiny", "other"]
    shutil.rmtree(tmp_path / "c")
    write_model(tmp_path / "c", name="tiny", seed=3)
    shelf.refresh()
    assert shelf.find("other") is not None


def test_a_cache_keeps_to_its_bytes(tmp_path):
    """Law: the cache never holds more than was said, and what it gives are the file's bytes."""
    manifest = write_model(tmp_path / "m", nbytes=1000, blocks=5)
    files = load_release(tmp_path / "m", None).chunks
    limit = 9000

    async def use():
        cache, held, rng = ChunkCache(limit), [], np.random.default_rng(0)
        for _ in range(200):
            file = files[rng.integers(len(files))]
            data = await cache.acquire(file)
            assert cache.nbytes <= limit
            if data is None:
                # All that is there is being sent.
                assert cache.nbytes + file.nbytes > limit
            else:
                assert data == (tmp_path / "m" / file.name).read_bytes()
                held.append(file)
            if len(held) > 15 or data is None:
                cache.release(held.pop(0))
        assert cache.hits
        assert cache.passed
        again = await asyncio.gather(*(cache.acquire(held[-1]) for _ in range(5)))
        assert all(data is again[0] for data in again)  # one copy for all

    asyncio.run(use())
    assert len(files) == len(manifest.chunks)


def test_a_file_is_read_once_for_all_who_wait(tmp_path, monkeypatch):
    write_model(tmp_path / "m")
    file = load_release(tmp_path / "m", None).chunks[0]
    reads = []
    read = type(file).read
    monkeypatch.setattr(type(file), "read", lambda self, *span: reads.append(span) or read(self, *span))

    async def use():
        cache = ChunkCache(10**6)
        first, *others = await asyncio.gather(*(cache.acquire(file) for _ in range(20)))
        assert all(other is first for other in others)
        waiting = asyncio.ensure_future(cache.acquire(file))
        waiting.cancel()
        assert await cache.acquire(file) is first

    asyncio.run(use())
    assert len(reads) == 1


def test_a_file_cut_short_is_damaged(tmp_path):
    manifest = write_model(tmp_path / "m")
    file = load_release(tmp_path / "m", None).chunks[0]
    os.truncate(tmp_path / "m" / manifest.chunks[0].file, 10)

    async def use():
        cache = ChunkCache(10**6)
        with pytest.raises(DamagedFile, match="cut short"):
            await cache.acquire(file)
        assert cache.nbytes == 0

    asyncio.run(use())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"folders": ()}, "no folder to serve"),
        ({"port": 70000}, "--port lies in"),
        ({"certificate": "x"}, "--cert and --key go together"),
        ({"host": "0.0.0.0"}, "give --tokens FILE, or say --open"),
        ({"host": "0.0.0.0", "open_to_all": True}, "give --cert and --key, or say --no-tls"),
        ({"host": "example.org", "tokens": "x"}, "in the clear"),
        ({"max_transfers": 0}, "--max-transfers must be at least 1"),
        ({"cache_nbytes": 0}, "--cache-size must be at least 1"),
    ],
)
def test_settings_that_are_refused(tmp_path, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        check_settings(ServerSettings((tmp_path,))._replace(**settings))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"])
def test_this_machine_alone_needs_neither_tokens_nor_tls(tmp_path, host):
    check_settings(ServerSettings((tmp_path,), host=host))
    check_settings(ServerSettings((tmp_path,), host="0.0.0.0", open_to_all=True, plain=True))
