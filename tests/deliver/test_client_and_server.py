"""The client against the real server, in a process of its own: plan, stream, resume, tokens."""

import re
import subprocess
import sys

import pytest
from client_models import PUBLIC, SumRunner, write_weights

from airloom.deliver import running
from airloom.deliver.client.faults import Refused
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.errors import Infeasible
from airloom.planner.delivery import arrival


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    pytest.importorskip("uvicorn")
    folder = tmp_path_factory.mktemp("served")
    manifest = write_weights(folder / "tiny", blocks=6, rows=256)
    (folder / "tokens").write_text("me secret-secret-secret-secret-secret-secret\n")
    (folder / "tokens").chmod(0o600)
    command = (
        "from airloom.cli.main import main; import sys; sys.exit(main(["
        f"'serve-model', {str(folder / 'tiny')!r}, '--port', '0', '--json', '--tokens', {str(folder / 'tokens')!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as process:
        try:
            first = process.stdout.readline()
            yield re.search(r"http://[0-9.:]+", first)[0] + "/v1/models/tiny", manifest
        finally:
            process.terminate()


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    return FetchOptions(cache=tmp_path / "cache", patience_s=5.0)


def opened(url, options, **wanted):
    return ProgressiveModel.open(
        url, **{"key": PUBLIC, "token": "secret-secret-secret-secret-secret-secret", "options": options, **wanted}
    )


def test_all_of_it_in_steps_and_only_what_lacks_later(served, options):
    url, manifest = served
    with opened(url, options, depth=2, precision="bits-4") as model:
        model.wait(20)
        assert model._host.streams
        model.upgrade(precision="fp32")
        reached = model.wait(20)
        assert reached.name == "6/fp32"
        passed = [e.configuration for e in model.history if e.kind == "usable"]
        assert len(passed) > 2
        assert model.fetched_nbytes == sum(manifest.chunks[k].nbytes for k in arrival(manifest, (), passed))
    with opened(url, options, precision="fp32") as model:
        assert model.wait(20) == reached
        assert model.fetched_nbytes == 0


def test_the_servers_estimate_is_taken_where_no_rate_is_given(served, options):
    url, manifest = served
    with opened(url, options, deadline_s=60.0) as model:
        assert model.wait(20).accuracy == max(c.accuracy for c in manifest.configurations)
    with pytest.raises(Infeasible, match="no configuration"):
        opened(url, options, deadline_s=60.0, max_macs=1)


def test_a_token_is_wanted(served, options):
    with pytest.raises(Refused, match="--token-file"):
        opened(served[0], options, token=None)
