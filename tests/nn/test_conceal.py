"""Concealment: what stands in for elements that never came."""

from __future__ import annotations

import pytest
import torch
from layered import Layers
from torch import nn

from airloom.nn.branch import Branch
from airloom.nn.capture import capture
from airloom.nn.conceal import conceal, map_axis
from airloom.nn.redundancy import find_branch

METHODS = ["zeros", "mean", "neighbours"]


def _smooth() -> torch.Tensor:
    line = torch.linspace(0, 3, 12)
    return (torch.sin(line)[:, None] + line)[None, None].repeat(2, 3, 1, 1) + torch.arange(3.0)[:, None, None] * 5


@pytest.mark.parametrize("method", METHODS)
def test_what_came_stays(method: str) -> None:
    x, missing = torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8) < 0.5
    filled = conceal(x, missing, method)  # type: ignore[arg-type]
    assert torch.equal(filled[~missing], x[~missing])
    assert filled.isfinite().all()
    assert torch.equal(conceal(x, torch.zeros_like(missing), method), x)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_does_not_count(method: str) -> None:
    x, missing = torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8) < 0.5
    spoilt = x.masked_fill(missing, 1e30)
    assert torch.equal(conceal(x, missing, method), conceal(spoilt, missing, method))  # type: ignore[arg-type]


def test_neighbours_are_nearer_than_means_than_zeros() -> None:
    x = _smooth()
    missing = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    error = [float((conceal(x, missing, m) - x).abs().mean()) for m in METHODS]  # type: ignore[arg-type]
    assert error[0] > 2 * error[1] > 4 * error[2]


def test_a_map_of_which_nothing_came_takes_its_calibrated_mean() -> None:
    x, missing = torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    missing[:, 1] = True
    for method in ("mean", "neighbours"):
        filled = conceal(x, missing, method, means=torch.tensor([3.0, 7.0]))  # type: ignore[arg-type]
        assert (filled[:, 1] == 7).all()
        assert (filled[:, 0] == 1).all()


def test_sequences_look_along_time() -> None:
    x = torch.arange(12.0).reshape(1, 12, 1).repeat(1, 1, 4) + 100 * torch.arange(4.0)
    missing = torch.zeros_like(x, dtype=torch.bool)
    missing[0, 5] = True
    assert torch.allclose(conceal(x, missing, "neighbours", axis=2), x, atol=0.2)


def test_pixels_stay_pixels() -> None:
    x = torch.full((1, 3, 4, 4), 250, dtype=torch.uint8)
    missing = torch.rand(x.shape) < 0.4
    filled = conceal(x, missing, "neighbours")
    assert filled.dtype == torch.uint8
    assert (filled == 250).all()


def test_vectors_have_no_neighbours() -> None:
    x, missing = torch.ones(2, 6), torch.tensor([[True] + [False] * 5] * 2)
    assert conceal(x, missing, "neighbours", means=torch.full((6,), 2.0))[0, 0] == 2


def _pooled() -> Branch:
    captured = capture(Layers(nn.ReLU(), nn.MaxPool2d(2)).eval(), (torch.randn(1, 2, 8, 8),), name="layers")
    branch = find_branch(captured, 1, captured.graph.live_set(1)[0])
    assert branch is not None
    return branch


def test_windows_of_which_the_greatest_came_are_left_alone() -> None:
    branch, x = _pooled(), torch.rand(1, 2, 8, 8)
    keep = branch.keep(x)
    missing = ~keep & (torch.rand(x.shape) < 0.5)
    filled = conceal(
        branch.refilled(x, keep), missing, "neighbours", left_out=~keep & ~missing, branch=branch
    )  # fmt: skip
    assert torch.equal(nn.functional.max_pool2d(filled, 2), nn.functional.max_pool2d(x, 2))


def test_windows_of_which_nothing_came_come_out_as_their_neighbours() -> None:
    branch, x = _pooled(), torch.full((1, 2, 8, 8), 3.0)
    keep = branch.keep(x)
    missing = torch.zeros_like(keep)
    missing[..., 2:4, 2:4] = True
    filled = conceal(branch.refilled(x, keep), missing, "neighbours", left_out=~keep & ~missing, branch=branch)
    assert torch.allclose(nn.functional.max_pool2d(filled, 2), torch.tensor(3.0))


def test_neighbours_left_out_count_as_the_edge() -> None:
    captured = capture(Layers(nn.ReLU()).eval(), (torch.randn(1, 2, 4, 4),), name="layers")
    branch = find_branch(captured, 1, captured.graph.live_set(1)[0])
    assert branch is not None
    x = torch.tensor([[4.0, 9.0, -7.0]]).expand(1, 2, 1, 3).contiguous()
    missing = torch.tensor([False, True, False]).expand(1, 2, 1, 3)
    left_out = torch.tensor([False, False, True]).expand(1, 2, 1, 3)
    assert torch.allclose(
        conceal(x, missing, "neighbours", left_out=left_out, branch=branch)[..., 1], torch.tensor(2.0)
    )


def test_axis_of_feature_maps() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU())
    captured = capture(model.eval(), (torch.randn(1, 4, 9),), name="sound")
    assert map_axis(captured, 0) == 1
    captured = capture(nn.Linear(4, 6).eval(), (torch.randn(1, 9, 4),), name="text")
    assert map_axis(captured, 0) == 2
