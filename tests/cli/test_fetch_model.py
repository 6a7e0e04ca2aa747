"""`airloom fetch-model`: one command from an address to a model that other commands take."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from airloom.cli.main import main

# Its helpers lie beside the tests of the client.
_HELPERS = Path(__file__).parent.parent / "deliver" / "client_models.py"
_spec = importlib.util.spec_from_file_location("client_models_of_deliver", _HELPERS)
helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(helpers)


@pytest.fixture
def model(tmp_path, monkeypatch):
    from airloom.deliver import running

    monkeypatch.setattr(running, "make_runner", helpers.SumRunner)
    return tmp_path / "m", helpers.write_weights(tmp_path / "m", blocks=4)


def fetch(*words, cache):
    return main(["fetch-model", *map(str, words), "--cache", str(cache)])


def test_it_says_what_arrived(model, tmp_path, capsys):
    folder, _ = model
    assert fetch(folder, "--public-key", helpers.PUBLIC, cache=tmp_path / "c") == 0
    out, err = capsys.readouterr()
    assert "tiny: 4 blocks in fp32" in out
    assert "100.0 % of the whole" in out
    assert "first answer after" in out
    assert err == ""


def test_limits_choose_and_json_tells_all(model, tmp_path, capsys):
    folder, manifest = model
    limit = manifest.configurations[3].nbytes
    words = (folder, "--public-key", helpers.PUBLIC, "--max-size", f"{limit} B", "--json")
    assert fetch(*words, cache=tmp_path / "c") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["configuration"]["nbytes"] <= limit
    assert found["events"][-1]["kind"] == "done"
    assert found["usable_s"] >= found["first_s"] > 0
    assert fetch(folder, "--public-key", helpers.PUBLIC, "--depth", "2", "--quiet", cache=tmp_path / "c") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "--trust-first"),
        (("--public-key", "PUBLIC", "--depth", "17"), "tiny has no depth 17: it has "),
        (("--public-key", "PUBLIC", "--max-size", "10 B"), "no configuration of tiny is within the limits"),
        (("--public-key", "PUBLIC", "--deadline", "soon"), "--deadline"),
        (("--public-key", "PUBLIC", "--accuracy", "2"), "--accuracy"),
        (("--public-key", "PUBLIC", "--max-macs", "nan"), "--max-macs"),
        (("--public-key", "PUBLIC", "--max-macs", "inf"), "--max-macs"),
        (("--public-key", "nowhere.pub"), "nowhere.pub"),
        (("--public-key", "PUBLIC", "--token-file", "nowhere"), "nowhere"),
        (("--public-key", "PUBLIC", "--check", "nowhere.npz"), "nowhere.npz"),
    ],
)
def test_what_cannot_be_used_is_one_line(model, tmp_path, capsys, words, line):
    words = [helpers.PUBLIC if word == "PUBLIC" else word for word in words]
    assert fetch(model[0], *words, cache=tmp_path / "c") == 2
    _, err = capsys.readouterr()
    assert line in err
    assert err.count("\n") == 1


def test_a_host_that_is_not_there(tmp_path, capsys):
    words = ("http://127.0.0.1:9/m", "--public-key", helpers.PUBLIC, "--patience", "0.2s")
    assert fetch(*words, cache=tmp_path / "c") == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_interrupted_it_keeps_what_came_and_goes_on(tmp_path):
    folder, cache = tmp_path / "m", tmp_path / "c"
    helpers.write_weights(folder, blocks=4, rows=256, precisions=("fp32",))
    code = (
        f"import sys; sys.path.insert(0, {str(_HELPERS.parent)!r})\n"
        "from client_models import SumRunner; from airloom.deliver import running; running.make_runner = SumRunner\n"
        "sys.modules['airloom.deliver.network'] = None  # as where there is no torch\n"
        "from airloom.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    with helpers.hosted(folder) as host:
        command = [
            sys.executable, "-c", code, "fetch-model", host.url, "--public-key", helpers.PUBLIC, "--cache", str(cache),
        ]  # fmt: skip
        host.pace, host.nap_s = 2048, 0.02
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not host.chunk_requests():
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "the same command goes on from there" in err
        assert "Traceback" not in err
        held = sum(f.stat().st_size for f in (cache / "chunks").iterdir())
        assert held > 0
        host.nap_s, host.sent = 0.0, {}
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=os.environ)
        found = json.loads(done.stdout)
        # What was kept did not come again; a piece that was on its way may have.
        assert found["fetched_nbytes"] <= found["configuration"]["nbytes"] + 10_000 - held


def test_trees_arrive_and_are_checked(tmp_path, capsys):
    sklearn_ensemble = pytest.importorskip("sklearn.ensemble")
    from airloom.deliver.tree_packing import pack_trees

    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    labels = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    forest = sklearn_ensemble.RandomForestClassifier(12, max_depth=4, random_state=0).fit(x, labels)
    pack_trees(forest, tmp_path / "trees", name="forest", key=helpers.KEY)
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    words = (tmp_path / "trees", "--public-key", helpers.PUBLIC, "--check", tmp_path / "samples.npz", "--json")
    assert fetch(*words, cache=tmp_path / "c") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured_accuracy"] == pytest.approx(forest.score(x, labels))
    assert fetch(*words[:3], "--out", tmp_path / "out", cache=tmp_path / "c") == 2
    assert "no network" in capsys.readouterr().err
