"""Lists of gaps: round trips, one encoding, nothing malformed gets through."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import WireError
from airloom.wire.gaps import decode_gaps, encode_gaps, merged, units_missing

RANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=12)


@settings(deadline=None)
@given(RANGES)
def test_merged_covers_the_same_bytes_and_survives_the_wire(ranges: list[tuple[int, int]]) -> None:
    covered = {byte for start, stop in ranges for byte in range(start, stop)}
    found = merged(ranges)
    assert {byte for start, stop in found for byte in range(start, stop)} == covered
    assert decode_gaps(encode_gaps(found), 400) == found


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=40), RANGES.map(lambda r: encode_gaps(merged(r)))), st.integers(0, 500))
def test_what_decodes_has_one_encoding(data: bytes, nbytes: int) -> None:
    try:
        found = decode_gaps(data, nbytes)
    except WireError:
        return
    assert encode_gaps(found) == data
    assert merged(found) == found


@pytest.mark.parametrize(
    "data", [b"\0" * 7, struct.pack("<II", 5, 5), struct.pack("<II", 5, 101), struct.pack("<IIII", 1, 5, 5, 9)]
)
def test_what_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_gaps(data, 100)


@settings(deadline=None)
@given(RANGES, st.integers(1, 400), st.integers(1, 50), st.integers(1, 50))
def test_units_are_counted_once(ranges: list[tuple[int, int]], nbytes: int, first: int, room: int) -> None:
    unit = [0 if byte < first else 1 + (byte - first) // room for byte in range(nbytes)]
    gaps = merged((start, min(stop, nbytes)) for start, stop in ranges)
    gone = {unit[byte] for start, stop in gaps for byte in range(start, stop)}
    assert units_missing(gaps, nbytes, first, room) == pytest.approx(len(gone) / (unit[-1] + 1))
