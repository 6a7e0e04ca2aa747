"""The first steps to a model: how many questions they take, while it is packed anew, and while its host is away."""

import errno
import threading
import time

import pytest
from client_models import PUBLIC, SumRunner, hosted, write_weights

from airloom.deliver import artifact, running
from airloom.deliver.client.faults import Interrupted
from airloom.deliver.client.kept import KeptManifests
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.deliver.server.shelf import Shelf
from airloom.errors import ConfigError, SignatureError


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    return FetchOptions(cache=tmp_path / "cache", stall_timeout_s=2.0, patience_s=0.6, connect_timeout_s=0.4)


def opened(source, options, **wanted):
    return ProgressiveModel.open(source, **{"key": PUBLIC, "options": options, **wanted})


def asked(host):
    return [path for _, path, _ in host.requests if not path.startswith("chunks/")]


def test_a_static_host_is_asked_twice_and_once_more_the_first_time(tmp_path, options):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host:
        for first in (["manifest.pub"], []):
            with opened(host.url, options, key=None, trust_first=True) as model:
                model.wait(10)
            assert asked(host) == [*first, "manifest.json", "manifest.sig"]
            host.requests.clear()


def test_a_model_packed_anew_in_between_is_asked_for_again(tmp_path, options):
    old, new = tmp_path / "old", tmp_path / "m"
    write_weights(old, seed=1, released=1)
    write_weights(new, seed=2, released=2)
    whole = (new / "manifest.sig").read_bytes()
    (new / "manifest.sig").write_bytes((old / "manifest.sig").read_bytes())
    with hosted(new) as host:
        timer = threading.Timer(0.15, (new / "manifest.sig").write_bytes, (whole,))
        timer.start()
        with opened(host.url, options) as model:
            assert model.wait(10).depth == 3
        timer.join()
        assert asked(host).count("manifest.json") >= 2


def test_a_server_started_in_between_looks_again(tmp_path):
    write_weights(tmp_path / "m")
    file = tmp_path / "m" / "manifest.sig"
    whole = file.read_bytes()
    file.write_bytes(bytes(64))
    timer = threading.Timer(0.05, file.write_bytes, (whole,))
    timer.start()
    assert len(Shelf((tmp_path / "m",)).models) == 1
    timer.join()
    file.write_bytes(bytes(64))
    with pytest.raises(ConfigError, match="not signed"):
        Shelf((tmp_path / "m",))


def test_a_disk_that_is_full_while_packing_leaves_the_model_that_was_there(tmp_path, options, monkeypatch):
    folder = tmp_path / "m"
    write_weights(folder, seed=1)
    before = (folder / "manifest.json").read_bytes()
    real = artifact.write_aside
    for name in ("chunks", "manifest.pub", "sig", "manifest.json"):

        def full(path, data, name=name):
            if name in str(path.relative_to(folder)):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            real(path, data)

        monkeypatch.setattr(artifact, "write_aside", full)
        with pytest.raises(ConfigError, match="No space"):
            write_weights(folder, seed=2)
        assert (folder / "manifest.json").read_bytes() == before
        with opened(folder, options) as model:
            assert model.wait(10).name == "3/fp32"


def test_a_model_in_the_cache_opens_while_its_host_is_away(tmp_path, options):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host, opened(host.url, options) as model:
        answer = (model.wait(10), model(None))
        url = host.url
    with opened(url, options) as model:
        assert (model.wait(10), model(None)) == answer
        assert model.fetched_nbytes == 0
        assert model.history[0].kind == "manifest"
        assert "cannot be reached" in model.history[0].text
        assert "when it was last seen" in model.history[0].text
    # The key that was taken the first time is the one that it has to be signed with.
    with pytest.raises(Interrupted):
        opened(url, options, key=None, trust_first=True)


def test_away_the_best_of_what_is_here_is_there_by_any_deadline(tmp_path, options):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host, opened(host.url, options, depth=2, precision="bits-6") as model:
        model.wait(10)
        url = host.url
    for rate_bps in (None, 1e9):
        with opened(url, options, deadline_s=5.0, rate_bps=rate_bps) as model:
            assert model.wait(10).name == "2/bits-6"
    # What is not here is said to be missing, and what is goes on running.
    with opened(url, options) as model:
        with pytest.raises(Interrupted, match="cannot be reached"):
            model.wait(10)
        assert model.configuration.name == "2/bits-6"
        assert model.target.name == "3/fp32"


def test_kept_manifests_are_verified_and_bounded(tmp_path, options):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host, opened(host.url, options, key=None, trust_first=True) as model:
        model.wait(10)
        url = host.url
    kept = KeptManifests(options.cache)
    data, signature = kept.load(url)
    assert signature == (tmp_path / "m" / "manifest.sig").read_bytes()
    for spoiled in (data.replace(b"tiny", b"tine"), b"", b"{}"):
        kept.save(url, spoiled, signature)
        with pytest.raises(Interrupted):
            opened(url, options, key=None, trust_first=True)
    for k in range(300):
        kept.save(f"http://{k}", data, signature)
    assert sum(1 for _ in (options.cache / "manifests").iterdir()) == 256
    assert kept.load("http://299") is not None


def test_a_signature_that_stays_wrong_is_refused(tmp_path, options):
    write_weights(tmp_path / "m")
    (tmp_path / "m" / "manifest.sig").write_bytes(bytes(64))
    began = time.monotonic()
    with hosted(tmp_path / "m") as host, pytest.raises(SignatureError):
        opened(host.url, options)
    assert time.monotonic() - began < 10
