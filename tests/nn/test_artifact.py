"""Artifacts: what is written is read back, and nothing else is."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_models import CAPTURED, Plain, Residual

from airloom import zoo
from airloom.core.graph import ModelGraph
from airloom.errors import UserError
from airloom.nn.artifact import load_artifact
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.executor import StageExecutor


@functools.cache
def _captured() -> Captured:
    return capture(Residual(), (torch.randn(1, 4, 6, 6),), name="residual")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _captured().save(tmp_path / "artifact")
    return tmp_path / "artifact"


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "graph.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _resigned(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit as one who can also compute digests: the graph itself must be refused."""

    def both(content: dict[str, Any]) -> None:
        change(content)
        with contextlib.suppress(msgspec.ValidationError):
            content["graph_digest"] = msgspec.convert(content["graph"], ModelGraph).digest

    _edit(folder, both)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "gru_tagger"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    options = {"resnet20": {}, "vgg11": {"width": 4}, "gru_tagger": {"steps": 6}}[name]
    inputs = zoo.example_inputs(name, **options)
    captured = capture(zoo.build(name, "random", **options), inputs, name=name)
    captured.save(tmp_path)
    found = load_artifact(tmp_path)
    assert found.graph == captured.graph
    assert found.structure == captured.structure
    assert found.weights_digest == captured.weights_digest
    [a], [b] = StageExecutor(captured).whole(inputs), StageExecutor(found).whole(inputs)
    assert torch.equal(a, b)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("trait", sorted(CAPTURED))
def test_every_trait_survives(trait: str, tmp_path: Path) -> None:
    x = torch.randn(1, 4)
    captured = capture(Plain(CAPTURED[trait][0]).eval(), (x,), name="m")
    captured.save(tmp_path)
    found = load_artifact(tmp_path)
    assert found.graph == captured.graph
    for a, b in zip(StageExecutor(captured).whole((x,)), StageExecutor(found).whole((x,)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_training_graph_survives(tmp_path: Path) -> None:
    captured = capture(Plain(lambda m, x: m.norm(x)), (torch.randn(3, 4),), name="m", mode="train")
    captured.save(tmp_path)
    assert load_artifact(tmp_path).graph == captured.graph


def test_saving_again_writes_the_same_files(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    _captured().save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def _op(k: int, **changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["graph"]["operators"][k].update(changes)


def _graph(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["graph"].update(changes)


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown operator": (_op(1, target="os.system.default"), "operators[1]: operator 'os.system.default' is not"),
    "operator with state": (_op(1, target="aten.relu_.default"), "not on the list"),
    "random operator": (_op(1, target="aten.rand_like.default"), "not on the list"),
    "wrong arguments": (_op(1, arguments='{"args":[{"t":1},5]}'), "does not accept its arguments"),
    "missing arguments": (_op(1, arguments="{}", inputs=[]), "does not accept its arguments"),
    "no JSON": (_op(1, arguments="(relu)"), "not JSON"),
    "hidden input": (_op(1, arguments='{"args":[{"t":0}]}'), "inputs are not the tensors"),
    "from the future": (_op(0, arguments='{"args":[{"t":5}]}', inputs=[5], parameters=[]), "no earlier operator makes"),
    "itself": (_op(1, arguments='{"args":[{"t":2}]}', inputs=[2]), "no earlier operator makes"),
    "no such parameter": (_op(1, arguments='{"args":[{"p":99}]}', inputs=[], parameters=[99]), "that the graph lacks"),
    "hidden parameter": (_op(1, parameters=[0]), "parameters are not those"),
    "writes in eval": (_op(1, arguments='{"args":[{"t":1}],"write":[[0,0]]}', writes=[0]), "writes buffers"),
    "negative work": (_op(1, macs=-5), "-5 multiply"),
    "wrong outputs": (_op(1, outputs=[9]), "numbered from 2"),
    "too many outputs": (_op(1, outputs=[2, 3]), "not as many"),
    "wrong shape": (
        lambda c: c["graph"]["tensors"][2].update(shape=[1, 4, 6, 7]), "is said to be (1, 4, 6, 7)",
    ),
    "wrong type": (lambda c: c["graph"]["tensors"][2].update(dtype="float64"), "is said to be"),
    "unknown type": (lambda c: c["graph"]["tensors"][2].update(dtype="object"), "unknown type"),
    "huge tensor": (lambda c: c["graph"]["tensors"][2].update(shape=[2**40, 2**40]), "no tensor can have"),
    "negative axis": (lambda c: c["graph"]["tensors"][2].update(shape=[-1]), "no tensor can have"),
    "many axes": (lambda c: c["graph"]["tensors"][2].update(shape=[1] * 500), "no tensor can have"),
    "huge inside": (
        _op(1, arguments='{"args":[{"l":0}],"let":[{"op":"aten.expand.default","args":[{"t":1},[99999999,4,6,6]]}]}'),
        "makes a tensor of",
    ),
    "huge constant": (
        _op(1, arguments='{"args":[{"l":0}],"let":[{"op":"aten.zeros.default","args":[[999999,999999]]}]}', inputs=[]),
        "makes a tensor of",
    ),
    "many pieces": (
        _op(1, arguments='{"args":[{"l":0}],"let":[{"op":"aten.zeros.default","args":[[999999]]},'
            '{"op":"aten.unbind.int","args":[{"l":0}],"item":0}]}', inputs=[]),
        "pieces",
    ),
    "no outputs": (_graph(outputs=[]), "outputs"),
    "outputs that nobody makes": (_graph(outputs=[17]), "outputs"),
    "inputs out of order": (_graph(inputs=[1]), "inputs"),
    "unmade tensors": (
        lambda c: c["graph"]["tensors"].append({"shape": [1], "dtype": "uint8"}), "operators make up to",
    ),
    "unknown key": (_graph(factory="os:system"), "factory"),
    "unknown mode": (_graph(mode="exec"), "exec"),
    "unknown result": (lambda c: c["structure"].update(tensor=4), "result 4 of 1"),
    "another schema": (lambda c: c.update(schema=99), "schema 99"),
    "another kind": (lambda c: c.update(kind="plan"), "plan"),
    "path for a digest": (lambda c: c.update(weights="../../etc/passwd"), "64 hex digits"),
    "digest of no file": (lambda c: c.update(weights="sha256:" + "0" * 64), "cannot read"),
    "weights renamed": (lambda c: c["graph"]["parameters"][0].update(name="x"), "lacks weight 'x'"),
    "two of one name": (
        lambda c: c["graph"]["parameters"][0].update(name=c["graph"]["parameters"][1]["name"]), "one name",
    ),
    "weight of another shape": (
        lambda c: [c["graph"]["parameters"][k]["spec"].update(shape=[8]) for k in (1, 3)], "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_graph_is_refused_in_one_line(case: str, folder: Path) -> None:
    change, words = HOSTILE[case]
    _resigned(folder, change)
    with pytest.raises(UserError) as caught:
        load_artifact(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_changed_graph_is_refused(folder: Path) -> None:
    _edit(folder, lambda c: c["graph"]["operators"][0].update(
        arguments=c["graph"]["operators"][0]["arguments"].replace('[1,1],[1,1]', '[1,1],[1,1],[1,1]')
    ))  # fmt: skip
    with pytest.raises(UserError, match="digest"):
        load_artifact(folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    [weights] = folder.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="digest"):
        load_artifact(folder)


def test_missing_and_malformed_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_artifact(tmp_path / "nowhere")
    (folder / "graph.json").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="not JSON"):
        load_artifact(folder)
    (folder / "graph.json").write_text('{"graph_digest":"","weights":"","graph":' + "[" * 100_000)
    with pytest.raises(UserError):
        load_artifact(folder)


def _mutations(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in the JSON."""
    places = [path]
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        places += _mutations(value, (*path, key))
    return places


VALUES = st.one_of(
    st.none(), st.integers(-3, 40), st.sampled_from([2**31, 2**63, -1, 1.5, True]), st.text(max_size=5),
    st.sampled_from([[], {}, [[]], "aten.sum.default", "aten.unbind.int", '{"args":[{"t":0}]}', "float16", "uint8"]),
)  # fmt: skip


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.long)])
def test_fuzzed_graphs_load_or_are_refused(count: int, tmp_path: Path) -> None:
    _captured().save(tmp_path)
    source = json.loads((tmp_path / "graph.json").read_text())
    places = [place for place in _mutations(source) if place]

    @given(st.lists(st.tuples(st.sampled_from(places), VALUES), min_size=1, max_size=3))
    @settings(max_examples=count, deadline=None, database=None)
    def fuzz(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        content = json.loads(json.dumps(source))
        for place, value in changes:
            target = content
            try:
                for key in place[:-1]:
                    target = target[key]
                target[place[-1]] = value
            except (KeyError, IndexError, TypeError):
                return
        (tmp_path / "graph.json").write_text(json.dumps(content))
        _resigned(tmp_path, lambda c: None) if isinstance(content.get("graph"), dict) else None
        try:
            captured = load_artifact(tmp_path)
        except UserError:
            return
        # What loads, runs.
        graph = captured.graph
        executor = StageExecutor(captured)
        zeros = {t: bytes(graph.tensors[t].nbytes) for t in graph.inputs}
        executor.run(0, graph.num_operators, zeros)

    fuzz()
    shutil.rmtree(tmp_path)
