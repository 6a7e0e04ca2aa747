"""Which blocks of a network are found."""

from __future__ import annotations

import pytest
import torch
from block_nets import (
    Branches,
    Chain,
    Decoder,
    Encoder,
    Gated,
    Mobile,
    Patches,
    Perceptron,
    Residual,
    Staged,
    Tied,
    pictures,
    rows,
)
from torch import Tensor, nn

from airloom import zoo
from airloom.core.depth import block_modules
from airloom.errors import ConfigError, UserError
from airloom.nn.capture import capture
from airloom.nn.elastic import Blocks, ElasticModel, find_blocks


def _names(blocks: Blocks) -> list[str]:
    return [block.name for block in blocks.blocks]


def _kinds(blocks: Blocks) -> list[str]:
    return [place.skip.kind for place in blocks.graph.blocks]


def test_residual_networks_skip_through_their_own_shortcut() -> None:
    model = zoo.build("resnet20", "random", width=4)
    blocks = find_blocks(model, zoo.example_inputs("resnet20", 2))
    assert _names(blocks) == [f"groups.{g}.{k}" for g in range(3) for k in range(3)]
    assert blocks.groups == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert _kinds(blocks) == ["identity"] * 3 + ["own", "identity", "identity"] * 2
    shortcut = blocks.graph.blocks[3].skip
    # Option A of He et al. 4.2: every other pixel, then zeros.
    assert [op.target for op in shortcut.operators] == ["aten.slice.Tensor", "aten.slice.Tensor", "aten.pad.default"]
    x = torch.rand(3, 4, 32, 32)
    elastic = ElasticModel(model, blocks)
    block = model.get_submodule("groups.1.0")
    elastic.set_depth(1)
    assert torch.equal(block(x), model.get_submodule("groups.1.0.shortcut")(x))


def test_costs_are_those_of_one_sample() -> None:
    model, inputs = Staged(), pictures(3)
    captured = capture(model, inputs, name="staged")
    blocks = find_blocks(model, inputs, captured=captured).blocks
    # 1x1, 3x3 and 1x1 convolutions over 8x8 pixels, with a batch norm each.
    macs, parameters = 64 * (8 * 4 + 9 * 4 * 4 + 4 * 8), 8 * 4 + 9 * 4 * 4 + 4 * 8 + 2 * (4 + 4 + 8)
    assert (blocks[0].macs, blocks[0].parameters) == (macs, parameters)
    total = sum(op.macs for op in captured.graph.operators) // 3
    assert sum(block.macs for block in blocks) == total - 64 * 3 * 8 - 16 * 8 * 16 * 4 - 16 * 3


@pytest.mark.parametrize(
    ("name", "options", "kinds"),
    [
        ("resnet18", {"width": 4}, ["identity", "identity"] + ["pool", "identity"] * 3),
        ("wrn28_10", {"width": 2}, ["pool", *["identity"] * 3] * 3),
        ("rcnn", {"width": 4, "size": 64}, ["identity", "identity"] + ["pool", "identity"] * 2),
    ],
)
def test_projections_are_left_out_by_pooling(name: str, options: dict[str, int], kinds: list[str]) -> None:
    blocks = find_blocks(zoo.build(name, "random", **options), zoo.example_inputs(name, 2, **options))
    assert _kinds(blocks) == kinds


@pytest.mark.parametrize(
    ("model", "reason"), [(Branches(), "a: is a branch"), (Gated(), "layers.0: takes several tensors of one form")]
)
def test_a_layer_beside_a_shortcut_is_none_by_itself(model: nn.Module, reason: str) -> None:
    # x + layer(x) without the layer would be twice x.
    with pytest.raises(UserError, match=reason):
        find_blocks(model, rows())


def test_plain_layers_take_their_norms_and_activations_with_them() -> None:
    model = zoo.build("vgg11", "random", width=4)
    blocks = find_blocks(model, zoo.example_inputs("vgg11", 2))
    assert _names(blocks) == ["features.11-13", "features.18-20", "features.22-24", "features.25-27"]
    assert blocks.groups == (0, 1, 2, 2)
    assert block_modules("features.11-13") == ("features.11", "features.12", "features.13")
    assert "features.4" in blocks.reasons
    elastic = ElasticModel(model, blocks)
    elastic.set_depth(1)
    x = torch.randn(2, 32, 2, 2)
    for k in (22, 23, 24, 25, 26, 27):
        assert model.get_submodule(f"features.{k}")(x) is x


@pytest.mark.parametrize("before", [False, True])
def test_transformer_layers(before: bool) -> None:
    blocks = find_blocks(Encoder(before=before), rows(2, 5, 6))
    assert _names(blocks) == ["layers.layers.0", "layers.layers.1", "layers.layers.2"]
    assert blocks.groups == (0, 0, 0)


def test_layers_with_a_second_input_are_told_apart_by_their_lengths() -> None:
    blocks = find_blocks(Decoder(), (*rows(2, 5, 6), *rows(2, 4, 6)))
    assert _names(blocks) == ["layers.layers.0", "layers.layers.1"]
    with pytest.raises(UserError, match="examples of different lengths"):
        find_blocks(Decoder(), (*rows(2, 5, 6), *rows(2, 5, 6)))


def test_layers_of_a_perceptron_but_the_first_and_the_last() -> None:
    assert _names(find_blocks(Perceptron(), rows())) == ["b", "c"]
    flat = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    assert _names(find_blocks(flat, rows())) == ["2-3"]


def test_the_outermost_that_repeats_and_not_what_is_in_it() -> None:
    blocks = find_blocks(Staged(), pictures())
    assert _names(blocks) == [f"stages.{s}.blocks.{k}" for s, count in ((0, 2), (1, 3)) for k in range(count)]


def test_blocks_without_shortcuts_among_those_that_have_them() -> None:
    blocks = find_blocks(Mobile(), pictures())
    assert _names(blocks) == [f"features.{k}" for k in (1, 2, 3, 4)]
    assert _kinds(blocks) == ["identity", "pool", "identity", "pool"]
    assert blocks.groups == (0, 1, 1, 2)


def test_inputs_by_keyword_and_outputs_on_the_way() -> None:
    blocks = find_blocks(Chain(early=True), rows())
    assert _names(blocks) == ["middle.0", "middle.1", "middle.2"]
    assert blocks.keywords == ("x", "x", "x")


def test_shared_weights_and_repeated_calls_are_no_blocks() -> None:
    blocks = find_blocks(Tied(), rows())
    assert _names(blocks) == ["c"]
    assert blocks.reasons["a"] == blocks.reasons["b"] == "shares weights with others"
    assert blocks.reasons["d"] == "runs 2 times"


def test_views_at_the_entrance_are_no_blocks() -> None:
    blocks = find_blocks(Patches(), pictures())
    assert _names(blocks) == ["layers.1", "layers.2"]
    assert "view" in blocks.reasons["layers.0"]


def test_a_network_of_nothing_but_blocks() -> None:
    torch.manual_seed(0)
    assert _names(find_blocks(nn.Sequential(*[Residual(6) for _ in range(3)]), rows())) == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["gru_tagger", "qmix_agent"])
def test_nothing_to_leave_out(name: str) -> None:
    options = {"steps": 3} if name == "gru_tagger" else {}
    with pytest.raises(UserError, match="no block that could be left out") as caught:
        find_blocks(zoo.build(name, **options), zoo.example_inputs(name, 2, **options))
    assert "\n" not in str(caught.value)


def test_one_layer_is_no_network_of_blocks() -> None:
    with pytest.raises(UserError, match="no block"):
        find_blocks(nn.Linear(6, 6), rows())


def test_modes_and_hooks_are_left_as_they_were() -> None:
    model = Encoder()
    model.layers.eval()
    before = [(m, m.training, len(m._forward_hooks)) for m in model.modules()]
    find_blocks(model, rows(2, 5, 6))
    assert [(m, m.training, len(m._forward_hooks)) for m in model.modules()] == before


def test_a_model_that_runs_in_part_says_so() -> None:
    model = Chain()
    ElasticModel(model, rows()).set_depth(1)
    with pytest.raises(ConfigError, match="smaller depth"):
        find_blocks(model, rows())


def test_a_block_names_a_run_of_modules_forwards() -> None:
    assert block_modules("a.b") == ("a.b",)
    assert block_modules("2-4") == ("2", "3", "4")
    with pytest.raises(ConfigError, match="no run"):
        block_modules("features.13-11")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 6)
        self.a, self.b = Residual(6), Residual(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.first(x))).half().float()


def test_adapters_only_where_dimensions_differ() -> None:
    assert _kinds(find_blocks(Twice(), rows(), adapters=True)) == ["identity", "identity"]
    blocks = find_blocks(Mobile(), pictures(), adapters=True)
    assert _kinds(blocks) == ["identity", "adapter", "identity", "adapter"]
    assert [p.name for p in blocks.graph.blocks[1].skip.parameters] == ["adapters.features-2.weight"]
