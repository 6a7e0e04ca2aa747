"""A small network for pictures whose own answers are the labels, so that it is right whenever nothing is lost."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.tolerance import Halves, Samples, check_samples

# Cuts of `SmallNet`: operators are conv1 bn1 relu pool conv2 relu mean fc.
INPUT, CONVOLVED, ACTIVE, POOLED, DEEP, MEANS, RESULT = 0, 1, 3, 4, 6, 7, 8


class SmallNet(nn.Module):
    """Two convolutions, a batch norm, a max-pooling; `[N, 3, 16, 16]` to 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        logits: Tensor = self.fc(F.relu(self.conv2(x)).mean((2, 3)))
        return logits


@functools.cache
def small_net() -> SmallNet:
    """In eval mode, with statistics and weights of a network that has seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = SmallNet().eval()
        assert net.bn1.running_mean is not None
        assert net.bn1.running_var is not None
        net.bn1.running_mean.copy_(torch.randn(8) / 10)
        net.bn1.running_var.copy_(torch.rand(8) / 4 + 0.1)
        nn.init.normal_(net.bn1.weight, 0.5, 0.4)  # some below 0
        # All classes alike often.
        with torch.no_grad():
            spread = net(torch.from_numpy(pictures(256, 9)))
            net.fc.weight.div_(spread.std(0)[:, None])
            net.fc.bias.sub_(spread.mean(0)).div_(spread.std(0))
    return net


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Smooth ones: neighbours are alike."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((count, 3, 4, 4), dtype=np.float32))
    return F.interpolate(coarse, size=16, mode="bilinear").numpy()


@functools.cache
def captured(batch: int) -> Captured:
    return capture(small_net(), (torch.zeros(batch, 3, 16, 16),), name="small")


@functools.cache
def halves(messages: int = 8, each: int = 1) -> Halves:
    return Halves(captured(each), captured(messages * each))


@functools.cache
def samples(count: int = 24, seed: int = 0) -> Samples:
    images = pictures(count, seed)
    with torch.no_grad():
        logits = small_net()(torch.from_numpy(images))
    labels = logits.argmax(1).numpy()
    return check_samples(Samples((images,), labels), captured(1).graph)
