"""Reports and marks: round trips, one encoding per value, impossible ones refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import WireError
from airloom.wire.blocks import (
    DONE,
    MAX_SENT,
    PARTIAL,
    REFUSED,
    ROOM,
    Mark,
    MessageState,
    Report,
    Sent,
    after,
    decode_mark,
    decode_report,
    encode_mark,
    encode_report,
    num_blocks,
)

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
STATES = st.one_of(
    st.builds(MessageState, U64, st.sampled_from((DONE, REFUSED)), U32, st.just(())),
    st.builds(
        MessageState,
        U64,
        st.just(PARTIAL),
        U32,
        st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 2**16 - 1)), max_size=8).map(tuple),
    ),
)
REPORTS = st.builds(
    Report, U32, st.one_of(st.none(), U32), U32, st.floats(0, 2.0**46, width=32), U32, U32,
    st.lists(STATES, max_size=6).map(tuple),
)  # fmt: skip
MARKS = st.builds(
    Mark,
    U32,
    st.lists(
        st.tuples(U64, st.integers(1, 2**26)).flatmap(
            lambda m: st.builds(Sent, st.just(m[0]), st.just(m[1]), st.integers(0, num_blocks(m[1])))
        ),
        max_size=6,
    ).map(tuple),
)


@given(REPORTS)
@settings(max_examples=500, deadline=None)
def test_a_report_survives_the_wire(report: Report) -> None:
    assert decode_report(encode_report(report)) == report


@given(MARKS)
@settings(max_examples=500, deadline=None)
def test_a_mark_survives_the_wire(mark: Mark) -> None:
    assert decode_mark(encode_mark(mark)) == mark


@given(st.one_of(st.binary(max_size=120), REPORTS.map(encode_report), MARKS.map(encode_mark)), st.data())
@settings(max_examples=500, deadline=None)
def test_what_decodes_has_one_encoding(data: bytes, draw: st.DataObject) -> None:
    mutable = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 2))):
        if mutable:
            mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    changed = bytes(mutable)
    for decode, encode in ((decode_report, encode_report), (decode_mark, encode_mark)):
        try:
            value = decode(changed)
        except WireError:
            continue
        if not (isinstance(value, Report) and value.rate_bps == 0):  # -0.0 is 0 too
            assert encode(value) == changed  # type: ignore[operator]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 1e16])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(WireError):
        decode_report(encode_report(Report(1, 2, 3, rate, 4, 5)))


def test_an_empty_or_endless_range_is_refused() -> None:
    for first, count in ((0, 0), (2**32 - 1, 2)):
        state = MessageState(1, PARTIAL, 0, ((first, count),))
        with pytest.raises(WireError):
            decode_report(encode_report(Report(1, 2, 3, 0.0, 4, 5, (state,))))


def test_the_fullest_mark_fits_a_block() -> None:
    mark = Mark(1, tuple(Sent(k, 1, 1) for k in range(MAX_SENT)))
    assert len(encode_mark(mark)) <= ROOM
    assert decode_mark(encode_mark(mark)) == mark


def test_a_mark_of_more_blocks_than_the_message_has_is_refused() -> None:
    with pytest.raises(WireError):
        decode_mark(encode_mark(Mark(0, (Sent(1, ROOM, 2),))))


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(1, 0, True), (0, 1, False), (0, 2**32 - 1, True), (5, 5, False), (2**31, 0, False)]
)
def test_serial_numbers_wrap(a: int, b: int, expected: bool) -> None:
    assert after(a, b) is expected


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_break_a_decoder(seed: int) -> None:
    """100,000 mutants per decoder over the seeds: WireError or a value, nothing else."""
    from airloom.core.messages import Frame, FrameKind, SplitCost
    from airloom.wire.header import decode_frame, encode_frame
    from airloom.wire.message import unpack_message
    from airloom.wire.splitcost import decode_split_cost, encode_split_cost

    rng = np.random.default_rng(seed)
    seeds = {
        decode_report: encode_report(
            Report(1, 2, 3, 5e7, 4, 5, (MessageState(1, PARTIAL, 2, ((3, 4), (9, 1))), MessageState(2, DONE, 0)))
        ),
        decode_mark: encode_mark(Mark(1, (Sent(1, 5000, 3), Sent(9, 10, 1)))),
        decode_frame: encode_frame(Frame(kind=FrameKind.TASK, source=1, request=2, tensors=((1, 16), (2, 8)))),
        unpack_message: encode_frame(Frame(kind=FrameKind.TASK, source=1, request=2, tensors=((1, 16),))) + bytes(16),
        lambda data: decode_split_cost(data, max(0, len(data) - 32) // 4): encode_split_cost(
            SplitCost(0, 1, 2, b"12345678", np.zeros(4, dtype=np.float32))
        ),
    }
    for decode, good in seeds.items():
        for _ in range(25_000):
            data = bytearray(good)
            for _ in range(rng.integers(1, 6)):
                data[rng.integers(len(data))] = rng.integers(256)
            if rng.random() < 0.3:
                data = data[: rng.integers(len(data))] + rng.bytes(rng.integers(8))
            with contextlib.suppress(WireError):
                decode(bytes(data))
