"""Elastic models: any depth of a module runs, and the module stays what it was."""

from __future__ import annotations

import copy

import pytest
import torch
from block_nets import Chain, Encoder, Mobile, pictures, rows
from torch import nn

from airloom import zoo
from airloom.core.depth import DepthOrder, depth_order
from airloom.errors import ConfigError
from airloom.nn.elastic import Blocks, ElasticModel, elastic, find_blocks, recalibrate

CHAIN = find_blocks(Chain(), rows())


def _chain(order: DepthOrder | None = None) -> ElasticModel:
    return ElasticModel(Chain(), CHAIN, order)


@pytest.fixture(scope="module")
def resnet() -> Blocks:
    return find_blocks(zoo.build("resnet20", "random", width=2), zoo.example_inputs("resnet20", 2))


def _resnet(blocks: Blocks) -> ElasticModel:
    order = depth_order("groups", blocks.groups)
    return ElasticModel(zoo.build("resnet20", "random", width=2), blocks, order)


def test_each_depth_is_the_network_without_the_other_blocks() -> None:
    model, x = _chain(depth_order("back", CHAIN.groups, depths=(0, 1, 2))), rows(4)[0]
    inner = model.module
    assert isinstance(inner, Chain)
    for depth in (0, 1, 2, 3):
        model.set_depth(depth)
        y = inner.first(x)
        for layer in list(inner.middle)[:depth]:
            y = y + layer.two(layer.one(y).relu())
        assert torch.equal(model(x), inner.last(y))
        assert torch.equal(inner(x), model(x))
        assert model.depth == depth
        assert [block.name for block in model.running()] == [f"middle.{k}" for k in range(depth)]


def test_groups_keep_as_many_blocks_each(resnet: Blocks) -> None:
    model = _resnet(resnet)
    assert model.order.depths == (3, 6, 9)
    assert [block.name for block in model.running(6)] == [f"groups.{g}.{k}" for g in range(3) for k in range(2)]


def test_the_whole_model_is_the_module_itself() -> None:
    model = _chain()
    model.set_depth(1)
    model.set_depth(3)
    for module in model.module.modules():
        assert "forward" not in module.__dict__
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_left_out_blocks_do_not_run_and_get_no_gradient() -> None:
    model = _chain()
    ran: list[str] = []
    for name, module in model.module.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model.train()
    with model.at(1):
        model(rows()[0]).sum().backward()
    assert ran == ["first", "middle.0.one", "middle.0.two", "last"]
    trained = {name for name, p in model.module.named_parameters() if p.grad is not None}
    assert trained == {f"{layer}.{kind}" for layer in ran for kind in ("weight", "bias")}
    assert model.depth == 3


def test_depth_comes_back_after_an_error() -> None:
    model = _chain()
    with pytest.raises(RuntimeError), model.at(2):
        raise RuntimeError
    assert model.depth == 3
    with pytest.raises(ConfigError, match="no depth 0"):
        model.set_depth(0)
    assert model.depth == 3


@pytest.mark.parametrize("depth", [3, 9])
def test_state_dicts_are_those_of_the_module(resnet: Blocks, depth: int) -> None:
    model = _resnet(resnet)
    plain = zoo.build("resnet20", "random", width=2, seed=1)
    recalibrate(model, [zoo.example_inputs("resnet20", 8)], (3,))
    model.set_depth(depth)
    before = model.statistics(3)["bn1.running_mean"].clone()
    model.load_state_dict(plain.state_dict())
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in model.state_dict().items())
    assert torch.equal(model.statistics(3)["bn1.running_mean"], before)
    assert torch.equal(model.statistics(9)["bn1.running_mean"], plain.state_dict()["bn1.running_mean"])
    fresh = zoo.build("resnet20", "random", width=2)
    fresh.load_state_dict(model.state_dict())
    x = zoo.example_inputs("resnet20", 2)[0]
    with model.at(9):
        assert torch.equal(model.eval()(x), fresh(x))


def test_every_key_is_in_one_part(resnet: Blocks) -> None:
    model = _resnet(resnet)
    parts = model.part_keys()
    assert len(parts) == 1 + 9
    assert sorted(key for part in parts for key in part) == sorted(model.state_dict())
    assert {key.split(".")[0] for key in parts[0]} - {"pixels"} == {"conv1", "bn1", "fc"}
    assert all(key.startswith("groups.1.0.") for key in parts[4])
    assert len(parts[4]) == 12


def test_parts_of_a_run_of_modules() -> None:
    model = elastic(zoo.build("vgg11", "random", width=2), zoo.example_inputs("vgg11", 2))
    assert model.part_keys()[1][:2] == ("features.11.weight", "features.12.weight")
    assert len(model.part_keys()[1]) == 6


def test_copies_stand_alone(resnet: Blocks) -> None:
    model, x = _resnet(resnet).eval(), zoo.example_inputs("resnet20", 2)[0]
    recalibrate(model, [zoo.example_inputs("resnet20", 8)], (3,))
    model.set_depth(3)
    expected = model(x)
    other = copy.deepcopy(model)
    assert torch.equal(other(x), expected)
    other.set_depth(9)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
        for b in other.buffers():
            b.zero_()
    assert torch.equal(model(x), expected)
    assert model.depth == 3


def test_twins_share_weights_and_not_the_depth(resnet: Blocks) -> None:
    model, x = _resnet(resnet).eval(), zoo.example_inputs("resnet20", 2)[0]
    model.set_depth(3)
    expected = model(x)
    twin = model.twin()
    assert {id(p) for p in twin.parameters()} == {id(p) for p in model.parameters()}
    twin.set_depth(9)
    recalibrate(twin, [zoo.example_inputs("resnet20", 8, seed=3)], (3, 9))
    assert torch.equal(model(x), expected)
    assert model.statistics_depths == ()
    whole = twin(x)
    with model.at(9):
        assert not torch.equal(model(x), whole)


def test_inference_tensors_and_other_types() -> None:
    model = _chain().double()
    model.set_depth(1)
    with torch.inference_mode():
        assert model(rows()[0].double()).dtype == torch.float64
    model.float()
    assert model.depth == 1
    assert model(rows()[0]).dtype == torch.float32


def test_transformers_in_train_mode_and_by_the_fast_path() -> None:
    model = elastic(Encoder(), rows(2, 5, 6), depths=(1, 2))
    [x] = rows(3, 5, 6)
    for depth in (1, 2, 3):
        model.set_depth(depth)
        model.train()
        model(x).sum().backward()
        model.eval()
        slow = model(x)
        with torch.inference_mode():
            torch.testing.assert_close(model(x), slow)


def test_adapters_are_part_of_the_base() -> None:
    model = elastic(Mobile(), pictures(), adapters=True)
    key = "adapters.features-2.weight"
    assert key in model.part_keys()[0]
    assert [k for k in model.state_dict() if k.startswith("adapters.")] == [key, "adapters.features-4.weight"]
    [x] = pictures(3)
    with model.at(1):
        before = model.eval()(x)
        changed = {k: v + 1 if k == key else v for k, v in model.state_dict().items()}
        model.load_state_dict(changed)
        assert not torch.allclose(model(x), before)
        model(x).sum().backward()
    assert model.adapters["features-2"].weight.grad is not None
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(model.module.state_dict())
    twin = model.twin()
    assert twin.adapters["features-2"] is not model.adapters["features-2"]
    assert twin.adapters["features-2"].weight is model.adapters["features-2"].weight


def test_a_module_that_has_adapters_of_its_own_takes_none() -> None:
    net = Mobile()
    found = find_blocks(net, pictures(), adapters=True)
    net.adapters = nn.Identity()
    with pytest.raises(ConfigError, match="rename"):
        ElasticModel(net, found)


def test_orders_and_modules_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="2 blocks for a network of 3"):
        _chain(depth_order("back", (0, 0)))
    with pytest.raises(ConfigError, match=r"has no module 'middle\.0'"):
        ElasticModel(nn.Linear(6, 3), CHAIN)
