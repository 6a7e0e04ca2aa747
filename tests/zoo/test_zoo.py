"""The zoo: networks as published, weights, inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from airloom import zoo
from airloom.errors import UserError

# Parameters without buffers. He et al. 4.2 (0.27, 0.46, 0.85, 1.7 M), Zagoruyko & Komodakis Table 5 (36.5 M);
# ResNet-18 and VGG-11 in the CIFAR form that the field uses (11.17 and 9.2 M).
PARAMETERS = {
    "resnet18": 11_173_962,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "vgg11": 9_228_362,
    "wrn28_10": 36_479_194,
}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_size_is_the_published_one(name: str) -> None:
    model = zoo.build(name, "random")
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert not model.training


@pytest.mark.parametrize("name", sorted(zoo.IMAGE_MODELS))
def test_classes_and_width(name: str) -> None:
    width = 1 if name == "wrn28_10" else 4
    model = zoo.build(name, num_classes=7, width=width)
    [x] = zoo.example_inputs(name, 2)
    assert x.dtype == torch.uint8
    assert x.shape == (2, 3, 32, 32)
    with torch.no_grad():
        assert model(x).shape == (2, 7)


def test_pixels_are_normalised_inside() -> None:
    """Pixels of the data set's mean come out as zeros (to one part in 255)."""
    model = zoo.build("resnet20", "random")
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).mul(255).round().to(torch.uint8).view(1, 3, 1, 1)
    assert model.pixels(mean.expand(1, 3, 2, 2)).abs().max() < 0.01  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("tokens", [0, 11])
def test_gru_tagger_is_the_recurrence(tokens: int) -> None:
    options = {"steps": 5, "hidden": 6, "features": 3, "num_tags": 2, "tokens": tokens}
    model = zoo.build("gru_tagger", **options)
    [x] = zoo.example_inputs("gru_tagger", 2, **options)
    with torch.no_grad():
        found = model(x)
        gru = torch.nn.GRU(3, 6, batch_first=True)
        cell = model.cell.state_dict()  # type: ignore[operator, union-attr]
        gru.load_state_dict({f"{k}_l0": v for k, v in cell.items()})
        states, _ = gru(model.embedding(x) if tokens else x)  # type: ignore[operator]
        torch.testing.assert_close(found, model.tag(states))  # type: ignore[operator]
    assert found.shape == (2, 5, 2)


def test_random_weights_follow_the_seed_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (zoo.build("resnet20", "random", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])


def test_example_inputs_follow_the_seed_alone() -> None:
    a, b, c = (zoo.example_inputs("vgg11", 2, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_half_precision_weights_load(tmp_path: Path) -> None:
    source = zoo.build("resnet20", "random", seed=3).half()
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    model = zoo.build("resnet20", path)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[key].to(tensor.dtype))
    assert model.conv1.weight.dtype == torch.float32  # type: ignore[union-attr]


def test_wrong_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = zoo.build("resnet20", "random").state_dict()
    cases = {
        "lacks weight 'fc.bias'": {k: v for k, v in state.items() if k != "fc.bias"},
        "unknown weight 'more'": state | {"more": torch.zeros(1)},
        "shape": state | {"fc.bias": torch.zeros(3)},
    }
    for words, weights in cases.items():
        safetensors.torch.save_file(weights, path)
        with pytest.raises(UserError, match=words):
            zoo.build("resnet20", path)
    path.write_bytes(b"PK not safetensors")
    with pytest.raises(UserError, match="not safetensors"):
        zoo.build("resnet20", path)
    with pytest.raises(UserError, match="cannot read"):
        zoo.build("resnet20", tmp_path / "nowhere")


def test_bad_names_and_options() -> None:
    with pytest.raises(UserError, match="no model 'resnet21' in the zoo"):
        zoo.build("resnet21")
    with pytest.raises(UserError, match="no model"):
        zoo.example_inputs("resnet21")
    with pytest.raises(UserError, match="unexpected keyword"):
        zoo.build("resnet20", depth=3)
    with pytest.raises(UserError, match="at least 1"):
        zoo.build("gru_tagger", steps=0)
    for options in ({"num_classes": -1}, {"width": 0}):
        with pytest.raises(UserError, match="at least 1"):
            zoo.build("resnet20", **options)
    with pytest.raises(UserError, match="batch"):
        zoo.example_inputs("resnet20", 0)
    with pytest.raises(UserError, match="no weights are bundled for gru_tagger"):
        zoo.build("gru_tagger", "bundled")


def test_test_images() -> None:
    images, labels = zoo.test_images()
    assert images.shape == (500, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.shape == (500,)
    assert set(labels.tolist()) == set(range(10))
    assert images.std() > 30


@pytest.mark.parametrize("name", sorted(n for n in zoo.MODELS if zoo.bundled_weights(n) is not None))
def test_bundled_weights_are_as_accurate_as_recorded(name: str) -> None:
    record = zoo.weights_record(name)
    assert record is not None
    images, labels = zoo.test_images()
    model = zoo.build(name)
    with torch.no_grad():
        found = model(torch.from_numpy(images)).argmax(1).numpy()
    # 500 of the 10,000 images: within three standard deviations of the recorded accuracy.
    accuracy = record["test_accuracy"]
    assert abs((found == labels).mean() - accuracy) < 3 * (accuracy * (1 - accuracy) / 500) ** 0.5
