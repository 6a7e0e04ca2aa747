"""Units: what comes is exact, what is missing is exactly what was lost, hostile bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import WireError
from airloom.wire.units import (
    LEFT_OUT,
    MIN_ROOM,
    MISSING,
    PRESENT,
    Sparse,
    Stream,
    StreamSpec,
    pack,
    side_nbytes,
    unpack,
    unpack_sparse,
)

DTYPES = ("<f4", "<f2", "|i1", "|u1", "<f8", "<i8")


def runs(rng: np.random.Generator, n: int, share: float, run: int) -> np.ndarray:
    """A mask of about `share`, in runs of about `run` elements."""
    return np.repeat(rng.random(-(-n // run)) < share, run)[:n]


@st.composite
def streams(draw: st.DrawFn, most: int = 4000) -> list[Stream]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        n = draw(st.one_of(st.integers(0, 20), st.integers(0, most)))
        values = np.frombuffer(rng.bytes(8 * n), draw(st.sampled_from(DTYPES)))[:n]
        share = draw(st.sampled_from((None, 0.0, 0.002, 0.05, 0.12, 0.25, 0.9, 0.99, 1.0)))
        keep = None if share is None else runs(rng, n, share, draw(st.sampled_from((1, 3, 8, 100, 1000))))
        scale, zero = draw(st.sampled_from(((1.0, 0.0), (0.5, 3.0), (1.0, -2.0))))
        found.append(Stream(values, keep, scale, zero))
    return found


ROOMS = st.tuples(st.integers(0, 3000), st.integers(MIN_ROOM, 3000))


def specs_of(found: list[Stream]) -> list[StreamSpec]:
    return [StreamSpec(len(s.values), s.values.dtype.str) for s in found]


def ranges(lost: np.ndarray, first_room: int, room: int, nbytes: int) -> list[tuple[int, int]]:
    """A byte in each lost block."""
    starts = [0 if k == 0 else first_room + (k - 1) * room for k in np.flatnonzero(lost) if k or first_room]
    return [(at, at + 1) for at in starts if at < nbytes]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(streams(), ROOMS)
@settings(max_examples=300, deadline=None)
def test_what_is_packed_comes_out_bit_for_bit(found: list[Stream], rooms: tuple[int, int]) -> None:
    room = dict(zip(("first_room", "room"), rooms, strict=True))
    blob = pack(found, **room)
    for stream, out in zip(found, unpack(blob, (), specs_of(found), **room), strict=True):
        keep = np.ones(len(stream.values), bool) if stream.keep is None else stream.keep
        came = out.state == PRESENT  # what was left out may come where a value costs less than saying that it is none
        assert np.array_equal(came | keep, came)
        assert (out.state[~came] == LEFT_OUT).all()
        assert same_bits(out.values[came], stream.values[came])
        assert not out.values[~came].view(np.uint8).any()
        assert len(keep) == 0 or (out.scale, out.zero) == (stream.scale, stream.zero)


@given(streams(), ROOMS, st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_lost_blocks_take_their_own_elements_and_no_other(
    found: list[Stream], rooms: tuple[int, int], share: float, seed: int
) -> None:
    room = dict(zip(("first_room", "room"), rooms, strict=True))
    blob, specs = pack(found, **room), specs_of(found)
    blocks = 1 + max(0, -(-(len(blob) - rooms[0]) // rooms[1]))
    lost = np.random.default_rng(seed).random(blocks) < share
    whole = unpack(blob, (), specs, **room)
    torn = bytearray(blob)
    for k in np.flatnonzero(lost):  # what lay there must not matter
        low = 0 if k == 0 else rooms[0] + (k - 1) * rooms[1]
        high = rooms[0] if k == 0 else low + rooms[1]
        torn[low:high] = b"\xa5" * (min(high, len(blob)) - low)
    out = unpack(torn, ranges(lost, *rooms, len(blob)), specs, **room)
    # What each block alone brings says which elements are its own.
    covered = [np.zeros(spec.count, bool) for spec in specs]
    for k in np.flatnonzero(~lost):
        others = np.ones(blocks, bool)
        others[k] = False
        for mine, part in zip(covered, unpack(blob, ranges(others, *rooms, len(blob)), specs, **room), strict=True):
            assert not (mine & (part.state != MISSING)).any()
            mine |= part.state != MISSING
    for mine, got, all_of_it in zip(covered, out, whole, strict=True):
        assert np.array_equal(got.state, np.where(mine, all_of_it.state, MISSING))
        assert same_bits(got.values, np.where(mine, all_of_it.values, np.zeros_like(all_of_it.values)))


@given(streams(most=600), ROOMS, st.data())
@settings(max_examples=500, deadline=None)
def test_hostile_blobs_are_refused_or_mean_something_else(
    found: list[Stream], rooms: tuple[int, int], draw: st.DataObject
) -> None:
    room = dict(zip(("first_room", "room"), rooms, strict=True))
    blob, specs = pack(found, **room), specs_of(found)
    for _ in range(draw.draw(st.integers(1, 4))):
        if blob:
            blob[draw.draw(st.integers(0, min(len(blob), 200) - 1))] = draw.draw(st.integers(0, 255))
    blob = blob[: draw.draw(st.integers(0, len(blob)))] + draw.draw(st.binary(max_size=40))
    try:
        out = unpack(blob, (), specs, **room)
    except WireError:
        return
    for spec, got in zip(specs, out, strict=True):
        assert len(got.values) == len(got.state) == spec.count
        assert got.values.dtype == np.dtype(spec.dtype)
        assert not got.values[got.state != PRESENT].view(np.uint8).any()


@given(st.binary(max_size=400), ROOMS)
@settings(max_examples=300, deadline=None)
def test_noise_is_refused_or_means_something(noise: bytes, rooms: tuple[int, int]) -> None:
    specs = [StreamSpec(300, "<f4"), StreamSpec(7, "|i1")]
    try:
        out = unpack(noise, (), specs, first_room=rooms[0], room=rooms[1])
    except WireError:
        return
    assert [len(got.values) for got in out] == [300, 7]


def test_each_unit_has_the_smallest_contents() -> None:
    rng = np.random.default_rng(0)
    n, rooms = 40_000, {"first_room": 1072, "room": 1152}
    for share, dtype, most in (
        (None, "<f4", 4.05 * n),
        (0.25, "<f4", n / 8 + n + 3000),
        (0.25, "|i1", n / 8 + n / 4 + 700),
        (0.02, "<f4", 5 * 0.02 * n + 500),  # gaps, a byte each
        (0.001, "<f4", 40 * 5 + 200 + 40_000 / 255),
        (0.0, "<f4", 14),
        (1.0, "<f4", 4.06 * n),  # dense, with no bit an element
    ):
        keep = None if share is None else rng.random(n) < share
        blob = pack([Stream(np.ones(n, dtype), keep)], **rooms)
        assert len(blob) <= most, share
        kept = n if keep is None else int(keep.sum())
        assert side_nbytes(blob, [StreamSpec(n, dtype)], **rooms) == len(blob) - kept * np.dtype(dtype).itemsize


def test_blocks_are_full_but_for_a_group_of_elements() -> None:
    keep = np.random.default_rng(0).random(100_000) < 0.2
    blob = pack([Stream(np.ones(100_000, np.float32), keep)], first_room=1000, room=1152)
    least = keep.sum() * 4 + 100_000 / 8
    blocks = -(-(len(blob) - 1000) // 1152) + 1
    assert blocks <= least / (1152 - 12 - 33) + 1


def test_a_stream_of_nothing_but_what_was_left_out_is_one_unit() -> None:
    blob = pack([Stream(np.zeros(1 << 20, np.float32), np.zeros(1 << 20, bool))], first_room=100, room=1152)
    assert len(blob) == 14
    (out,) = unpack(blob, (), [StreamSpec(1 << 20, "<f4")], first_room=100, room=1152)
    assert (out.state == LEFT_OUT).all()


def test_many_small_streams_share_a_block() -> None:
    found = [Stream(np.full(5, k, np.float32)) for k in range(300)]
    blob = pack(found, first_room=1072, room=1152)
    assert len(blob) < 300 * 32 * 1.1
    out = unpack(blob, [(1072, 1073)], specs_of(found), first_room=1072, room=1152)
    gone = [k for k in range(300) if (out[k].state == MISSING).any()]
    assert 30 <= len(gone) <= 38
    assert gone == list(range(gone[0], gone[-1] + 1))


def test_sparse_has_no_place_for_what_was_left_out() -> None:
    keep = np.arange(5000) % 5 == 0
    blob = pack([Stream(np.arange(5000, dtype=np.float32), keep)], first_room=500, room=500)
    (out,) = unpack_sparse(blob, [(600, 700)], [StreamSpec(5000, "<f4")], first_room=500, room=500)
    assert isinstance(out, Sparse)
    assert out.places is not None
    assert np.array_equal(out.places, out.values)
    ((start, stop),) = out.missing
    assert len(out.values) == keep.sum() - keep[start:stop].sum()


@pytest.mark.parametrize(
    ("found", "rooms"),
    [
        ([Stream(np.zeros((2, 2), np.float32))], (500, 500)),
        ([Stream(np.zeros(4, np.float32), np.zeros(3, bool))], (500, 500)),
        ([], (500, MIN_ROOM - 1)),
        ([], (-1, 500)),
    ],
)
def test_what_cannot_be_packed(found: list[Stream], rooms: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"stream|blocks"):
        pack(found, first_room=rooms[0], room=rooms[1])


GOOD = bytes(pack([Stream(np.arange(16, dtype=np.uint8), np.arange(16) % 2 == 0, 2.0, 1.0)], first_room=500, room=500))


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, 1, "out of its turn"),  # of a stream that is none
        (4, 8, "out of its turn"),  # past the end
        (8, 0, "out of its turn"),  # of no elements
        (8, 8, "as many values"),
        (2, 200, "cut off"),
        (2, 7, "as many values"),
        (15, 0x7F, "scale"),  # not finite, with the byte before
        (20, 0xFF, "as many values"),
    ],
)
def test_a_unit_with_one_wrong_field(at: int, value: int, says: str) -> None:
    spec = [StreamSpec(16, "|u1")]
    assert unpack(GOOD, (), spec, first_room=500, room=500)[0].values[2] == 2
    bad = bytearray(GOOD)
    bad[at] = value
    if says == "scale":
        bad[14] = 0x80
    with pytest.raises(WireError, match=says):
        unpack(bad, (), spec, first_room=500, room=500)


def test_golden_bytes() -> None:
    assert GOOD.hex(" ", 2) == "00a0 0800 0000 0000 1000 0000 0000 0040 0000 803f aaaa 0002 0406 080a 0c0e"


@given(streams(), ROOMS, st.integers(0, 2**32), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_an_order_in_the_stream_is_one_made_before(
    found: list[Stream], rooms: tuple[int, int], seed: int, share: float
) -> None:
    room, rng = dict(zip(("first_room", "room"), rooms, strict=True)), np.random.default_rng(seed)
    orders = [rng.permutation(len(s.values))[: round(share * len(s.values))] for s in found]
    before = [
        s._replace(values=s.values[order], keep=None if s.keep is None else s.keep[order])
        for s, order in zip(found, orders, strict=True)
    ]
    within = [s._replace(order=order) for s, order in zip(found, orders, strict=True)]
    assert pack(within, **room) == pack(before, **room)
