"""The executor: bytes in, bytes out, and what it refuses."""

from __future__ import annotations

import functools

import pytest
import torch
from nn_models import Plain, Residual
from torch import nn

from airloom.core.graph import TensorSpec
from airloom.errors import StageFailed, UserError
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor, tensor_from_bytes, tensor_to_bytes
from airloom.nn.stage import ALIGNMENT, canonical, canonical_stride


@functools.cache
def _executor() -> StageExecutor:
    return StageExecutor(capture(Residual(), (torch.randn(1, 4, 6, 6),), name="residual"))


def _input() -> bytes:
    return bytes(tensor_to_bytes(torch.arange(144, dtype=torch.float32)))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "complex64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_tensor_bytes_round_trip(dtype: str, shape: tuple[int, ...], offset: int) -> None:
    spec = TensorSpec(shape=shape, dtype=dtype)
    data = bytes(k % 2 for k in range(spec.nbytes))
    for buffer in (data, memoryview(bytearray(offset) + bytearray(data))[offset:]):
        tensor = tensor_from_bytes(buffer, spec)
        assert tensor.shape == shape
        assert str(tensor.dtype) == f"torch.{dtype}"
        assert tensor_to_bytes(tensor) == data


def test_bytes_of_any_strides_are_in_c_order() -> None:
    tensor = torch.arange(6).reshape(2, 3).t()
    assert bytes(tensor_to_bytes(tensor)) == bytes(tensor_to_bytes(tensor.contiguous()))


def test_aligned_memory_is_not_copied() -> None:
    owner = torch.zeros(64)
    view = memoryview(owner.numpy()).cast("B")
    assert tensor_from_bytes(view, TensorSpec(shape=(64,), dtype="float32")).data_ptr() == owner.data_ptr()
    assert tensor_to_bytes(owner).obj is not None
    owner[0] = 1
    assert tensor_to_bytes(owner)[3] == 0x3F


def test_canonical_form() -> None:
    assert canonical_stride((2, 1, 3, 0, 5)) == (15, 15, 5, 5, 1)
    base = torch.arange(48, dtype=torch.float32)
    for tensor in (base, base.reshape(2, 3, 8, 1).to(memory_format=torch.channels_last), base[1:13].view(3, 4).t()):
        found = canonical(tensor)
        assert torch.equal(found, tensor)
        assert found.stride() == canonical_stride(tuple(tensor.shape))
        assert found.data_ptr() % ALIGNMENT == 0
    assert canonical(base) is base


def test_pass_through_and_empty_stage() -> None:
    executor = _executor()
    data = executor.run(0, 3, {0: _input()})
    assert executor.run(3, 3, data) == data
    later = executor.run(3, 4, data)
    passed = set(executor.graph.live_set(3)) & set(executor.graph.live_set(4))
    assert passed
    for t in passed:
        assert later[t].obj is data[t].obj


def test_more_data_than_needed_is_left_alone() -> None:
    executor = _executor()
    data = executor.run(0, 2, {0: _input(), 99: b"x"})
    assert set(data) == set(executor.graph.live_set(2))


def test_input_is_not_changed() -> None:
    data = bytearray(_input())
    _executor().run(0, 5, {0: data})
    assert bytes(data) == _input()


@pytest.mark.parametrize(
    ("data", "words"),
    [({}, "tensor 0 of its live set is missing"), ({0: b"123"}, "3 bytes"), ({0: bytes(145 * 4)}, "takes 576")],
)
def test_wrong_data_fails_the_stage(data: dict[int, bytes], words: str) -> None:
    with pytest.raises(StageFailed, match=r"operators 0\.\.4 of residual: .*" + words):
        _executor().run(0, 5, data)


def test_wrong_tensor_fails_the_stage() -> None:
    with pytest.raises(StageFailed, match=r"tensor 0 is \[2, 4, 6, 6\] of float32, captured with \[1, 4, 6, 6\]"):
        _executor().whole((torch.zeros(2, 4, 6, 6),))


def test_operator_that_raises_fails_the_stage_in_one_line() -> None:
    captured = capture(nn.Embedding(4, 2), (torch.zeros(1, dtype=torch.int64),), name="lookup")
    with pytest.raises(StageFailed, match="lookup: ") as caught:
        StageExecutor(captured).whole((torch.tensor([9]),))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 6)])
def test_no_such_stage(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="no stage"):
        _executor().load(start, stop)


def test_load_warms_up_and_keeps() -> None:
    executor = StageExecutor(_executor().captured)
    stage = executor.load(1, 4)
    assert executor.load(1, 4) is stage
    assert (stage.reads, stage.makes) == ((1,), executor.graph.live_set(4))


def test_stages_kept_are_bounded() -> None:
    module = Plain(lambda m, x: functools.reduce(lambda y, k: (y + k).relu(), range(10), x))
    executor = StageExecutor(capture(module, (torch.randn(1, 4),), name="deep"))
    last = executor.graph.num_operators
    for start in range(last):
        for stop in range(start, last + 1):
            executor.load(start, stop, warm_up=False)
    assert len(executor._stages) == 64


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="threads"):
        StageExecutor(_executor().captured, threads=0)
    with pytest.raises(UserError, match="torch device 'nonsense'"):
        StageExecutor(_executor().captured, torch_device="nonsense")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_one_line() -> None:
    with pytest.raises(UserError, match="torch device 'cuda'"):
        StageExecutor(_executor().captured, torch_device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_cpu() -> None:
    executor = StageExecutor(_executor().captured, torch_device="cuda")
    last = executor.graph.num_operators
    whole = executor.run(0, last, {0: _input()})
    assert executor.run(3, last, executor.run(0, 3, {0: _input()})) == whole
    [found] = whole.values()
    [expected] = _executor().run(0, last, {0: _input()}).values()
    torch.testing.assert_close(
        torch.frombuffer(bytearray(found)), torch.frombuffer(bytearray(expected)), rtol=1e-3, atol=1e-3
    )


def test_constants_follow_from_weights_once() -> None:
    """What depends on weights alone is computed on loading, and shared by all stages."""
    module = Plain(lambda m, x: x * m.linear.weight.exp()[0] + (x * m.linear.weight.exp()[0]).relu())
    x = torch.randn(1, 4)
    executor = StageExecutor(capture(module, (x,), name="m"))
    for cut in range(executor.graph.num_operators + 1):
        executor.load(0, cut)
        executor.load(cut, executor.graph.num_operators)
    assert len(executor._code._constants) == 2  # exp, and the row of it
    with torch.no_grad():
        assert torch.equal(executor.whole((x,))[0], module(x))
