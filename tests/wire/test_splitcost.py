"""Split cost messages: at most 4(L+1) bytes and a header."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.messages import SplitCost
from airloom.errors import WireError
from airloom.wire.splitcost import HEADER_NBYTES, decode_split_cost, encode_split_cost

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
