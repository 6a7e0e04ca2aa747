"""Multiply-accumulates against counts by hand and the literature."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from airloom import zoo
from airloom.nn.capture import capture


class Function(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.function(*x)  # type: ignore[operator, no-any-return]


def _macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    graph = capture(module, tuple(torch.randn(s) for s in shapes), name="m").graph
    return sum(op.macs for op in graph.operators)


def _count(function: object, *shapes: tuple[int, ...]) -> int:
    return _macs(Function(function), *shapes)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: _macs(nn.Conv2d(6, 8, 3, 2, 1, groups=2), (2, 6, 8, 8)), 2 * 8 * 4 * 4 * 3 * 9),
        (lambda: _macs(nn.Conv1d(3, 4, 5), (1, 3, 9)), 4 * 5 * 3 * 5),
        (lambda: _macs(nn.ConvTranspose2d(3, 4, 2, 2), (1, 3, 5, 5)), 3 * 25 * 4 * 4),
        (lambda: _macs(nn.Linear(7, 5), (3, 2, 7)), 3 * 2 * 7 * 5),
        (lambda: _count(torch.matmul, (2, 3, 4), (4, 5)), 2 * 3 * 4 * 5),
        (lambda: _count(torch.bmm, (2, 3, 4), (2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: _count(torch.addmm, (5,), (3, 4), (4, 5)), 3 * 4 * 5),
        (lambda: _count(torch.addbmm, (3, 5), (2, 3, 4), (2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: _count(torch.mv, (3, 4), (4,)), 12),
        (lambda: _count(lambda a, b: torch.einsum("bij,bjk->bik", a, b), (2, 3, 4), (2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: _count(lambda a, b: torch.einsum("...ij,jk->...ik", a, b), (2, 7, 3, 4), (4, 5)), 14 * 3 * 4 * 5),
        (lambda: _macs(nn.GRUCell(3, 4), (2, 3), (2, 4)), 2 * (12 * 3 + 12 * 4)),
        (lambda: _macs(nn.LSTM(3, 4, batch_first=True), (2, 5, 3)), 2 * 5 * (16 * 3 + 16 * 4)),
        (lambda: _count(F.scaled_dot_product_attention, (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)), 2 * 3 * 5 * 10),
        (lambda: _count(lambda a: a.relu() + 1, (4,)), 0),
        # He et al. 4.2: a stem of 3 -> 16 maps, 18 convolutions of equal cost of which the first of the
        # second and third group halve their maps and have half as many inputs, and the last layer.
        (lambda: _macs_zoo("resnet20"), 442_368 + 18 * 2_359_296 - 2 * 1_179_648 + 640),
        (lambda: _macs_zoo("vgg11"), 152_769_536),
    ],
)  # fmt: skip
def test_macs(found: object, expected: int) -> None:
    assert found() == expected  # type: ignore[operator]


def _macs_zoo(name: str) -> int:
    graph = capture(zoo.build(name, "random"), zoo.example_inputs(name), name=name).graph
    return sum(op.macs for op in graph.operators)
