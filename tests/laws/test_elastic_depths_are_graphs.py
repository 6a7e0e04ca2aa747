"""A depth of a graph is the graph of that depth: leaving blocks out of a captured graph equals capturing the elastic
model at that depth, bit for bit; and it splits like any other graph."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from airloom import zoo
from airloom.core.depth import DepthOrder, depth_order
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.elastic import ElasticModel, find_blocks, recalibrate, skip_blocks
from airloom.nn.executor import StageExecutor, tensor_to_bytes


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.places = nn.Embedding(11, 8), nn.Parameter(torch.randn(6, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x) + self.places).mean(1))


NETWORKS = {
    "resnet20": {"width": 4},
    "wrn28_10": {"width": 2},
    "resnet18": {"width": 4},
    "vgg11": {"width": 4},
    "transformer": {},
}


class Case:
    def __init__(self, name: str, *, adapters: bool = False) -> None:
        if name == "transformer":
            module: nn.Module = Transformer().eval()
            self.inputs: tuple[Tensor, ...] = (torch.randint(11, (2, 6)),)
        else:
            module = zoo.build(name, "random", **NETWORKS[name])
            self.inputs = zoo.example_inputs(name, 2, **NETWORKS[name])
        # Statistics as after training: those of a new network hide what batch norm does.
        for k, buffer in enumerate(b for b in module.buffers() if b.dtype == torch.float32 and b.dim() == 1):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(k)) + 0.5)
        self.whole = capture(module, self.inputs, name=name)
        self.blocks = find_blocks(module, self.inputs, adapters=adapters, captured=self.whole)
        order = depth_order("back", self.blocks.groups, depths=range(len(self.blocks.blocks) + 1))
        self.model = ElasticModel(module, self.blocks, order)

    def smaller(self, kept: tuple[int, ...]) -> Captured:
        return skip_blocks(self.whole, self.blocks.graph, kept, self.model.state_dict())


@functools.cache
def _case(name: str) -> Case:
    return Case(name)


def _answer(captured: Captured, inputs: tuple[Tensor, ...]) -> list[bytes]:
    executor = StageExecutor(captured)
    data = {t: tensor_to_bytes(x) for t, x in zip(captured.graph.inputs, inputs, strict=True)}
    return [bytes(v) for v in executor.run(0, captured.graph.num_operators, data).values()]


def _random(inputs: tuple[Tensor, ...], seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(11 if x.dtype == torch.int64 else 256, x.shape, generator=generator).to(x.dtype)
                 for x in inputs)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "depths"),
    [("resnet20", (0, 5)), ("wrn28_10", (6,)), ("resnet18", (3,)), ("vgg11", (1,)), ("transformer", (0, 2))],
)
def test_captured_at_a_depth(name: str, depths: tuple[int, ...]) -> None:
    case = _case(name)
    for depth in depths:
        smaller = case.smaller(case.model.order.kept(depth))
        with case.model.at(depth):
            direct = capture(case.model.module, case.inputs, name=name)
        # Even the same graph: the same operators on the same tensors, with the same weights.
        assert smaller.graph.digest == direct.graph.digest
        assert smaller.weights_digest == direct.weights_digest
        inputs = _random(case.inputs, depth)
        assert _answer(smaller, inputs) == _answer(direct, inputs)
        with case.model.at(depth), torch.no_grad():
            eager = case.model(*inputs)
        found = torch.frombuffer(bytearray(_answer(smaller, inputs)[0]), dtype=torch.float32)
        torch.testing.assert_close(found.reshape(eager.shape), eager, rtol=1e-4, atol=1e-5)


def test_with_adapters() -> None:
    case = Case("resnet18", adapters=True)
    with torch.no_grad():
        for weight in case.model.adapters.parameters():
            weight.normal_(std=0.3)
    smaller = case.smaller(case.model.order.kept(4))
    with case.model.at(4):
        direct = capture(case.model, case.inputs, name="resnet18")
    assert smaller.graph.digest == direct.graph.digest
    assert smaller.weights_digest == direct.weights_digest
    assert _answer(smaller, case.inputs) == _answer(direct, case.inputs)


def test_statistics_of_the_depth() -> None:
    """A graph takes the statistics that its depth has of its own as weights like any other."""
    case = Case("vgg11")
    recalibrate(case.model, [_random(case.inputs, 7)], (2,))
    with case.model.at(2):
        direct = capture(case.model.module, case.inputs, name="vgg11")
    smaller = case.smaller((0, 1))
    statistics = case.model.statistics(2)
    state = {name: statistics.get(name, tensor) for name, tensor in smaller.state.items()}
    assert smaller.weights_digest != direct.weights_digest
    assert _answer(Captured(smaller.graph, state, smaller.structure), case.inputs) == _answer(direct, case.inputs)


@pytest.mark.parametrize("name", ["resnet20", "transformer"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_set_of_blocks(name: str, data: st.DataObject) -> None:
    """Not only nested ones."""
    case = _case(name)
    total = case.model.order.num_blocks
    kept = tuple(sorted(data.draw(st.sets(st.integers(0, total - 1)))))
    smaller = case.smaller(kept)
    order = DepthOrder(
        kind="back", arrival=(*kept, *(k for k in range(total) if k not in kept)),
        depths=tuple(sorted({len(kept), total})),
    )  # fmt: skip
    model = ElasticModel(case.model.module, case.blocks, order)
    inputs = _random(case.inputs, data.draw(st.integers(0, 99)))
    with model.at(len(kept)), torch.no_grad():
        eager = model(*inputs)
    found = torch.frombuffer(bytearray(_answer(smaller, inputs)[0]), dtype=torch.float32)
    torch.testing.assert_close(found.reshape(eager.shape), eager, rtol=1e-4, atol=1e-5)
    macs = [sum(op.macs for op in graph.operators) for graph in (smaller.graph, case.whole.graph)]
    assert macs[1] - macs[0] == 2 * sum(block.macs for k, block in enumerate(case.blocks.blocks) if k not in kept)


@pytest.mark.parametrize(("name", "depth"), [("resnet20", 4), ("resnet18", 3), ("vgg11", 2), ("transformer", 2)])
def test_a_depth_splits_at_every_cut(name: str, depth: int) -> None:
    case = _case(name)
    smaller = case.smaller(case.model.order.kept(depth))
    executor, length = StageExecutor(smaller), smaller.graph.num_operators
    data = {t: tensor_to_bytes(x) for t, x in zip(smaller.graph.inputs, case.inputs, strict=True)}
    whole = {t: bytes(v) for t, v in executor.run(0, length, data).items()}
    for cut in range(length + 1):
        sent = {t: memoryview(bytearray(v)) for t, v in executor.run(0, cut, data).items()}
        assert {t: bytes(v) for t, v in executor.run(cut, length, sent).items()} == whole, f"cut {cut}"
