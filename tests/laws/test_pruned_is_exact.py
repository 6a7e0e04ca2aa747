"""Law: pruning with the exact branch does not change a bit of what the model gives."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from airloom import zoo
from airloom.core.coding import parse_coding
from airloom.core.graph import ModelGraph
from airloom.nn.branch import Branch
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.codec import Codec
from airloom.nn.executor import StageExecutor, tensor_to_bytes
from airloom.nn.redundancy import find_branch


class Awkward(nn.Module):
    """Scales of either sign and zero, windows that overlap, padding, ceil mode, pooling before ReLU, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(4))
        self.point = nn.Conv2d(6, 6, 1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        for k, norm in enumerate(self.norms):
            generator = torch.Generator().manual_seed(k)
            norm.weight.data = torch.tensor([1.0, -0.5, 0.0, -1e-6, 2.0, 0.7])
            norm.bias.data = torch.tensor([0.3, -0.2, 0.5, 0.0, 0.0, -5.0])
            norm.running_mean.copy_(torch.randn(6, generator=generator))
            norm.running_var.copy_(torch.rand(6, generator=generator) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norms[0](x)), 3, 2, 1)
        x = self.point(x)
        x = F.relu6(F.max_pool2d(self.norms[1](x), 3, 2, 0, ceil_mode=True))
        y = F.hardtanh(self.norms[2](self.conv(x)), 0.0, 2.0)
        x = F.max_pool2d(self.point(x + y), 2)
        x = F.hardswish(self.norms[3](-self.conv(x)))
        return self.point(F.adaptive_avg_pool2d(x, 1)).flatten(1)


class Speech(nn.Module):
    """A clamp behind batch norm over pictures, then convolution over time with pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, (2, 1), 1)
        self.norm = nn.BatchNorm2d(4)
        self.time = nn.Conv1d(20, 8, 3)
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.norm(self.conv(x)), 0.0, 20.0)
        x = F.max_pool1d(self.time(x.flatten(1, 2)), 3).relu()
        return self.out(F.leaky_relu(x, 0.1).transpose(1, 2))


def _picture(rng: np.random.Generator, size: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal((1, 6, size, size), dtype=np.float32))


_SHAPES = {"awkward": (1, 6, 21, 21), "speech": (1, 1, 10, 32), "windows": (1, 6, 24, 24)}


@functools.cache
def _case(name: str) -> tuple[Captured, StageExecutor]:
    module: nn.Module
    if name in _SHAPES:
        torch.manual_seed(0)
        module = {"awkward": Awkward, "speech": Speech, "windows": Windows}[name]().eval()
        inputs = (torch.randn(_SHAPES[name]),)
    else:
        zoo_name, _, width = name.partition(" width ")
        module = zoo.build(zoo_name, **({"width": int(width)} if width else {}))
        inputs = zoo.example_inputs(zoo_name)
    captured = capture(module, inputs, name=name)
    return captured, StageExecutor(captured)


def _bits(outputs: dict[int, Tensor]) -> list[bytes]:
    return [bytes(tensor_to_bytes(x)) for x in outputs.values()]


@functools.cache
def _branches(name: str, every: int = 1) -> dict[int, dict[int, Branch]]:
    """By cut, of each `every` one, and tensor; the cuts where something is pruned."""
    captured, _ = _case(name)
    found: dict[int, dict[int, Branch]] = {}
    for cut in range(0, captured.graph.num_operators + 1, every):
        branches = {t: find_branch(captured, cut, t) for t in captured.graph.live_set(cut)}
        if any(branches.values()):
            found[cut] = {t: b for t, b in branches.items() if b is not None}
    return found


def _check(name: str, x: Tensor, cuts: dict[int, dict[int, Branch]]) -> float:
    """The least share of elements kept at one of `cuts`."""
    captured, executor = _case(name)
    whole = _bits(executor.run_tensors(0, captured.graph.num_operators, {0: x}))
    least, reached, before = 1.0, 0, {0: x}
    for cut, branches in cuts.items():
        before = executor.run_tensors(reached, cut, before)
        reached, live = cut, dict(before)
        for t, branch in branches.items():
            keep = branch.keep(live[t])
            assert keep.shape == live[t].shape
            live[t] = branch.refilled(live[t], keep)
            least = min(least, float(keep.float().mean()))
            # What stands in for an element is itself dropped.
            assert not (branch.keep(live[t]) & ~keep).any(), (cut, t)
        assert _bits(executor.run_tensors(cut, captured.graph.num_operators, live)) == whole, cut
    return least


@pytest.mark.parametrize(("name", "every"), [("vgg11 width 8", 1), ("resnet20", 4)])
def test_cuts_of_the_zoo(name: str, every: int) -> None:
    image = torch.from_numpy(zoo.test_images()[0][:1])
    cuts = _branches(name, every)
    assert len(cuts) > 12
    assert _check(name, image, cuts) < 0.5


@pytest.mark.long
@pytest.mark.parametrize("name", ["vgg11", "resnet20", "resnet18", "resnet56"])
def test_every_cut_of_the_zoo(name: str) -> None:
    images = torch.from_numpy(zoo.test_images()[0][:3])
    for image in images:
        _check(name, image[None], _branches(name))


@pytest.mark.parametrize("name", ["awkward", "speech"])
def test_branches_are_found(name: str) -> None:
    """Each kind of branch occurs, so that the laws below speak of it."""
    captured, _ = _case(name)
    found = _branches(name)
    pools = {type(b.pool) for branches in found.values() for b in branches.values()}
    assert len(pools) == 2
    if name == "awkward":
        signs = {tuple(b.sign.tolist()) for branches in found.values() for b in branches.values()}
        assert (1, -1, 0, -1, 1, 1) in signs
        assert not all(found.get(cut) for cut in range(captured.graph.num_operators))


@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([0.0, 0.5, 4.0]), zeros=st.sampled_from([0.0, 0.5]))
@settings(max_examples=15, deadline=None)
def test_awkward_networks(seed: int, step: float, zeros: float) -> None:
    """Values on a coarse grid: ties within windows and on thresholds; zeros of both signs."""
    rng = np.random.default_rng(seed)
    for name, shape in (("awkward", (1, 6, 21, 21)), ("speech", (1, 1, 10, 32))):
        x = rng.standard_normal(shape, dtype=np.float32)
        if step:
            x = np.round(x / step).astype(np.float32) * np.float32(step)
        x[rng.random(shape) < zeros] *= np.float32(-0.0)
        _check(name, torch.from_numpy(x), _branches(name))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3e38, -3e38])
def test_numbers_that_are_none(odd: float) -> None:
    """NaN, infinities and the ends of the range come through as they would have."""
    rng = np.random.default_rng(3)
    for name, shape in (("awkward", (1, 6, 21, 21)), ("speech", (1, 1, 10, 32))):
        x = rng.standard_normal(shape, dtype=np.float32)
        x[rng.random(shape) < 0.02] = odd
        _check(name, torch.from_numpy(x), _branches(name))


class Windows(nn.Module):
    """Poolings whose windows lie side by side, before and after activations and norms, scales of either sign."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.norm.weight.data = torch.tensor([1.0, -0.5, 0.0, -1.0, 2.0, 0.7])
        self.norm.bias.data = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.2, -5.0])
        self.point = nn.Conv2d(6, 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(x), 2)
        x = F.relu(F.max_pool2d(self.norm(self.point(x)), (3, 2)))
        return F.max_pool2d(F.hardtanh(-self.point(x), -1.0, 2.0), 2)


@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([0.0, 0.5, 4.0]), zeros=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_windows_are_said_by_one_number(seed: int, step: float, zeros: float) -> None:
    """Through the codec: ties, zeros of both signs and numbers next to zero within windows."""
    captured, executor = _case("windows")
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 6, 24, 24), dtype=np.float32)
    if step:
        x = np.round(x / step).astype(np.float32) * np.float32(step)
    x[rng.random(x.shape) < zeros] *= rng.choice(np.float32([-0.0, 0.0, 1e-45, -1e-45]))
    live = {0: tensor_to_bytes(torch.from_numpy(x))}
    whole = executor.run(0, captured.graph.num_operators, live)
    by_window = 0
    for cut in range(captured.graph.num_operators):
        live = executor.run(cut - 1, cut, live) if cut else live
        codec = Codec(captured, cut, parse_coding("pruned+structured"))
        by_window += any(plan.sites is not None for plan in codec.plans)
        again = executor.run(cut, captured.graph.num_operators, codec.decode(codec.encode(live)).data)
        assert {t: bytes(v) for t, v in again.items()} == {t: bytes(v) for t, v in whole.items()}, cut
    assert by_window == 4  # not where zeros of either sign come through beside lower numbers


@pytest.mark.parametrize("text", ["pruned", "pruned+structured+neighbours", "pruned+random+twice-value-0.1"])
def test_codecs_without_loss(text: str) -> None:
    """The same through blob and back, as hosts do it."""
    for name, cuts in (("resnet20", (4, 7)), ("vgg11 width 8", (4, 6, 12))):
        captured, executor = _case(name)
        graph: ModelGraph = captured.graph
        x = {0: tensor_to_bytes(torch.from_numpy(zoo.test_images()[0][5:6]))}
        whole = executor.run(0, graph.num_operators, x)
        for cut in cuts:
            codec = Codec(captured, cut, parse_coding(text))
            blob = codec.encode(executor.run(0, cut, x))
            assert len(blob) < graph.cut_nbytes(cut)
            decoded = codec.decode(blob)
            assert decoded.lost == 0.0
            again = executor.run(cut, graph.num_operators, decoded.data)
            assert {t: bytes(v) for t, v in again.items()} == {t: bytes(v) for t, v in whole.items()}
