"""Heads of messages: round trips, one encoding per value, nothing malformed gets through."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.framing import Framing
from airloom.core.messages import UNKNOWN_DROP, Frame, FrameKind, Gap, Mode, Parcel
from airloom.errors import WireError
from airloom.wire.header import MAX_TENSORS, decode_frame, encode_frame
from airloom.wire.message import pack_message, unpack_message

U32 = st.integers(0, 2**32 - 1)
FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(FrameKind),
    source=U32,
    request=st.integers(0, 2**64 - 1),
    attempt=U32,
    epoch=U32,
    cut=U32,
    transfer=st.integers(-1, 2**31 - 1),
    missing_ppm=st.integers(0, 1_000_000),
    model=st.binary(min_size=8, max_size=8),
    mode=st.sampled_from(Mode),
    coding=st.integers(0, 2**16 - 1),
    drop_bp=st.one_of(st.integers(0, 10_000), st.just(UNKNOWN_DROP)),
    gone_bp=st.integers(0, 10_000),
    tensors=st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**24)), max_size=5).map(tuple),
).map(lambda frame: frame if frame.transfer >= 0 else msgspec.structs.replace(frame, epoch=frame.epoch >> 1))
LEFT = st.lists(st.floats(0, width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=2)
FRAMES_WITH_BOUNDS = st.builds(
    lambda frame, left: msgspec.structs.replace(frame, epoch=0, transfer=-1, left=tuple(left)), FRAMES, LEFT
)


@given(st.one_of(FRAMES, FRAMES_WITH_BOUNDS))
@settings(max_examples=500, deadline=None)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    data = encode_frame(frame)
    assert len(data) == Framing().message_nbytes(tuple(0 for _ in frame.tensors))
    assert decode_frame(data) == frame


def test_golden_head() -> None:
    """The layout of the module's docstring, by hand."""
    frame = Frame(kind=FrameKind.RESULT, source=1, request=2, attempt=3, epoch=4, cut=5, transfer=-1, missing_ppm=7,
                  tensors=((9, 40),))  # fmt: skip
    assert encode_frame(frame).hex() == (
        "414c4d31" "02000000" "01000000" + "00" * 12 + "0200000000000000" "03000000" "04000000" "05000000"
        "ffffffff" "07000000" "01000000" "2800000000000000" "0900000000000000" "2800000000000000"
    )  # fmt: skip
    coded = Frame(kind=FrameKind.TASK, source=1, request=2, model=b"graphkey", mode=Mode.WEIGHTS, coding=3, drop_bp=4,
                  gone_bp=5)  # fmt: skip
    assert encode_frame(coded).hex() == (
        "414c4d31" "01010300" "01000000" + b"graphkey".hex() + "04000500" "0200000000000000" + "00" * 12 + "ffffffff"
        + "00" * 16
    )  # fmt: skip


@given(st.one_of(st.binary(max_size=200), FRAMES.map(encode_frame), FRAMES_WITH_BOUNDS.map(encode_frame)), st.data())
@settings(max_examples=500, deadline=None)
def test_what_decodes_has_one_encoding(data: bytes, draw: st.DataObject) -> None:
    """Any bytes, or a head with some bytes changed: refused with WireError, or exactly what `encode_frame` makes."""
    mutable = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        if mutable:
            mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    try:
        frame = decode_frame(bytes(mutable))
    except WireError:
        return
    encoded = encode_frame(frame)
    assert encoded == bytes(mutable[: len(encoded)])


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0), (4, 0), (4, 9), (5, 9), (21, 0x28), (23, 0x28), (44, 0xF0), (48, 0xFF), (53, 0xFF), (56, 1)],
)
def test_a_wrong_byte_is_refused(offset: int, value: int) -> None:
    data = bytearray(encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, tensors=((3, 8),), transfer=-1)))
    data[offset] = value
    if offset == 44:
        data[44:48] = b"\xf0\xff\xff\xff"  # transfer -16
    if offset == 48:
        data[48:52] = b"\xff\xff\xff\xff"
    with pytest.raises(WireError):
        decode_frame(data)


@pytest.mark.parametrize("nbytes", [0, 63, 64, 79])
def test_a_head_that_is_cut_off_is_refused(nbytes: int) -> None:
    data = encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, tensors=((3, 8),)))
    with pytest.raises(WireError):
        decode_frame(data[:nbytes])


def test_what_does_not_fit_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, tensors=((0, 0),) * (MAX_TENSORS + 1)))
    with pytest.raises(ValueError, match="does not fit"):
        encode_frame(Frame(kind=FrameKind.TASK, source=-1, request=0))
    with pytest.raises(ValueError, match="8 bytes"):
        encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, model=b"short"))


def test_missing_ranges_of_the_message_become_gaps_of_its_tensors() -> None:
    frame = Frame(kind=FrameKind.TASK, source=0, request=1)
    parcel = Parcel((7, 8), (memoryview(b"a" * 10), memoryview(b"b" * 20)))
    message = bytearray(b"".join(pack_message(frame, parcel)))
    head = 64 + 2 * 16
    _, got = unpack_message(message, [(head + 4, head + 13), (head + 29, head + 30)])
    assert got.missing == (Gap(7, 4, 10), Gap(8, 0, 3), Gap(8, 19, 20))
    assert (got.tensors, [bytes(d) for d in got.data]) == ((7, 8), [b"a" * 10, b"b" * 20])
    with pytest.raises(WireError, match="head"):
        unpack_message(message, [(head - 1, head + 1)])
    with pytest.raises(WireError, match="another size"):
        unpack_message(message + b"x")


def test_bounds_take_the_place_of_epoch_and_transfer() -> None:
    """By hand: 1.5 is 3fc00000, 2.0 is 40000000, both with the sign bit set."""
    one = encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, left=(1.5,)))
    assert (one[36:40].hex(), one[44:48].hex()) == ("0000c0bf", "ffffffff")
    two = encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, left=(1.5, 2.0)))
    assert (two[36:40].hex(), two[44:48].hex()) == ("0000c0bf", "000000c0")
    assert decode_frame(two).left == (1.5, 2.0)
    nothing = encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, left=(0.0, 0.0)))
    assert decode_frame(nothing).left == (0.0, 0.0)
    assert len(two) == len(encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"left": (1.0, 1.0, 1.0)}, {"left": (-1.0,)}, {"left": (float("nan"),)}, {"left": (float("inf"),)},
        {"left": (1.0,), "transfer": 0}, {"left": (1.0,), "epoch": 1}, {"epoch": 1 << 31}, {"left": (1e39,)},
    ],
)  # fmt: skip
def test_bounds_that_do_not_fit_are_not_sent(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"left|epoch"):
        encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", ["000080ffffffffff", "0000c0ffffffffff", "0000c0bf000080ff"])
def test_bounds_that_are_no_numbers_are_refused(fields: str) -> None:
    data = bytearray(encode_frame(Frame(kind=FrameKind.TASK, source=0, request=0)))
    data[36:40], data[44:48] = bytes.fromhex(fields[:8]), bytes.fromhex(fields[8:])
    with pytest.raises(WireError, match="bounds out of range"):
        decode_frame(bytes(data))
