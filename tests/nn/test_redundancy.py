"""Redundancy branches read off a graph: where there is one, and what it says."""

from __future__ import annotations

import math

import pytest
import torch
from layered import Layers
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.nn.branch import Branch
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.redundancy import find_branch


def _captured(*after: nn.Module, size: int = 4) -> Captured:
    return capture(Layers(*after).eval(), (torch.randn(1, 2, size, size),), name="layers")


def _branch(*after: nn.Module, size: int = 4) -> Branch | None:
    captured = _captured(*after, size=size)
    return find_branch(captured, 1, captured.graph.live_set(1)[0])


def _norm(weight: list[float], bias: list[float]) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(2, eps=0.0)
    norm.weight.data, norm.bias.data = torch.tensor(weight), torch.tensor(bias)
    return norm


def test_thresholds_follow_batch_norm() -> None:
    branch = _branch(_norm([2.0, -1.0], [-1.0, 0.25]), nn.ReLU())
    assert branch is not None
    assert branch.pool is None
    # 2 x - 1 > 0 above 0.5; 0.25 - x > 0 below 0.25.
    assert branch.edge.tolist() == pytest.approx([0.5, 0.25])
    assert branch.sign.tolist() == [1, -1]
    x = torch.tensor([0.4, 0.6]).expand(2, 2).T.expand(1, 2, 2, 2).contiguous()
    assert branch.keep(x)[0].tolist() == [[[False, False], [True, True]], [[False, False], [False, False]]]
    assert branch.keep(x - 0.4)[0, 1].all()


def test_a_map_without_scale_is_never_sent() -> None:
    branch = _branch(_norm([0.0, 1.0], [0.3, 0.0]), nn.ReLU())
    assert branch is not None
    assert branch.threshold[0] == math.inf
    assert branch.keep(torch.randn(3, 2, 4, 4))[:, 0].sum() == 0


def test_one_element_of_a_window_is_kept() -> None:
    branch = _branch(nn.ReLU(), nn.MaxPool2d(2))
    assert branch is not None
    x = torch.tensor([[1.0, 2.0, -1.0, -2.0], [0.5, 1.5, -3.0, -1.0]])
    assert branch.keep(x.expand(1, 2, 2, 4))[0, 0].tolist() == [[False, True, False, False], [False] * 4]


def test_pooling_without_activation_keeps_the_greatest_of_every_window() -> None:
    branch = _branch(nn.MaxPool2d(2))
    assert branch is not None
    assert branch.refill.tolist() == [-math.inf] * 2
    assert branch.keep(-torch.rand(1, 2, 4, 4)).sum() == 2 * 4


@pytest.mark.parametrize(
    "after",
    [
        (nn.Sigmoid(), nn.MaxPool2d(2)),
        (nn.AvgPool2d(2), nn.ReLU()),
        (nn.LeakyReLU(0.1),),
        (nn.Softmax(1), nn.ReLU()),
        (nn.Hardswish(), nn.MaxPool2d(2)),
        (nn.BatchNorm2d(2),),
    ],
    ids=lambda after: "-".join(type(layer).__name__ for layer in after),
)
def test_nothing_is_pruned_before(after: tuple[nn.Module, ...]) -> None:
    branch = _branch(*after)
    if isinstance(after[0], nn.Hardswish):
        # Its own flat end drops, the pooling behind it does not count.
        assert branch is not None
        assert branch.pool is None
    else:
        assert branch is None


class Residual(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        z = F.relu(y)
        return F.relu(z + y) * (z + 1.0)


def test_another_reader_forbids_pruning() -> None:
    captured = capture(Residual(), (torch.randn(1, 2, 4, 4),), name="residual")
    [y] = captured.graph.live_set(1)
    assert find_branch(captured, 1, y) is None
    z = next(t for t in captured.graph.live_set(2) if t != y)
    zeros = find_branch(captured, 2, z)
    assert zeros is not None
    assert zeros.refill.tolist() == [0.0, 0.0]
    assert zeros.keep(torch.tensor([0.0, 1.0, -0.0]).expand(1, 2, 3))[0, 0].tolist() == [False, True, True]


def test_eight_bits_drop_what_lies_within_half_a_step() -> None:
    branch = _branch(nn.ReLU(), nn.MaxPool2d(2))
    assert branch is not None
    x = torch.randn(2, 2, 4, 4)
    exact, rounded = branch.keep(x), branch.keep(x, "int8")
    assert rounded.shape == exact.shape
    step = x.abs().flatten(1).amax(1).reshape(-1, 1, 1, 1) / 127
    changed = branch.refilled(x, rounded)
    difference = (F.max_pool2d(F.relu(x), 2) - F.max_pool2d(F.relu(changed), 2)).abs()
    assert (difference <= step * 1.001).all()


def test_eight_bits_keep_one_of_equals() -> None:
    branch = _branch(nn.ReLU(), nn.MaxPool2d(2))
    assert branch is not None
    assert branch.keep(torch.ones(1, 2, 4, 4), "int8").sum() == 2 * 4


def test_batches_are_as_their_samples() -> None:
    branch = _branch(_norm([1.0, -1.0], [0.1, 0.2]), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    assert branch is not None
    x = torch.randn(5, 2, 4, 4)
    for precision in ("exact", "int8"):
        one_by_one = torch.cat([branch.keep(sample[None], precision) for sample in x])  # type: ignore[arg-type]
        assert torch.equal(branch.keep(x, precision), one_by_one)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = Layers(nn.ReLU(), nn.MaxPool2d(2)).eval().to(dtype)
    captured = capture(model, (torch.randn(1, 2, 4, 4).to(dtype),), name="layers")
    branch = find_branch(captured, 1, captured.graph.live_set(1)[0])
    assert branch is not None
    x = torch.randn(1, 2, 4, 4).to(dtype)
    changed = branch.refilled(x, branch.keep(x))
    assert changed.dtype == dtype
    assert torch.equal(F.max_pool2d(F.relu(x), 2), F.max_pool2d(F.relu(changed), 2))
