"""examples/progressive_client.py does what it says, from a folder."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom import zoo
from airloom.deliver.packing import pack
from airloom.deliver.signing import public_text
from airloom.nn.elastic import elastic
from airloom.nn.elastic.table import measure_table
from airloom.nn.tolerance import Samples

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("progressive_client", ROOT / "examples" / "progressive_client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_answers_grows_and_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], example: ModuleType
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    # Ordinary weights: whole, they know the pictures; a part of them guesses.
    model = elastic(zoo.build("resnet20"), zoo.example_inputs("resnet20", 2), depths=(3, 9))
    images, labels = zoo.test_images()
    table = measure_table(
        model, Samples((images,), labels).first(50), model="resnet20", precisions=("bits-4", "bits-8"),
        latency_seconds=0,
    )  # fmt: skip
    key = Ed25519PrivateKey.generate()
    pack(
        model, tmp_path / "resnet20", name="resnet20", key=key, example_inputs=zoo.example_inputs("resnet20", 1),
        zoo="resnet20", table=table,
    )  # fmt: skip
    (tmp_path / "publisher.pub").write_text(public_text(key.public_key()) + "\n")
    example.main([
        str(tmp_path / "resnet20"), str(tmp_path / "publisher.pub"), "--pictures", "20", "--rate", "1 Mbit/s"
    ])  # fmt: skip
    out = capsys.readouterr().out
    assert re.findall(r"^(.+): (\d) blocks? in (bits-\d)", out, re.MULTILINE)[1:] == [
        ("in time", "3", "bits-8"), ("best", "9", "bits-8"), ("battery is low", "3", "bits-8"),
    ]  # fmt: skip
    shares = [float(share) for share in re.findall(r"([\d.]+) % of 20 pictures right", out)]
    assert len(shares) == 4
    assert shares[2] > 70 > shares[3] == shares[0]
