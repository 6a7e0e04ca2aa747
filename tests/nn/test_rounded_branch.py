"""The int8 branch over windows keeps the first of the greatest rounded elements."""

from __future__ import annotations

import pytest
import torch

from airloom.nn.branch import Branch
from airloom.nn.chain import Pool


@pytest.mark.parametrize("kernel", [(2, 2), (2, 3), (3, 3), (4, 2)])
@pytest.mark.parametrize("kind", ["fine", "coarse", "activated"])
def test_the_first_of_the_greatest_rounded_elements(kernel: tuple[int, int], kind: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 4, 12, 12) * 3
    x = {"fine": x, "coarse": x.round(), "activated": x.relu()}[kind]
    threshold, sign = torch.tensor([-torch.inf, torch.inf, 0.0, 0.7]), torch.tensor([1.0, 1.0, -1.0, 1.0])
    pool = Pool(kernel=kernel, stride=kernel, padding=(0, 0), dilation=(1, 1), ceil_mode=False)
    keep = Branch(0, sign, threshold, torch.zeros(4), pool).keep(x, "int8")
    down, across = kernel
    wanted = torch.zeros_like(keep)
    for n in range(2):
        scale = x[n].abs().amax() / 127
        for c in range(4):
            rounded = torch.round(sign[c] * x[n, c] / scale)
            for i in range(0, 12, down):
                for j in range(0, 12, across):
                    window = rounded[i : i + down, j : j + across]
                    first = int(torch.nonzero((window == window.max()).flatten())[0])
                    if window.max() > torch.round((threshold[c] / scale).clamp(-1e6, 1e6)):
                        wanted[n, c, i + first // across, j + first % across] = True
    assert torch.equal(keep, wanted)
