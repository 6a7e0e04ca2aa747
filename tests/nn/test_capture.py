"""Capture: what becomes of a module, what crosses its cuts, and why it cannot be captured."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from nn_models import CAPTURED, REFUSED, AsksItsData, Pair, Plain, Residual
from torch import Tensor, nn
from torch.utils import _pytree

from airloom import zoo
from airloom.core.graph import ModelGraph
from airloom.errors import CaptureError
from airloom.nn.agreement import eager_difference
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor

SMALL_ZOO: dict[str, dict[str, int]] = {
    "resnet18": {"width": 8},
    "resnet20": {},
    "resnet32": {"width": 4},
    "resnet44": {"width": 4},
    "resnet56": {"width": 4},
    "resnet110": {"width": 4},
    "vgg11": {"width": 8},
    "wrn28_10": {"width": 1},
    "gru_tagger": {"steps": 8},
    "qmix_agent": {},
    "rcnn": {"size": 64, "width": 4, "regions": 3},
}


def _zoo(name: str, batch: int = 1, **options: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return zoo.build(name, "random", **options), zoo.example_inputs(name, batch, **options)


@pytest.mark.parametrize("name", sorted(zoo.MODELS))
def test_every_zoo_model_agrees_with_its_module(name: str) -> None:
    module, inputs = _zoo(name, 2, **SMALL_ZOO[name])
    captured = capture(module, inputs, name=name)
    assert captured.graph.model == name
    assert eager_difference(captured, module, inputs) < 1e-6
    assert {n for n, _ in module.named_parameters()} <= set(captured.state)
    names = [op.name for op in captured.graph.operators]
    assert len(set(names)) == len(names)


@pytest.mark.long
def test_full_size_wide_resnet() -> None:
    module, inputs = _zoo("wrn28_10")
    captured = capture(module, inputs, name="wrn28_10")
    assert eager_difference(captured, module, inputs) < 1e-6


def _read_after(graph: ModelGraph, cut: int) -> set[int]:
    """Tensors that the text of the operators after `cut` names, and the results."""
    texts = "".join(op.arguments for op in graph.operators[cut:])
    return {int(t) for t in re.findall(r'\{"t":(\d+)\}', texts)} | set(graph.outputs)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "gru_tagger"])
def test_live_set_is_what_the_program_needs(name: str) -> None:
    module, inputs = _zoo(name, **SMALL_ZOO[name])
    graph = capture(module, inputs, name=name).graph
    made = set(graph.inputs)
    for cut in range(graph.num_operators + 1):
        assert set(graph.live_set(cut)) == made & _read_after(graph, cut)
        if cut < graph.num_operators:
            made |= set(graph.operators[cut].outputs)


def test_residual_block_carries_two_tensors() -> None:
    graph = capture(Residual(), (torch.randn(1, 4, 6, 6),), name="residual").graph
    assert [op.target.split(".")[1] for op in graph.operators] == ["conv2d", "relu", "conv2d", "relu", "add"]
    assert [len(live) for live in graph.live_sets] == [1, 1, 1, 2, 2, 1]


def test_recurrent_cut_carries_state_remaining_inputs_and_tags() -> None:
    steps, hidden, features, tags = 5, 7, 3, 2
    module = zoo.gru_tagger(steps, hidden, features, tags)
    graph = capture(module, (torch.randn(1, steps, features),), name="gru").graph
    cells = [k for k, op in enumerate(graph.operators) if op.target == "aten.gru_cell.default"]
    assert len(cells) == steps
    for step, k in enumerate(cells):
        shapes = sorted(graph.tensors[t].shape for t in graph.live_set(k))
        expected = [(1, features)] * (steps - step) + [(1, tags)] * step + [(1, hidden)] * (step > 0)
        assert shapes == sorted(expected)
    # Nor does the first state, all zeros, cross a cut: it follows from the weights' form alone.
    assert graph.cut_nbytes(cells[0]) == graph.cut_nbytes(0)


def test_a_view_and_its_base_count_once() -> None:
    graph = capture(Plain(CAPTURED["alias"][0]), (torch.randn(1, 4),), name="alias").graph
    assert [graph.cut_nbytes(c) for c in range(4)] == [16, 32, 32, 32]


def test_parts_of_a_tensor_that_lives_on_are_not_carried() -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 0]
            for k in range(1, 4):
                y = (y * x[:, k]).relu()
            return y

    graph = capture(Steps(), (torch.randn(1, 4, 8),), name="steps").graph
    # y and x, or y and the last part of x: never a part beside the whole.
    assert max(graph.cut_nbytes(c) for c in range(graph.num_operators + 1)) == 4 * (4 * 8 + 8)
    assert len(graph.live_sets[-2]) == 1


@pytest.mark.parametrize("trait", sorted(CAPTURED))
def test_trait(trait: str) -> None:
    function, targets = CAPTURED[trait]
    module = Plain(function).eval()
    x = torch.randn(1, 4)
    captured = capture(module, (x,), name="m")
    assert [op.target for op in captured.graph.operators] == [f"aten.{t}" for t in targets]
    executor = StageExecutor(captured)
    with torch.no_grad():
        expected = module(x)
    found = captured.result(executor.run_tensors(0, captured.graph.num_operators, {0: x}))
    expected_leaves, expected_form = _pytree.tree_flatten(expected)
    found_leaves = _pytree.tree_leaves(found)
    for f, e in zip(found_leaves, expected_leaves, strict=True):
        if e is not None:
            assert f.dtype == e.dtype
            torch.testing.assert_close(f, e)
        else:
            assert f is None
    if not isinstance(expected, Pair | tuple):
        assert _pytree.tree_flatten(found)[1] == expected_form
    else:
        assert isinstance(found, tuple)


@pytest.mark.parametrize("trait", sorted(REFUSED))
def test_refusal_is_one_line_with_reason(trait: str, capfd: pytest.CaptureFixture[str]) -> None:
    function, words = REFUSED[trait]
    with pytest.raises(CaptureError) as caught:
        capture(Plain(function).eval(), (torch.randn(1, 4),), name="m")
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 600
    assert capfd.readouterr() == ("", "")


def test_refusal_names_the_users_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptureError, match=r"depends on the data .* at nn_models\.py:\d+: `if x\.sum\(\) > 0:`$"):
        capture(AsksItsData(), (torch.randn(3),), name="asks")
    assert capfd.readouterr() == ("", "")


def test_refuses_what_is_no_module_and_no_tensor() -> None:
    with pytest.raises(CaptureError, match=r"expected an nn\.Module, got a function"):
        capture(lambda x: x, (torch.ones(1),), name="m")  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="example input 1 is a int"):
        capture(Plain(CAPTURED["identity"][0]), (torch.ones(1), 3), name="m")  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="sparse"):
        capture(Plain(CAPTURED["identity"][0]), (torch.ones(2, 2).to_sparse(),), name="m")


def test_digest_is_of_the_computation_alone() -> None:
    x = (torch.randn(1, 4, 6, 6),)
    one = capture(Residual(), x, name="one")
    other_weights = Residual()
    with torch.no_grad():
        other_weights.one.weight.mul_(2)
    two = capture(other_weights, x, name="two")
    assert one.graph.digest == two.graph.digest
    assert one.weights_digest != two.weights_digest
    assert one.weights_digest == capture(Residual(), x, name="one").weights_digest

    renamed = Residual()
    renamed.eins, renamed.zwei = renamed.one, renamed.two
    renamed.forward = lambda x: (lambda y: renamed.zwei(y).relu() + y)(renamed.eins(x).relu())  # type: ignore[method-assign]
    del renamed.one, renamed.two
    assert capture(renamed, x, name="renamed").graph.digest == one.graph.digest

    different = [Residual(stride=2), Residual(padding=0), Residual()]
    digests = {capture(m, x, name="d").graph.digest for m in different}
    digests.add(capture(Residual(), (torch.randn(2, 4, 6, 6),), name="batch").graph.digest)
    assert len(digests) == 4


def test_example_values_do_not_matter() -> None:
    a = capture(Residual(), (torch.zeros(1, 4, 6, 6),), name="m")
    b = capture(Residual(), (torch.randn(1, 4, 6, 6),), name="m")
    assert a.graph == b.graph


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4)
            self.out = nn.Linear(4, 10, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.embed(x))

    graph = capture(Tied(), (torch.zeros(1, 3, dtype=torch.int64),), name="tied").graph
    assert len(graph.parameters) == 1
    assert graph.parameter_nbytes(0, 2) == 160


def test_a_notebook_shows_it_in_a_line() -> None:
    captured = capture(Residual(), (torch.randn(1, 4, 8, 8),), name="block")
    assert repr(captured) == "<Captured block: 5 operators, 1.16 KiB of weights>"


def test_state_is_a_copy_in_order() -> None:
    module = Residual()
    captured = capture(module, (torch.randn(1, 4, 6, 6),), name="m")
    before = captured.state["one.weight"].clone()
    with torch.no_grad():
        module.one.weight.zero_()
    assert torch.equal(captured.state["one.weight"], before)
    assert list(captured.state) == [p.name for p in captured.graph.parameters]


def test_module_keeps_its_mode() -> None:
    module = Plain(CAPTURED["dropout"][0]).train()
    module.norm.eval()
    capture(module, (torch.randn(1, 4),), name="m")
    assert module.training
    assert module.dropout.training
    assert not module.norm.training


def test_training_mode_writes_statistics() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.norm(x) * 2

    module = Plain(forward)
    x = torch.randn(3, 4)
    captured = capture(module, (x,), name="m", mode="train")
    assert captured.graph.mode == "train"
    written = {captured.graph.parameters[p].name for op in captured.graph.operators for p in op.writes}
    assert written == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}

    executor = StageExecutor(captured)
    for _ in range(2):
        [found] = executor.whole((x,))
        with torch.no_grad():
            torch.testing.assert_close(found, module.train()(x))
    index = {p.name: k for k, p in enumerate(captured.graph.parameters)}
    for name in written:
        found = executor.parameter(index[name])
        torch.testing.assert_close(found, module.state_dict()[name])
    # The captured values stay as they were.
    assert captured.state["norm.num_batches_tracked"] == 0


def test_a_buffer_read_before_it_is_written_and_used_after_is_refused() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        old = m.norm.running_mean * 2
        m.norm.running_mean.add_(x.mean(0))
        return x + old

    with pytest.raises(CaptureError, match="after changing it"):
        capture(Plain(forward), (torch.randn(3, 4),), name="m", mode="train")


def test_unused_inputs_do_not_travel() -> None:
    module = Plain(lambda m, x, y: x + 1)
    graph = capture(module, (torch.randn(1, 4), torch.randn(5)), name="m").graph
    assert graph.inputs == (0, 1)
    assert graph.live_set(0) == (0,)


def test_200_steps_export_in_reasonable_time() -> None:
    module, inputs = _zoo("gru_tagger", steps=200)
    graph = capture(module, inputs, name="gru").graph
    assert sum(op.target == "aten.gru_cell.default" for op in graph.operators) == 200


class KeywordOnly(nn.Module):
    def forward(self, *, x: Tensor) -> Tensor:
        return x


def test_inputs_that_forward_does_not_take_name_forward() -> None:
    with pytest.raises(CaptureError, match=r"TypeError: .* at test_capture\.py:\d+: `def forward\(self, \*, x"):
        capture(KeywordOnly(), (torch.zeros(1),), name="m")
    with pytest.raises(CaptureError) as caught:  # torch's own forward is no line of the user's
        capture(nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1)), name="m")
    assert ".py" not in str(caught.value)
