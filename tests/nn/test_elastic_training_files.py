"""Checkpoints that go on as if nothing had been, and the file of an elastic network's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch
from elastic_nets import ConvNet, conv_net, pictures

from airloom import zoo
from airloom.errors import ConfigError, ProfileMismatch
from airloom.nn.elastic.files import ElasticRecord, is_elastic, load_elastic, save_elastic
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.recipe import Recipe, Sandwich
from airloom.nn.elastic.training import TrainedElastic, train_elastic
from airloom.nn.models import LoadedModel
from airloom.planner.depths import FullOrLess, Uniform

X, Y = pictures(64)
TEST = pictures(40, seed=1)
LOADED = (torch.zeros(2, 3, 8, 8, dtype=torch.uint8),)


class _After:
    """Says stop after so many questions."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def _same(a: ElasticModel, b: ElasticModel) -> bool:
    state, other = a.state_dict(), b.state_dict()
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def _facts(trained: TrainedElastic) -> list[Any]:
    return [(e.loss, e.full_loss, e.lr, e.share, e.scores) for e in trained.history]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(policy=FullOrLess(full=0.5), epochs=3, batch=16, lr=0.05, augment="crop-flip", ema=0.8, recalibrate=2),
        Recipe(policy=Uniform(), sandwich=Sandwich(), epochs=3, batch=16, lr=1e-3, optimizer="adamw", recalibrate=0),
        Recipe(policy=Uniform(), epochs=3, batch=16, lr=0.05, precision="bf16", decay_all=False, shape="cosine"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stopped_after", [2, 4, 7])
def test_resuming_is_as_if_never_interrupted(tmp_path: Path, recipe: Recipe, stopped_after: int) -> None:
    """Within an epoch, between two, with dropout and everything that an optimiser keeps: bit for bit."""
    straight, checkpoint = conv_net(), tmp_path / "at.safetensors"
    wanted = train_elastic(straight, X, Y, recipe, test=TEST)
    first = train_elastic(conv_net(), X, Y, recipe, test=TEST, checkpoint=checkpoint, stop=_After(stopped_after))
    assert not first.is_finished
    assert len(first.history) == stopped_after // 4
    resumed = conv_net(seed=9)  # other weights: the checkpoint's are what counts
    found = train_elastic(resumed, X, Y, recipe, test=TEST, checkpoint=checkpoint, resume=True)
    assert found.is_finished
    assert _same(straight, resumed)
    assert _facts(found) == _facts(wanted)
    for depth in straight.order.depths:
        mine, others = resumed.statistics(depth), straight.statistics(depth)
        assert all(torch.equal(mine[name], others[name]) for name in others)


def test_resuming_what_has_ended_ends_again(tmp_path: Path) -> None:
    recipe, checkpoint = Recipe(epochs=1, batch=32, ema=0.5), tmp_path / "at.safetensors"
    model, again = conv_net(), conv_net(seed=2)
    train_elastic(model, X, Y, recipe, checkpoint=checkpoint)
    train_elastic(again, X, Y, recipe, checkpoint=checkpoint, resume=True)
    assert _same(model, again)


def test_without_a_checkpoint_resuming_begins(tmp_path: Path) -> None:
    trained = train_elastic(
        conv_net(), X, Y, Recipe(epochs=1, batch=32), checkpoint=tmp_path / "none.safetensors", resume=True
    )
    assert trained.is_finished


@pytest.mark.parametrize(
    ("changes", "samples", "options", "says"),
    [
        ({"lr": 0.2}, 64, {}, "trained with lr"),
        ({"policy": FullOrLess(full=0.1)}, 64, {}, "trained with policy"),
        ({}, 48, {}, "trained with 64 samples"),
        ({}, 64, {"depths": [2]}, "other depths"),
        ({}, 64, {"order": "groups"}, "other depths"),
    ],
)
def test_another_training_does_not_go_on(
    tmp_path: Path, changes: dict[str, Any], samples: int, options: dict[str, Any], says: str
) -> None:
    recipe, checkpoint = Recipe(epochs=2, batch=16), tmp_path / "at.safetensors"
    train_elastic(conv_net(), X, Y, recipe, checkpoint=checkpoint, stop=_After(1))
    model = conv_net(seed=4, **options)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = msgspec.structs.replace(recipe, **changes)
    with pytest.raises((ConfigError, ProfileMismatch), match=says):
        train_elastic(model, [X[0][:samples]], Y[:samples], other, checkpoint=checkpoint, resume=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("data", [b"", b"nothing", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 16])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    checkpoint = tmp_path / "at.safetensors"
    checkpoint.write_bytes(data)
    with pytest.raises(ConfigError, match="no checkpoint"):
        train_elastic(conv_net(), X, Y, Recipe(epochs=1, batch=16), checkpoint=checkpoint, resume=True)
    with pytest.raises(ConfigError):
        load_elastic(checkpoint, LoadedModel(ConvNet(), LOADED, "convnet"))
    assert not is_elastic(checkpoint)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    recipe, checkpoint = Recipe(epochs=2, batch=16), tmp_path / "at.safetensors"
    train_elastic(conv_net(), X, Y, recipe, checkpoint=checkpoint, stop=_After(1))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(ConfigError, match="no checkpoint"):
        train_elastic(conv_net(), X, Y, recipe, checkpoint=checkpoint, resume=True)


# --- the weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["back", "groups"])
def test_weights_come_back_with_the_statistics_of_each_depth(tmp_path: Path, order: Any) -> None:
    recipe = Recipe(epochs=1, batch=16, lr=0.05, recalibrate=2)
    model, path = conv_net(order=order, depths=[1, 3]), tmp_path / "w.safetensors"
    trained = train_elastic(model, X, Y, recipe)
    model.load_statistics(1, {name: tensor + 1 for name, tensor in model.statistics(1).items()})
    record = ElasticRecord(model="convnet", options={"blocks": 4}, recipe=recipe, history=trained.history)
    save_elastic(path, model, record)
    assert is_elastic(path)
    found, read = load_elastic(path, LoadedModel(ConvNet(), LOADED, "convnet"))
    assert read == record
    assert found.order == model.order
    assert _same(found, model)
    x = torch.from_numpy(X[0])
    for depth in model.order.depths:
        with torch.no_grad(), model.at(depth), found.at(depth):
            assert torch.equal(model(x), found(x))


def test_what_takes_weights_takes_these(tmp_path: Path) -> None:
    model, path = conv_net(), tmp_path / "w.safetensors"
    train_elastic(model, X, Y, Recipe(epochs=1, batch=16, recalibrate=1))
    save_elastic(path, model)
    plain = zoo.load_weights(ConvNet(), path).eval()
    x = torch.from_numpy(X[0])
    with torch.no_grad():
        assert torch.equal(plain(x), model.eval()(x))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_elastic(path, conv_net())
    with pytest.raises(ProfileMismatch, match="trained with 4 blocks, other has 3"):
        load_elastic(path, LoadedModel(ConvNet(blocks=3), LOADED, "other"))
    with pytest.raises(ProfileMismatch, match="is not as other has it"):
        load_elastic(path, LoadedModel(ConvNet(maps=4), LOADED, "other"))
    ordinary = tmp_path / "o.safetensors"
    safetensors.torch.save_file(ConvNet().state_dict(), ordinary)
    assert not is_elastic(ordinary)
    with pytest.raises(ConfigError, match="ordinary network"):
        load_elastic(ordinary, LoadedModel(ConvNet(), LOADED, "convnet"))
