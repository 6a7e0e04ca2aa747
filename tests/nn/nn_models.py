"""Small modules, each with one trait that capture must get right; most are named after it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Applies `function(self, x)` and has weights, buffers and layers for it to use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.register_buffer("count", torch.zeros(4))

    def forward(self, *x: Tensor) -> Any:
        return self.function(self, *x)


class Residual(nn.Module):
    """One residual block."""

    def __init__(self, maps: int = 4, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(maps, maps, 3, stride, padding)
        self.two = nn.Conv2d(maps, maps, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        return F.relu(self.two(y)) + y


class AsksItsData(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


Pair = namedtuple("Pair", "first second")


def _in_place(m: Plain, x: Tensor) -> Tensor:
    y = x * 2
    y.relu_()
    y[:, 0] = 3
    return y


def _alias(m: Plain, x: Tensor) -> tuple[Tensor, Tensor]:
    y = x.view(2, 2)
    z = y.relu()
    return z + y.t(), x + 1


def _no_grad(m: Plain, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.linear(x)
    return y.detach() + 1


def _parts(m: Plain, x: Tensor) -> tuple[Tensor, ...]:
    a, b = x.chunk(2, 1)
    c, d = (x * 2).chunk(2, 1)
    return a + c, b + d, x


def _attention(m: Plain, x: Tensor) -> Tensor:
    q = m.linear(x).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    return F.scaled_dot_product_attention(q, q, q, is_causal=True)


def _masked(m: Plain, x: Tensor) -> Tensor:
    mask = torch.ones(4, 4).triu(1).bool()
    return x.masked_fill(mask[0], float("-inf")).softmax(-1)


def _self_attention(m: Plain, x: Tensor) -> Tensor:
    # As nn.MultiheadAttention does: the last view fits the strides that torch's own attention gives, and no others.
    y = m.linear(x.expand(3, 4))
    q = y.view(3, 1, 2, 2).permute(1, 2, 0, 3)
    return F.scaled_dot_product_attention(q, q, q).permute(2, 0, 1, 3).view(3, 4)


# Each with the targets of the operators it becomes.
CAPTURED: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "structure": (lambda m, x: {"y": x * 2, "none": None, "z": [x + 1, (x,)]}, ["mul.Tensor", "add.Tensor"]),
    "named tuple": (lambda m, x: Pair(x + 1, x), ["add.Tensor"]),
    "identity": (lambda m, x: x, []),
    "twice the same": (lambda m, x: [x.relu()] * 2, ["relu.default"]),
    "alias": (_alias, ["relu.default", "add.Tensor", "add.Tensor"]),
    "in place": (_in_place, ["mul.Tensor", "relu.default", "fill.Tensor", "select_scatter.default"]),
    "constants": (lambda m, x: (x + torch.arange(4), torch.arange(4) * 2), ["add.Tensor", "mul.Tensor"]),
    "constant tensor": (lambda m, x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]), ["mul.Tensor"]),
    "gru": (lambda m, x: m.gru(x.unsqueeze(0))[0], ["gru.input"]),
    "no grad": (_no_grad, ["linear.default", "add.Tensor"]),
    "attention": (_attention, ["linear.default", "scaled_dot_product_attention.default"]),
    "self attention": (
        _self_attention, ["linear.default", "scaled_dot_product_attention.default", "view.default"],
    ),
    "tuple": (lambda m, x: torch.sort(x), ["sort.default"]),
    "second of a tuple": (lambda m, x: x.max(1)[1], ["max.dim"]),
    "parts": (_parts, ["mul.Tensor", "split.Tensor", "add.Tensor", "add.Tensor"]),
    "dropout": (
        lambda m, x: m.dropout(x) + m.norm(x), ["_native_batch_norm_legit_no_training.default", "add.Tensor"],
    ),
    "infinity": (_masked, ["masked_fill.Scalar", "softmax.int"]),
    "empty": (lambda m, x: (x[:, :0], x + 1), ["slice.Tensor", "add.Tensor"]),
    "einsum": (lambda m, x: torch.einsum("bi,ji->bj", x, m.linear.weight), ["einsum.default"]),
    "half": (lambda m, x: x.bfloat16().half(), ["_to_copy.default", "_to_copy.default"]),
    "one weight twice": (lambda m, x: F.linear(m.linear(x), m.linear.weight), ["linear.default", "linear.default"]),
    "truth": (lambda m, x: (x > 0).all(), ["gt.Scalar", "all.default"]),
    "index": (lambda m, x: x[:, torch.tensor([1, 1])], ["index.Tensor"]),
    "split weight": (
        lambda m, x: x * m.linear.weight.chunk(2)[1][0] + m.linear.bias.exp(), ["mul.Tensor", "add.Tensor"],
    ),
}  # fmt: skip

# Each with words of the one line that says why not.
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "item": (lambda m, x: x * x.max().item(), "not known before the model runs"),
    "shape from data": (lambda m, x: x[x > 0], "depend on the data"),
    "shapes that do not fit": (lambda m, x: x @ torch.ones(5, 5), "reduction dim"),
    "numpy": (lambda m, x: torch.from_numpy(x.numpy()), "numpy"),
    "random": (lambda m, x: x + torch.rand(4), "random"),
    "dropout that is on": (lambda m, x: F.dropout(x, 0.5, True), "random"),
    "returns a number": (lambda m, x: (x + 1, 3), "returns 3 (int)"),
    "returns text": (lambda m, x: "a", "returns 'a' (str)"),
    "returns nothing": (lambda m, x: None, "returns no tensor"),
    "changes its input": (lambda m, x: x.add_(1) * 2, "in place"),
    "changes a buffer": (lambda m, x: x + m.count.add_(1), "changes its buffer 'count'"),
    "returns a weight": (lambda m, x: m.linear.weight, "returns its weight 'linear.weight'"),
    "conditional": (lambda m, x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)), "control flow"),
    "as_strided": (lambda m, x: torch.as_strided(x, (2, 2), (1, 1)), "aten.as_strided.default"),
    "raises": (lambda m, x: x.view(3), "nn_models.py"),
}
