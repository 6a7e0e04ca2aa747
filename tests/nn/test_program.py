"""The language of operators' arguments, and the list of operators it may name."""

from __future__ import annotations

import keyword
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.value import canonical_json
from airloom.errors import UserError
from airloom.nn.operators import (
    ALLOWED,
    DROPOUT_ARGUMENT,
    RANDOM,
    UnknownOperator,
    argument_names,
    draws_random,
    overload,
)
from airloom.nn.program import (
    DTYPES,
    Call,
    LocalRef,
    ParameterRef,
    Program,
    ProgramError,
    TensorRef,
    decode,
    encode,
)

IDS = st.integers(0, 2**31 - 1)
ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=8),
    IDS.map(TensorRef), IDS.map(ParameterRef), st.sampled_from(sorted(DTYPES.values(), key=str)),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)  # fmt: skip
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Any program: arguments need not fit the operator, that is for the check of the graph."""
    let: list[Call] = []
    for k in range(draw(st.integers(0, 3))):
        args = draw(st.lists(VALUES, max_size=3)) + [LocalRef(j) for j in range(k)]
        item = draw(st.none() | st.integers(0, 3))
        let.append(Call("aten.view.default", tuple(args), {}, item))
    args = tuple(draw(st.lists(VALUES, max_size=3)) + [LocalRef(j) for j in range(len(let))])
    return Program(
        call=Call("aten.softmax.int", args, {"dtype": draw(VALUES)}),
        let=tuple(let),
        take=draw(st.none() | st.lists(IDS, max_size=3).map(tuple)),
        writes=draw(st.lists(st.tuples(IDS, IDS), max_size=2).map(tuple)),
    )


@given(programs())
@settings(deadline=None)
def test_decode_inverts_encode(program: Program) -> None:
    text = encode(program)
    found = decode(program.call.target, text)
    assert found == program
    assert encode(found) == text


def test_numbers_that_json_lacks() -> None:
    program = Program(call=Call("aten.relu.default", (math.inf, -math.inf, math.nan)))
    assert encode(program) == '{"args":[{"f":"inf"},{"f":"-inf"},{"f":"nan"}]}'
    args = decode("aten.relu.default", encode(program)).call.args
    assert args[:2] == (math.inf, -math.inf)
    assert math.isnan(args[2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "not an object"),
        ("{}x", "not JSON"),
        ('{"args": 3}', "a call has args"),
        ('{"more": []}', "a call has args"),
        ('{"args": [{"t": -1}]}', "expected an index"),
        ('{"args": [{"t": true}]}', "expected an index"),
        ('{"args": [{"t": 1, "p": 1}]}', "expected one of"),
        ('{"args": [{"x": 1}]}', "unknown value"),
        ('{"args": [{"dtype": "object"}]}', "unknown value"),
        ('{"args": [{"f": []}]}', "unknown value"),
        ('{"args": [{"l": 0}]}', "result that let does not have"),
        ('{"args": [1e999]}', ""),
        ('{"args": [18446744073709551616]}', "64 bits"),
        ('{"args": [' + "[" * 40 + "]" * 40 + "]}", "nested too deep"),
        ('{"args": ' + "[" * 100_000 + "}", ""),
        ('{"kwargs": {"nope": 1}}', "no argument 'nope'"),
        ('{"kwargs": {"device": "cuda"}}', "no argument 'device'"),
        ('{"let": [3]}', "let holds calls"),
        ('{"let": [{"op": "os.system.default", "args": ["true"]}]}', "not on the list"),
        ('{"let": [{"op": 3}]}', "a call has args"),
        ('{"let": [{"op": "aten.relu.default", "args": [{"l": 0}]}]}', "comes after it"),
        ('{"write": [[1]]}', "pairs"),
        ('{"take": 1}', "not an object"),
    ],
)
def test_malformed_text_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        decode("aten._to_copy.default", text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(
    st.sampled_from(["args", "kwargs", "let", "take", "write", "op", "item", "t", "p", "l", "f", "dtype"]), v
)).map(lambda v: canonical_json(v).decode() if not _huge(v) else "0"))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_program_or_refused(text: str) -> None:
    try:
        program = decode("aten.add.Tensor", text)
    except UserError:
        return
    assert decode("aten.add.Tensor", encode(program)) == program


def _huge(value: object) -> bool:
    if isinstance(value, int):
        return not -(2**63) <= value < 2**64
    children = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return any(_huge(v) for v in children)


@pytest.mark.parametrize("target", sorted(ALLOWED))
def test_listed_operator_is_pure(target: str) -> None:
    found = overload(target)
    assert target.startswith("aten.")
    assert not found._schema.is_mutable
    assert torch.Tag.nondeterministic_seeded not in found.tags or target in DROPOUT_ARGUMENT or target in RANDOM
    assert torch.Tag.data_dependent_output not in found.tags
    # These two depend on the data for some arguments only: capture and the check of graphs refuse those.
    assert torch.Tag.dynamic_output_shape not in found.tags or target in ("aten.index.Tensor", "aten.one_hot.default")
    assert not any(keyword.iskeyword(name) for name in argument_names(target))


def test_unlisted_operators_are_unknown() -> None:
    for target in ("aten.rand.default", "aten.add_.Tensor", "aten.from_file.default", "prims.add.default", "x", ""):
        with pytest.raises(UnknownOperator):
            overload(target)


def test_dropout_inside_operators() -> None:
    sdpa = "aten.scaled_dot_product_attention.default"
    assert not draws_random(sdpa, [1, 2, 3], {})
    assert draws_random(sdpa, [1, 2, 3], {"dropout_p": 0.1})
    assert draws_random(sdpa, [1, 2, 3, None, 0.1], {})
    # input, hx, params, has_biases, num_layers, dropout, train, ...
    assert not draws_random("aten.gru.input", [1, 2, [], True, 2, 0.5, False], {})
    assert draws_random("aten.gru.input", [1, 2, [], True, 2, 0.5, True], {})
    with pytest.raises(ProgramError, match="random"):
        decode(sdpa, '{"args":[{"t":0},{"t":0},{"t":0}],"kwargs":{"dropout_p":0.5}}')
