"""`airloom fetch-model`, `serve-model`, `elastic keys`: what a newcomer gets wrong is one line that says what to do."""

import importlib.util
from pathlib import Path

import pytest

from airloom.cli.fetch_model import _Shown
from airloom.cli.main import main
from airloom.core.progressive import Configuration
from airloom.deliver.client.events import FetchEvent

# Its helpers lie beside the tests of the client.
_HELPERS = Path(__file__).parent.parent / "deliver" / "client_models.py"
_spec = importlib.util.spec_from_file_location("client_models_of_mistakes", _HELPERS)
helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(helpers)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    helpers.write_weights(tmp_path / "m", blocks=2)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tokens").write_text("phone 0123456789abcdef0123456789abcdef\n")
    (tmp_path / "tokens").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fetch-model m --public-key PUBLIC --depth 9", "tiny has no depth 9: it has 1, 2"),
        ("fetch-model m --public-key PUBLIC --precision bits-5", "tiny has no precision 'bits-5': it has "),
        ("fetch-model m --public-key PUBLIC --out file", "--out: file is a file: name a folder"),
        ("fetch-model m --public-key PUBLIC --out m", "--out: m has a packed model in it: name another folder"),
        ("fetch-model m --public-key PUBLIC --stall 0", "--stall: a time without a byte is above 0"),
        ("fetch-model http://127.0.0.1:1/m --public-key PUBLIC --ca nowhere.pem", "nowhere.pem: cannot read"),
        ("fetch-model empty --public-key PUBLIC", "empty: no manifest.json in it: name a folder of `airloom elastic"),
        ("serve-model empty", "no such file: is this a folder of `airloom elastic pack`?"),
        ("serve-model m --tokens tokens --open", "--tokens lets in some and --open everybody: leave one out"),
        ("elastic keys publisher.key", "name it without .key: publisher"),
    ],
)
def test_is_one_line_and_nothing_is_written(here, capsys, words, line):
    before = sorted(here.rglob("*"))
    assert main(words.replace("PUBLIC", helpers.PUBLIC).split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert line in err
    after = [path for path in sorted(here.rglob("*")) if not path.is_relative_to(here / "cache")]
    assert after == before


def test_a_cache_that_cannot_be_made_names_the_option(here, capsys):
    words = ["fetch-model", "http://127.0.0.1:1/m", "--public-key", helpers.PUBLIC, "--cache", "/proc/nowhere"]
    assert main(words) == 2
    assert "/proc/nowhere: cannot write: No such file or directory: name another folder (--cache)" in (
        capsys.readouterr().err
    )


def test_the_moving_line_counts_one_block_and_never_more_than_the_whole(monkeypatch, capsys):
    shown = _Shown(quiet=False)
    shown._live = True
    one = Configuration(depth=1, precision="bits-4", nbytes=5000, parameters=1250)
    shown.event(FetchEvent(kind="target", at_s=0.0, fetched_nbytes=2048, configuration=one, needed_nbytes=4096))
    shown.event(FetchEvent(kind="usable", at_s=1.0, fetched_nbytes=6144, configuration=one, needed_nbytes=4096))
    assert capsys.readouterr().err.endswith("6.00 KiB of 6.00 KiB  1 block in bits-4")
