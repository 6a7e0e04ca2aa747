"""A progressive model at part of its depth, split at a cut that is sent coded and with losses."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from airloom import zoo
from airloom.core.coding import parse_coding
from airloom.core.depth import depth_order
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.codec import Codec
from airloom.nn.elastic import ElasticModel, find_blocks, recalibrate
from airloom.nn.executor import StageExecutor, tensor_from_bytes, tensor_to_bytes

PICTURES = 40
DEPTH = 8


@functools.cache
def _depth() -> tuple[Captured, StageExecutor]:
    """ResNet-20 without its last block, which ordinary training bears."""
    module = zoo.build("resnet20")
    one = (torch.from_numpy(zoo.test_images()[0][:1]),)
    blocks = find_blocks(module, one)
    model = ElasticModel(module, blocks, depth_order("back", blocks.groups, depths=(DEPTH,)))
    recalibrate(model, [torch.from_numpy(zoo.test_images()[0][200:400])], (DEPTH,))
    model.set_depth(DEPTH)
    captured = capture(model.module, one, name="resnet20")
    return captured, StageExecutor(captured)


def _logits(data: dict[int, memoryview], captured: Captured) -> NDArray[np.float32]:
    [output] = captured.graph.outputs
    return tensor_from_bytes(data[output], captured.graph.tensors[output]).numpy().reshape(-1).copy()


@functools.cache
def _run(coding: str, loss: float) -> tuple[NDArray[np.float32], float]:
    """Logits of every picture through the cut, and the mean number of bytes on the link."""
    captured, executor = _depth()
    length = captured.graph.num_operators
    cut = next(k for k, op in enumerate(captured.graph.operators) if op.name == "groups.1.1.bn1.batch_norm")
    rng = np.random.default_rng(5)
    found, nbytes = [], []
    for picture in zoo.test_images()[0][:PICTURES]:
        live = executor.run(0, cut, {0: tensor_to_bytes(torch.from_numpy(picture[None]))})
        if coding != "raw":
            codec = Codec(captured, cut, parse_coding(coding))
            blob = codec.encode(live)
            nbytes.append(len(blob))
            starts = [0, *range(codec.first_room, len(blob), codec.room)]
            stops = [*starts[1:], len(blob)]
            lost = [pair for pair in zip(starts, stops, strict=True) if rng.random() < loss]
            decoded = codec.decode(blob, lost)
            assert decoded.lost == 0.0 or lost
            live = decoded.data
        else:
            nbytes.append(sum(len(v) for v in live.values()))
        found.append(_logits(executor.run(cut, length, live), captured))
    return np.stack(found), float(np.mean(nbytes))


def _agreement(coding: str, loss: float) -> float:
    """How often the answer is that of the whole depth, run in one place."""
    return float((_run(coding, loss)[0].argmax(1) == _run("raw", 0.0)[0].argmax(1)).mean())


def test_the_depth_is_worth_something() -> None:
    labels = zoo.test_images()[1][:PICTURES]
    assert (_run("raw", 0.0)[0].argmax(1) == labels).mean() > 0.3


def test_pruning_alone_changes_no_bit() -> None:
    exact, fewer = _run("pruned+structured", 0.0)
    assert np.array_equal(exact, _run("raw", 0.0)[0])
    assert fewer < _run("raw", 0.0)[1]


@pytest.mark.parametrize("coding", ["int8+pruned+structured+neighbours", "int8+pruned+random+twice-value-0.1"])
def test_coded_cuts_bear_losses(coding: str) -> None:
    whole, coded = _run("raw", 0.0)[1], _run(coding, 0.0)[1]
    assert coded < whole / 3
    assert _agreement(coding, 0.0) >= 0.95
    few, many = _agreement(coding, 0.1), _agreement(coding, 0.8)
    assert few >= 0.8
    assert many < few
