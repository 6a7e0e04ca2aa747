"""Law 2: a split model over a perfect channel equals the captured graph executed whole, bit for bit."""

from __future__ import annotations

import functools
import itertools
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from airloom import zoo
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor, tensor_to_bytes


class Transposer(nn.Module):
    """Whatever could tempt a kernel to choose by strides: channels last, permutes, slices, size-1 axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.point = nn.Conv2d(8, 5, 1)
        self.attend = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(memory_format=torch.channels_last)
        y = self.second(self.first(x).relu())
        rows = y.flatten(2).transpose(1, 2)  # [N, HW, 8], a view
        rows = rows + self.attend(rows)
        back = rows.transpose(1, 2).reshape(y.shape)
        left, right = back.chunk(2, dim=3)
        pooled = (left * right.flip(3)).mean((2, 3), keepdim=True)
        return self.point(pooled.to(memory_format=torch.channels_last)), back[:, ::2, 1:, :]


def _model(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    if name == "transposer":
        torch.manual_seed(0)
        module = Transposer().to(memory_format=torch.channels_last)
        return module, (torch.randn(2, 3, 8, 8),)
    zoo_name, _, rest = name.partition(" ")
    options = {k: int(v) for k, v in (pair.split("=") for pair in rest.split() if not pair.startswith("batch"))}
    batch = next((int(pair.split("=")[1]) for pair in rest.split() if pair.startswith("batch")), 1)
    return zoo.build(zoo_name, "random", **options), zoo.example_inputs(zoo_name, batch, **options)


@functools.cache
def _case(name: str) -> tuple[StageExecutor, dict[int, memoryview], dict[int, bytes]]:
    """An executor, the input's bytes and the bytes of the whole run."""
    module, inputs = _model(name)
    captured = capture(module, inputs, name=name)
    executor = StageExecutor(captured)
    data = {t: tensor_to_bytes(x) for t, x in zip(captured.graph.inputs, inputs, strict=True)}
    whole = executor.run(0, captured.graph.num_operators, data)
    return executor, data, {t: bytes(v) for t, v in whole.items()}


def _sent(data: dict[int, memoryview], offset: int) -> dict[int, memoryview]:
    """The bytes as they arrive: in somebody's buffer, at any address."""
    return {t: memoryview(bytearray(offset) + bytearray(v))[offset:] for t, v in data.items()}


def _run(executor: StageExecutor, data: dict[int, memoryview], cuts: tuple[int, ...], offset: int) -> dict[int, bytes]:
    stops = [0, *cuts, executor.graph.num_operators]
    for start, stop in itertools.pairwise(stops):
        data = executor.run(start, stop, _sent(data, offset))
    return {t: bytes(v) for t, v in data.items()}


EVERY_CUT = ["resnet20", "vgg11 width=8", "gru_tagger steps=12", "gru_tagger steps=6 tokens=9 batch=2",
             "resnet18 width=8 batch=2", "transposer", "resnet18 width=4 size=64", "vgg11 width=2 size=64",
             "rcnn width=4 size=64 regions=5 batch=2", "gru_tagger steps=5 tokens=9 layers=3", "qmix_agent",
             "qmix_agent steps=6 features=5 hidden=8 batch=3"]  # fmt: skip
SOME_CUTS = ["resnet56 width=4", "resnet110 width=4", "wrn28_10 width=1"]


@pytest.mark.parametrize("name", EVERY_CUT)
def test_split_at_every_cut(name: str) -> None:
    executor, data, whole = _case(name)
    for cut in range(executor.graph.num_operators + 1):
        assert _run(executor, data, (cut,), offset=cut % 5) == whole, f"cut {cut}"


@pytest.mark.parametrize("name", EVERY_CUT)
def test_operator_by_operator(name: str) -> None:
    executor, data, whole = _case(name)
    assert _run(executor, data, tuple(range(1, executor.graph.num_operators)), offset=3) == whole


@pytest.mark.parametrize("name", SOME_CUTS)
def test_split_at_some_cuts_of_the_deep_ones(name: str) -> None:
    executor, data, whole = _case(name)
    for cut in range(1, executor.graph.num_operators, 23):
        assert _run(executor, data, (cut,), offset=1) == whole, f"cut {cut}"


@pytest.mark.parametrize("name", ["resnet20", "gru_tagger steps=12", "transposer"])
@settings(max_examples=15, deadline=None)
@given(random=st.data())
def test_any_multi_split(name: str, random: st.DataObject) -> None:
    executor, data, whole = _case(name)
    cut = st.integers(0, executor.graph.num_operators)
    cuts = tuple(sorted(random.draw(st.lists(cut, max_size=5))))
    assert _run(executor, data, cuts, offset=random.draw(st.integers(0, 70))) == whole


def test_split_in_tensors_equals_split_in_bytes() -> None:
    executor, _, whole = _case("transposer")
    inputs = _model("transposer")[1]
    tensors = dict(zip(executor.graph.inputs, inputs, strict=True))
    for cut in range(executor.graph.num_operators + 1):
        result = executor.run_tensors(cut, executor.graph.num_operators, executor.run_tensors(0, cut, tensors))
        assert {t: bytes(tensor_to_bytes(x)) for t, x in result.items()} == whole


def test_whole_in_another_thread_gives_the_same_bits() -> None:
    executor, data, whole = _case("resnet20")
    found: list[dict[int, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(_run(executor, data, (30,), offset=0)))
    thread.start()
    thread.join()
    assert found == [whole]


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet18", "resnet56", "resnet110", "vgg11", "wrn28_10", "gru_tagger steps=200"])
def test_every_cut_at_full_size(name: str) -> None:
    executor, data, whole = _case(name)
    step = 1 if name in ("resnet18", "vgg11") else 7
    for cut in range(0, executor.graph.num_operators + 1, step):
        assert _run(executor, data, (cut,), offset=1) == whole, f"cut {cut}"
