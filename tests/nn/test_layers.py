"""Kinds of layers: modules and shapes agree on networks of the usual kinds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from airloom.nn.layers import layer_kinds


class OwnNorm(nn.Module):
    """A norm that is none of torch's, with names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.register_buffer("seen", torch.tensor(0))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.second = nn.BatchNorm2d(6)
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.own = OwnNorm()
        self.block = nn.Sequential(nn.Conv1d(6, 6, 1, bias=False), nn.GroupNorm(2, 6), nn.LayerNorm(6))
        self.gates = nn.ModuleList([nn.GRUCell(6, 8), nn.LSTMCell(8, 8), nn.RNN(8, 8, num_layers=2)])
        self.head = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.ones(()))


EXPECTED = {
    "first": "convolution", "second": "norm", "plain": "norm", "own": "norm", "block.0": "convolution",
    "block.1": "norm", "block.2": "norm", "gates.0": "recurrent", "gates.1": "recurrent", "gates.2": "recurrent",
    "head": "linear", "": "other",
}  # fmt: skip


@pytest.mark.parametrize("knows", [True, False])
def test_kinds_by_module_and_by_shape(knows: bool) -> None:
    model = Network()
    state = model.state_dict()
    kinds = layer_kinds(state, model if knows else None)
    assert list(kinds) == list(state)
    assert kinds == {key: EXPECTED[key.rpartition(".")[0]] for key in state}


def test_a_module_is_believed_before_its_shapes() -> None:
    model = nn.Sequential(nn.Embedding(10, 3), nn.LayerNorm((3, 4)))
    kinds = layer_kinds(model.state_dict(), model)
    assert kinds == {"0.weight": "other", "1.weight": "norm", "1.bias": "norm"}
    assert layer_kinds(model.state_dict())["0.weight"] == "linear"  # a matrix is all that shapes show


def test_a_network_under_another_name() -> None:
    """A wrapper's prefix hides the modules' names; shapes tell then."""
    model = Network()
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    assert layer_kinds(state, model)["module.second.running_var"] == "norm"
