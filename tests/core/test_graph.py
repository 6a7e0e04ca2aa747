"""Live sets by definition: made before the cut, used after it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from airloom.core.graph import ModelGraph, Operator, TensorSpec


@st.composite
def graphs(draw) -> ModelGraph:
    """Random DAGs: each operator reads any earlier tensors and makes one or two."""
    tensors = draw(st.integers(1, 3))
    inputs = tuple(range(tensors))
    operators = []
    for k in range(draw(st.integers(1, 8))):
        reads = tuple(sorted(draw(st.sets(st.integers(0, tensors - 1), min_size=1, max_size=3))))
        made = tuple(range(tensors, tensors + draw(st.integers(1, 2))))
        tensors += len(made)
        operators.append(Operator(name=f"op{k}", target="aten.add.Tensor", inputs=reads, outputs=made))
    outputs = tuple(sorted(draw(st.sets(st.integers(0, tensors - 1), min_size=1, max_size=2))))
    specs = tuple(TensorSpec(shape=(t + 1,), dtype="float32") for t in range(tensors))
    return ModelGraph(
        model="g", tensors=specs, inputs=inputs, outputs=outputs, operators=tuple(operators), parameters=()
    )


@given(graphs())
def test_live_set_is_made_before_and_used_after(graph: ModelGraph) -> None:
    for cut in range(graph.num_operators + 1):
        before = set(graph.inputs).union(*(op.outputs for op in graph.operators[:cut]))
        after = set(graph.outputs).union(*(op.inputs for op in graph.operators[cut:]))
        assert set(graph.live_set(cut)) == before & after
        assert graph.cut_nbytes(cut) == sum(4 * (t + 1) for t in before & after)


@given(graphs())
def test_digest_ignores_names_and_sees_structure(graph: ModelGraph) -> None:
    renamed = ModelGraph(
        model="other",
        tensors=graph.tensors,
        inputs=graph.inputs,
        outputs=graph.outputs,
        operators=tuple(
            Operator(name=f"x{k}", target=op.target, inputs=op.inputs, outputs=op.outputs)
            for k, op in enumerate(graph.operators)
        ),
        parameters=(),
    )
    assert renamed.digest == graph.digest
    first = graph.operators[0]
    changed = Operator(name=first.name, target="aten.mul.Tensor", inputs=first.inputs, outputs=first.outputs)
    other = ModelGraph(
        model="g",
        tensors=graph.tensors,
        inputs=graph.inputs,
        outputs=graph.outputs,
        operators=(changed, *graph.operators[1:]),
        parameters=(),
    )
    assert other.digest != graph.digest


def test_weights_of_a_stage_count_once() -> None:
    from airloom.core.graph import Parameter

    spec = TensorSpec(shape=(10,), dtype="float32")
    graph = ModelGraph(
        model="tied",
        tensors=(spec,) * 3,
        inputs=(0,),
        outputs=(2,),
        operators=(
            Operator(name="a", target="aten.mul.Tensor", inputs=(0,), outputs=(1,), parameters=(0,)),
            Operator(name="b", target="aten.mul.Tensor", inputs=(1,), outputs=(2,), parameters=(0,)),
        ),
        parameters=(Parameter(name="w", spec=spec),),
    )
    assert graph.parameter_nbytes(0, 2) == 40
    assert graph.parameter_nbytes(0, 1) == 40
    assert graph.parameter_nbytes(1, 1) == 0


def test_item_bytes_agree_with_numpy() -> None:
    from airloom.core.graph import ITEM_BYTES

    for name, size in ITEM_BYTES.items():
        if name != "bfloat16":
            assert np.dtype(name).itemsize == size
