"""Depths of captured graphs as data: what is refused, and what a smaller graph keeps."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from block_nets import Chain, Encoder, Mobile, pictures, rows

from airloom.core.depth import GraphBlocks, SkipPath
from airloom.core.graph import Operator, TensorSpec
from airloom.core.value import canonical_json
from airloom.errors import ConfigError, ProfileMismatch
from airloom.nn.capture import capture
from airloom.nn.check import check_graph
from airloom.nn.elastic import ElasticModel, check_blocks, elastic, find_blocks, skip_blocks

MODEL = Mobile().eval()
CAPTURED = capture(MODEL, pictures(), name="mobile")
BLOCKS = find_blocks(MODEL, pictures(), captured=CAPTURED).graph


def test_all_kept_is_the_graph_itself() -> None:
    assert skip_blocks(CAPTURED, BLOCKS, range(4)) is CAPTURED


def test_blocks_travel_as_text() -> None:
    read = msgspec.json.decode(canonical_json(BLOCKS), type=GraphBlocks)
    assert read == BLOCKS
    check_blocks(read, CAPTURED.graph, where="file")


def test_a_depth_is_a_whole_captured_model() -> None:
    smaller = skip_blocks(CAPTURED, BLOCKS, (0, 2))
    check_graph(smaller.graph, where="smaller")
    assert set(smaller.state) < set(CAPTURED.state)
    assert not any(name.startswith(("features.2.", "features.4.")) for name in smaller.state)
    assert [p.name for p in smaller.graph.parameters] == list(smaller.state)
    assert len(smaller.source) == len(smaller.modules) == smaller.graph.num_operators
    assert "features.2" in smaller.modules
    assert smaller.example is CAPTURED.example


def test_what_only_left_out_blocks_read_goes_too() -> None:
    model = Encoder().eval()
    captured = capture(model, rows(2, 5, 6), name="encoder")
    blocks = find_blocks(model, rows(2, 5, 6), captured=captured)
    none = skip_blocks(captured, blocks.graph, ())
    assert [op.target for op in none.graph.operators] == [
        "aten.linear.default", "aten.add.Tensor", "aten.mean.dim", "aten.linear.default",
    ]  # fmt: skip
    assert len(none.state) == 5


def test_outputs_that_become_one() -> None:
    model = Chain(early=True).eval()
    captured = capture(model, rows(), name="chain")
    blocks = find_blocks(model, rows(), captured=captured)
    one = skip_blocks(captured, blocks.graph, (0,))
    assert len(one.graph.outputs) == 2
    y, first, last = one.result({t: t for t in one.graph.outputs})
    assert first == last != y


def test_adapters_weights_are_asked_for() -> None:
    model = elastic(Mobile(), pictures(), adapters=True)
    blocks = model.found.graph
    with pytest.raises(ConfigError, match=r"'adapters.features-2.weight' .* missing"):
        skip_blocks(CAPTURED, blocks, (0,))
    smaller = skip_blocks(CAPTURED, blocks, (0,), model.state_dict())
    assert "adapters.features-2.weight" in smaller.state


def test_blocks_of_another_graph() -> None:
    other = capture(MODEL, pictures(3), name="mobile")
    with pytest.raises(ProfileMismatch, match="not of"):
        skip_blocks(other, BLOCKS, (0,))
    with pytest.raises(ConfigError, match="another graph"):
        check_blocks(BLOCKS, other.graph, where="file")
    with pytest.raises(ConfigError, match="no block 4"):
        skip_blocks(CAPTURED, BLOCKS, (0, 4))


def _with(index: int, **changes: object) -> GraphBlocks:
    places = list(BLOCKS.blocks)
    places[index] = msgspec.structs.replace(places[index], **changes)
    return msgspec.structs.replace(BLOCKS, blocks=tuple(places))


def _skip(**changes: object) -> GraphBlocks:
    return _with(1, skip=msgspec.structs.replace(BLOCKS.blocks[1].skip, **changes))


def _evil(path: SkipPath) -> tuple[Operator, ...]:
    return (msgspec.structs.replace(path.operators[0], target="aten.from_file.default"), *path.operators[1:])


POOL = BLOCKS.blocks[1].skip
BROKEN: dict[str, Callable[[], GraphBlocks]] = {
    "overlap": lambda: _with(1, start=BLOCKS.blocks[0].start),
    "backwards": lambda: _with(1, stop=BLOCKS.blocks[1].start),
    "beyond the end": lambda: _with(3, stop=CAPTURED.graph.num_operators + 1),
    "another input": lambda: _with(1, input=BLOCKS.blocks[1].output),
    "another output": lambda: _with(1, output=BLOCKS.blocks[1].output - 1),
    "half a block": lambda: _with(1, stop=BLOCKS.blocks[1].stop - 1),
    "no such tensor": lambda: _skip(result=17),
    "too few tensors": lambda: _skip(tensors=POOL.tensors[:-1]),
    "another form": lambda: _skip(tensors=(TensorSpec(shape=(1,), dtype="float32"), *POOL.tensors[1:])),
    "no pooling": lambda: _skip(operators=(), tensors=POOL.tensors[:1], result=0),
    "an operator that is not on the list": lambda: _skip(operators=_evil(POOL)),
    "operators that do not fit": lambda: _skip(operators=POOL.operators[::-1]),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_blocks_from_a_file_are_checked(broken: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_blocks(BROKEN[broken](), CAPTURED.graph, where="file")
    assert str(caught.value).startswith("file: $.blocks[")


def test_a_graph_in_train_mode_loses_the_buffers_of_its_blocks() -> None:
    model = Mobile()
    captured = capture(model, pictures(), name="mobile", mode="train")
    blocks = find_blocks(model, pictures(), captured=captured)
    smaller = skip_blocks(captured, blocks.graph, (0,))
    written = {smaller.graph.parameters[p].name for op in smaller.graph.operators for p in op.writes}
    assert written
    assert all(name.startswith("features.1.") for name in written)
    check_graph(smaller.graph, where="train")
    with ElasticModel(model, blocks).at(1):
        assert capture(model, pictures(), name="mobile", mode="train").graph.digest == smaller.graph.digest
