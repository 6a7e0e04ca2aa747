"""airloom elastic keys and pack, as a user calls them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from airloom.cli.main import main
from airloom.deliver.manifest import open_manifest
from airloom.deliver.signing import read_public_key


def airloom(*args: object) -> int:
    return main([str(arg) for arg in args])


def test_keys_are_made_shown_and_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert airloom("elastic", "keys", tmp_path / "me", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert stat.S_IMODE(Path(made["private_key"]).stat().st_mode) == 0o600
    assert airloom("elastic", "keys", tmp_path / "me.pub", "--show") == 0
    shown = capsys.readouterr().out
    assert made["public_key"] in shown
    assert made["fingerprint"] in shown
    assert airloom("elastic", "keys", tmp_path / "me") == 2
    error = capsys.readouterr().err
    assert "there is a key already" in error
    assert error.count("\n") == 1


NET = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return torch.relu(x + self.linear(x))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, classes)
        self.blocks = nn.Sequential(Block(), Block(), Block())

    def forward(self, x):
        return self.last(self.blocks(self.first(x)))


def net(classes=3):
    return Net(classes), (torch.zeros(2, 4),)
"""


def test_a_trained_model_becomes_a_signed_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airloom.nn.elastic import elastic
    from airloom.nn.elastic.files import ElasticRecord, save_elastic
    from airloom.nn.models import load_model

    monkeypatch.chdir(tmp_path)
    Path("packed_net.py").write_text(NET)
    loaded = load_model("packed_net:net", options={"classes": 5})
    trained = elastic(loaded.module, loaded.example_inputs)
    save_elastic(Path("e.safetensors"), trained, ElasticRecord(model="packed_net:net", options={"classes": 5}))
    airloom("elastic", "keys", "me")
    capsys.readouterr()
    where = ("--weights", "e.safetensors", "--key", "me.key")
    assert airloom("elastic", "pack", "packed_net:net", *where, "--precisions", "bits-4,bits-8", "--depths", "2") == 0
    said = capsys.readouterr().out
    assert "net: 4 configurations of 12 chunks" in said
    assert "first answer with 2/bits-4" in said
    assert "no accuracies" in said
    data, signature = (Path("net", name).read_bytes() for name in ("manifest.json", "manifest.sig"))
    manifest = open_manifest(data, signature, read_public_key(Path("me.pub")), model="net")
    assert manifest.architecture.kind == "graph"
    assert manifest.inputs == ("1x4:float32",)
    assert [row.name for row in manifest.configurations] == ["2/bits-4", "3/bits-4", "2/bits-8", "3/bits-8"]
    assert manifest.released > 1_700_000_000
    assert airloom("elastic", "pack", "packed_net:net", *where, "--json") == 0
    assert json.loads(capsys.readouterr().out)["chunks"] == 24


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--name", "a/b"], "--name: 'a/b' is no name"),
        (["--depths", "x"], "--depths"),
        (["--table", "nothing.json"], "nothing.json: cannot read"),
        (["--key", "nothing.key"], "nothing.key: cannot read"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    airloom("elastic", "keys", tmp_path / "me")
    capsys.readouterr()
    assert airloom("elastic", "pack", "nothing", "--key", tmp_path / "me.key", *options) == 2
    assert reason in capsys.readouterr().err
