"""Split cost messages: at most 4(L+1) bytes and a header."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.messages import Ask, SplitCost
from airloom.errors import WireError
from airloom.wire.splitcost import (
    HEADER_NBYTES,
    MAX_LABELS,
    decode_ask,
    decode_split_cost,
    encode_ask,
    encode_split_cost,
    is_ask,
    split_cost_nbytes,
)

COSTS = st.lists(st.floats(0, width=32, allow_nan=False), max_size=60)
MESSAGES = st.builds(
    lambda costs, host, sink, wave, update, graph: SplitCost(
        host, sink, wave, graph, np.array([*costs, 0.0], dtype=np.float32), update
    ),
    COSTS,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=8, max_size=8),
)


def same(a: SplitCost, b: SplitCost) -> bool:
    return a._replace(cost_s=0) == b._replace(cost_s=0) and bool(np.array_equal(a.cost_s, b.cost_s))  # type: ignore[arg-type]


@given(MESSAGES)
@settings(max_examples=500, deadline=None)
def test_a_message_survives_the_wire_in_4_bytes_a_cut(message: SplitCost) -> None:
    data = encode_split_cost(message)
    assert len(data) == HEADER_NBYTES + 4 * len(message.cost_s)
    assert same(decode_split_cost(data, len(message.cost_s)), message)


@given(st.one_of(st.binary(max_size=100), MESSAGES.map(encode_split_cost)), st.data())
@settings(max_examples=500, deadline=None)
def test_what_decodes_has_one_encoding(data: bytes, draw: st.DataObject) -> None:
    mutable = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 2))):
        if mutable:
            mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    cuts = max(0, len(mutable) - HEADER_NBYTES) // 4
    try:
        message = decode_split_cost(bytes(mutable), cuts)
    except WireError:
        return
    assert encode_split_cost(message) == bytes(mutable)


@pytest.mark.parametrize("costs", [[np.nan, 0], [-1, 0], [1, 2], [-np.inf, 0]])
def test_impossible_costs_are_refused(costs: list[float]) -> None:
    data = encode_split_cost(SplitCost(0, 1, 2, b"12345678", np.array(costs, dtype=np.float32)))
    with pytest.raises(WireError, match="at least 0"):
        decode_split_cost(data, 2)


def test_a_message_of_another_length_or_version_is_refused() -> None:
    data = encode_split_cost(SplitCost(0, 1, 2, b"12345678", np.zeros(3, dtype=np.float32)))
    for wrong, cuts in ((data, 4), (data[:-1], 3), (data + b"\0", 3), (b"\2" + data[1:], 3), (b"", 0)):
        with pytest.raises(WireError):
            decode_split_cost(wrong, cuts)


def test_infinity_means_a_sender_that_cannot_go_on() -> None:
    costs = np.array([np.inf, 0], dtype=np.float32)
    assert np.isinf(decode_split_cost(encode_split_cost(SplitCost(0, 1, 2, b"12345678", costs)), 2).cost_s[0])


ROWS = st.lists(
    st.lists(st.floats(0, 2.0**100, width=32), min_size=2, max_size=2), max_size=5
).map(lambda rows: np.abs(np.array(rows, dtype=np.float32).reshape(-1, 2)))  # fmt: skip
FRONTIERS = st.builds(
    lambda rows, source, wave, loss: SplitCost(
        3, 4, wave, b"12345678", np.array([0.0 if len(r) else np.inf for r in rows] + [0.0], dtype=np.float32), 7,
        source, (*rows, np.zeros((1, 2), dtype=np.float32)), loss,
    ),
    st.lists(ROWS, max_size=20), st.integers(-1, 65534), st.integers(0, 2**63 - 1), st.floats(1.0, 3.0, width=32),
)  # fmt: skip


def alike(a: SplitCost, b: SplitCost) -> bool:
    rest = {"cost_s": 0, "labels": ()}
    return (
        a._replace(**rest) == b._replace(**rest)  # type: ignore[arg-type]
        and bool(np.array_equal(a.cost_s, b.cost_s))
        and len(a.labels) == len(b.labels)
        and all(np.array_equal(x, y) for x, y in zip(a.labels, b.labels, strict=True))
    )


@given(FRONTIERS)
@settings(max_examples=200, deadline=None)
def test_a_frontier_survives_the_wire_within_its_documented_size(message: SplitCost) -> None:
    data = encode_split_cost(message)
    cuts = len(message.cost_s)
    assert len(data) == split_cost_nbytes(message) <= HEADER_NBYTES + 8 + cuts * (1 + 4 * 2 * MAX_LABELS)
    assert alike(decode_split_cost(data, cuts), message)


@given(FRONTIERS.map(lambda message: (encode_split_cost(message), len(message.cost_s))), st.data())
@settings(max_examples=500, deadline=None)
def test_a_frontier_that_was_tampered_with_is_refused_or_means_one_thing(
    sent: tuple[bytes, int], draw: st.DataObject
) -> None:
    mutable, cuts = bytearray(sent[0]), sent[1]
    for _ in range(draw.draw(st.integers(0, 3))):
        mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        mutable = mutable[: draw.draw(st.integers(0, len(mutable)))]
    try:
        message = decode_split_cost(bytes(mutable), cuts)
    except WireError:
        return
    assert encode_split_cost(message) == bytes(mutable)
    assert all(bool((rows >= 0).all()) for rows in message.labels)


def frontier(*rows: list[list[float]], loss: float = 1.0) -> bytes:
    """As it would be sent by a host that checks nothing."""
    labels = [np.array(r, dtype="<f4").reshape(-1, 2) for r in rows]
    head = encode_split_cost(SplitCost(0, 1, 2, b"12345678", np.zeros(len(rows), dtype=np.float32)))[:HEADER_NBYTES]
    front = struct.pack("<fHH", loss, 2, 0) + bytes(len(r) for r in labels)
    return head[:1] + b"\2" + head[2:] + front + b"".join(r.tobytes() for r in labels)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (frontier([[1, 2]], [[0, 0]], loss=0.9), "out of range"),
        (frontier([[1, 2]], [[0, 0]], loss=float("nan")), "out of range"),
        (frontier([[1, 2]] * 65, [[0, 0]]), "out of range"),
        (frontier([[1, float("nan")]], [[0, 0]]), "finite"),
        (frontier([[1, float("inf")]], [[0, 0]]), "finite"),
        (frontier([[-1, 2]], [[0, 0]]), "finite"),
        (frontier([[-0.0, 2]], [[0, 0]]), "-0"),
        (frontier([[1, 2]], [[0, 1]]), "zeros at the last"),
        (frontier([[1, 2]], []), "zeros at the last"),
        (frontier([[1, 2]], [[0, 0]])[:-1], "its labels take"),
        (frontier([[1, 2]], [[0, 0]]) + b"\0", "its labels take"),
        (frontier([[1, 2]], [[0, 0]])[: HEADER_NBYTES + 3], "no room"),
    ],
)
def test_hostile_frontiers_are_refused(data: bytes, match: str) -> None:
    assert len(decode_split_cost(frontier([[1, 2]], [[0, 0]]), 2).labels) == 2
    with pytest.raises(WireError, match=match):
        decode_split_cost(data, 2)


@given(st.integers(0, 65535), st.integers(0, 2**63 - 1), st.binary(min_size=8, max_size=8))
@settings(deadline=None)
def test_a_question_survives_the_wire(source: int, number: int, graph: bytes) -> None:
    data = encode_ask(Ask(source, number, graph))
    assert len(data) == HEADER_NBYTES
    assert is_ask(data)
    assert decode_ask(data) == Ask(source, number, graph)


@given(st.binary(min_size=30, max_size=34))
@settings(max_examples=300, deadline=None)
def test_what_is_no_question_is_refused(data: bytes) -> None:
    try:
        ask = decode_ask(data)
    except WireError:
        return
    assert encode_ask(ask) == data


def test_a_message_is_no_question_and_a_question_no_message() -> None:
    cost = encode_split_cost(SplitCost(0, 1, 2, b"12345678", np.zeros(1, dtype=np.float32)))
    ask = encode_ask(Ask(0, 1, b"12345678"))
    assert not is_ask(cost)
    with pytest.raises(WireError):
        decode_ask(cost[:HEADER_NBYTES])
    for cuts in (0, 1):
        with pytest.raises(WireError):
            decode_split_cost(ask, cuts)
    with pytest.raises(ValueError, match="8 digest bytes"):
        encode_ask(Ask(0, 1, b""))
    with pytest.raises(ValueError, match="fit"):
        encode_ask(Ask(-1, 1, b"12345678"))
