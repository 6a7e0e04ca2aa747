"""Models by name: the zoo, factories, exported files, artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from airloom.errors import UserError
from airloom.nn.agreement import eager_difference
from airloom.nn.capture import capture
from airloom.nn.models import load_captured, load_model

FACTORIES = """
import torch
from torch import nn

def bare(width=3):
    return nn.Linear(4, width)

def pair():
    return nn.Linear(4, 3), (torch.randn(2, 4),)

def single():
    return nn.Linear(4, 3), torch.randn(2, 4)

class Nested:
    make = staticmethod(pair)

def raises():
    raise RuntimeError("no such luck\\nreally")

def wrong():
    return 3

def wrong_inputs():
    return nn.Linear(4, 3), (3,)

number = 3
"""


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_factories", raising=False)
    return tmp_path


def test_zoo_name() -> None:
    model = load_model("vgg11", batch=3, weights="random", options={"width": 4, "num_classes": 7})
    assert model.name == "vgg11"
    assert model.example_inputs[0].shape == (3, 3, 32, 32)
    assert model.module(*model.example_inputs).shape == (3, 7)


@pytest.mark.parametrize("attribute", ["pair", "single", "Nested.make"])
def test_factory(attribute: str) -> None:
    model = load_model(f"my_factories:{attribute}")
    assert model.name == attribute.rpartition(".")[2]
    assert model.module(*model.example_inputs).shape == (2, 3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batch_of_a_factory(batch: int) -> None:
    assert load_model("my_factories:pair", batch=batch).example_inputs[0].shape == (batch, 4)


def test_factory_with_named_shape_options_and_weights(tmp_path: Path) -> None:
    weights = {"weight": torch.ones(5, 4), "bias": torch.zeros(5)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    model = load_model(
        "my_factories:bare", inputs=["2x4:float32"], options={"width": 5}, weights=tmp_path / "w.safetensors"
    )
    [x] = model.example_inputs
    torch.testing.assert_close(model.module(x), x.sum(1, keepdim=True).expand(2, 5))


@pytest.mark.parametrize("batch", [None, 2])
def test_exported_file(batch: int | None, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(), torch.nn.ReLU()).eval()
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (torch.randn(2, 4),)), tmp_path / "net.pt2")
    model = load_model("net.pt2", batch=batch)
    captured = capture(model.module, model.example_inputs, name=model.name)
    assert model.name == "net"
    assert [op.target for op in captured.graph.operators] == ["aten.linear.default", "aten.relu.default"]
    assert eager_difference(captured, module, model.example_inputs) == 0


def test_artifact_folder(tmp_path: Path) -> None:
    captured = load_captured("my_factories:pair")
    captured.save(tmp_path / "saved")
    assert load_captured("saved").graph == captured.graph
    with pytest.raises(UserError, match="capture the model again"):
        load_captured("saved", batch=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no graph\.json in it"):
        load_captured("empty")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet21", "no model 'resnet21'"),
        ("no_such_package.module:f", "No module named 'no_such_package'"),
        ("my_factories:nope", "no attribute 'nope'"),
        ("my_factories:number", "a int is no factory"),
        ("my_factories:wrong", "returns an nn.Module"),
        ("my_factories:wrong_inputs", "returns an nn.Module"),
        ("my_factories:raises", "RuntimeError: no such luck at my_factories.py"),
        ("my_factories:bare", "--input"),
        ("nowhere.pt2", "no such file"),
        ("my_factories.pt2", "not a file of torch.export.save"),
    ],
)
def test_what_is_no_model(spec: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "my_factories.pt2").write_bytes(b"not a zip")
    with pytest.raises(UserError) as caught:
        load_captured(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_options() -> None:
    for text in ("", "3x", "axb:float32", "1x2:object", "1:2"):
        with pytest.raises(UserError, match="1x3x32x32:uint8"):
            load_model("my_factories:bare", inputs=[text])
    with pytest.raises(UserError, match="batch is at least 1"):
        load_model("resnet20", batch=0)
    with pytest.raises(UserError, match="leave --input out"):
        load_model("resnet20", inputs=["1x4"])
    with pytest.raises(UserError, match="unexpected keyword"):
        load_model("resnet20", options={"depth": 3})
    with pytest.raises(UserError, match="unexpected keyword"):
        load_model("my_factories:pair", options={"depth": 3})
