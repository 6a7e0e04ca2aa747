"""The two ends together: a model fetched from a server process over TLS, whole and onwards from what is there."""

import pytest
from client_models import PUBLIC, SumRunner, write_weights
from server_models import running

from airloom.deliver import running as running_module
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.planner.delivery import Demand, choose
from airloom.runtime.certs import make_ca, make_host

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    manifest = write_weights(folder / "tiny", blocks=6)
    make_ca(folder / "certs")
    certs = make_host(folder / "certs", "mec")
    (folder / "tokens").write_text(TOKEN)
    (folder / "tokens").chmod(0o600)
    options = ("--cert", certs.certificate, "--key", certs.key, "--tokens", folder / "tokens", "--access-log")
    with running(folder / "tiny", *options, "--public-key", PUBLIC, ca=certs.ca) as server:
        yield server, manifest, certs.ca


def test_a_model_arrives_by_its_deadline_and_grows(served, tmp_path, monkeypatch):
    monkeypatch.setattr(running_module, "make_runner", SumRunner)
    server, manifest, ca = served
    assert server.said["models"][0]["pinned"] is True
    url = f"{server.said['url'].replace('127.0.0.1', 'localhost')}/v1/models/tiny"
    options = FetchOptions(cache=tmp_path / "cache", ca=ca)
    small = manifest.configurations[1].nbytes
    with ProgressiveModel.open(url, key=PUBLIC, token=TOKEN, options=options, max_nbytes=small) as model:
        assert model.wait(20) == choose(manifest, Demand(max_nbytes=small)).configuration
        first = model.fetched_nbytes
        model.upgrade(deadline_s=10.0)
        best = model.wait(20)
        assert best == manifest.configurations[-1] or best.accuracy == max(c.accuracy for c in manifest.configurations)
        assert model(None)[0] == best.depth
        assert model.fetched_nbytes > first
    with ProgressiveModel.open(url, key=PUBLIC, token=TOKEN, options=options) as model:
        assert model.wait(20).accuracy == best.accuracy
    _, err = server.stop()
    assert "GET /v1/models/tiny/stream 200" in err
    assert TOKEN not in err
