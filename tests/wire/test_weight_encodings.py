"""Laws of the encodings: how far a weight may move, and that planes add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airloom.core.progressive import BIT_PLANES, PRECISIONS, STATISTICS, encodings_of
from airloom.errors import ChunkError, ConfigError
from airloom.wire.weights import PartArrays, decode_part, encode_part, room_for
from airloom.wire.weights.half import widen
from airloom.wire.weights.layout import arranged, read_layout, write_layout

CHEAP = settings(max_examples=60, deadline=None)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12)
# Zeros, the smallest and the largest float32, and what lies between.
NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 2.0**-126, 65504.0, 65520.0, -1.0, 2.0**126]),
)


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
    if dtype is np.float16:
        return draw(hnp.arrays(dtype, shape, elements=st.floats(width=16, allow_nan=False, allow_infinity=False)))
    return draw(hnp.arrays(np.float32, shape, elements=NUMBERS)).astype(dtype)


NAMES = st.sampled_from(["conv1.weight", "groups.0.1.conv.weight", "groups.0.2.conv.weight", "fc.bias", "scale", "a.b"])
PARTS = st.dictionaries(NAMES, tensors(), max_size=5)


def decoded(arrays: dict[str, np.ndarray], precision: str, **options: object) -> PartArrays:
    part = None
    for encoding in encodings_of(precision):
        data = encode_part(arrays, encoding)
        part = decode_part(data, encoding, previous=part if encoding != "bits-4" else None, **options)
    assert part is not None
    return part


def half_step(array: np.ndarray, precision: str) -> np.ndarray:
    """How far each weight may move, from the encoding's description; [broadcasts to array]."""
    single = array.astype(np.float64)
    coded = array.ndim >= 2 and array.shape[0] > 0 and np.prod(array.shape[1:]) >= 8
    if precision == "fp32":
        return np.zeros_like(single)
    if not coded or precision == "fp16":
        # Half a unit in the last place of float16, or nothing where the tensor went in float32.
        return np.maximum(np.abs(single) * 2.0**-11, 2.0**-25)
    largest = np.abs(single).reshape(single.shape[0], -1).max(axis=1).reshape(-1, *[1] * (single.ndim - 1))
    if precision == "int8":
        return np.maximum(largest / 127, 2.0**-126) / 2 * (1 + 2.0**-20) * (largest > 0)
    bits = int(precision.removeprefix("bits-"))
    # The scale is rounded up to eight significant bits: at most one part in 128 more.
    step = np.maximum(largest * 2.0**-15 * (1 + 2.0**-7), 2.0**-126) * 2.0 ** (16 - bits)
    return step / 2 * (largest > 0)


@given(PARTS, st.sampled_from(PRECISIONS))
@CHEAP
def test_no_weight_moves_by_more_than_half_a_step(arrays: dict[str, np.ndarray], precision: str) -> None:
    part = decoded(arrays, precision)
    assert part.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        got = part.arrays[name]
        assert got.dtype == np.float32
        assert got.shape == array.shape
        error = np.abs(got.astype(np.float64) - array.astype(np.float32).astype(np.float64))
        assert (error <= half_step(array.astype(np.float32), precision)).all()


@given(PARTS)
@CHEAP
def test_fp32_and_statistics_keep_every_bit(arrays: dict[str, np.ndarray]) -> None:
    for encoding in ("fp32", STATISTICS):
        part = decode_part(encode_part(arrays, encoding), encoding)
        for name, array in arrays.items():
            np.testing.assert_array_equal(part.arrays[name].view(np.uint32), array.astype(np.float32).view(np.uint32))


@given(PARTS)
@CHEAP
def test_planes_add_up_to_what_all_bits_say_at_once(arrays: dict[str, np.ndarray]) -> None:
    """Exactly: from 4 bits on, every value is scale * (k + 1/2) of its 16-bit code's leading bits."""
    part = None
    for bits in BIT_PLANES:
        part = decode_part(encode_part(arrays, f"bits-{bits}"), f"bits-{bits}", previous=part)
        for name, array in arrays.items():
            if array.ndim < 2 or array.shape[0] == 0 or np.prod(array.shape[1:]) < 8:
                continue
            rows = array.astype(np.float32).reshape(array.shape[0], -1)
            largest = np.abs(rows).max(axis=1)
            step = np.maximum(largest * np.float32(2.0**-15), np.float32(2.0**-126)).view(np.uint32)
            scale = ((step + 0xFFFF) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)
            codes = np.clip(np.floor(rows / scale[:, None]), -32768, 32767)
            width = 2.0 ** (16 - bits)
            middle = np.where(largest[:, None] > 0, (np.floor(codes / width) + 0.5) * width * scale[:, None], 0)
            np.testing.assert_array_equal(part.arrays[name].reshape(rows.shape), middle)


@given(PARTS, st.integers(0, 2**32 - 1))
@CHEAP
def test_in_place_and_with_memory_give_the_same(arrays: dict[str, np.ndarray], seed: int) -> None:
    junk = np.random.default_rng(seed).normal(size=100_000).astype(np.float32)
    for precision in ("fp16", "int8", "bits-16"):
        plain = decoded(arrays, precision)
        fresh = decoded(arrays, precision, in_place=True)
        first = encodings_of(precision)[0]
        start = decode_part(encode_part(arrays, first), first, memory=junk.copy())
        for encoding in encodings_of(precision)[1:]:
            start = decode_part(encode_part(arrays, encoding), encoding, previous=start, memory=junk.copy())
        for name in arrays:
            np.testing.assert_array_equal(plain.arrays[name], fresh.arrays[name])
            np.testing.assert_array_equal(plain.arrays[name], start.arrays[name])


def test_a_refinement_leaves_what_it_refines_alone() -> None:
    arrays = {"w": np.linspace(-1, 1, 640, dtype=np.float32).reshape(20, 32)}
    first = decode_part(encode_part(arrays, "bits-4"), "bits-4")
    before = first.arrays["w"].copy()
    second = decode_part(encode_part(arrays, "bits-6"), "bits-6", previous=first)
    np.testing.assert_array_equal(first.arrays["w"], before)
    assert np.abs(second.arrays["w"] - arrays["w"]).max() < np.abs(before - arrays["w"]).max()


def test_each_plane_brings_weights_closer() -> None:
    arrays = {"w": np.random.default_rng(0).normal(size=(64, 576)).astype(np.float32)}
    errors = [float(np.abs(decoded(arrays, f"bits-{k}").arrays["w"] - arrays["w"]).mean()) for k in BIT_PLANES]
    for worse, better, ratio in zip(errors[:-1], errors[1:], (4, 4, 16, 16), strict=True):
        assert worse / better == pytest.approx(ratio, rel=0.02)


def test_all_planes_together_are_hardly_more_than_16_bits() -> None:
    arrays = {"w": np.random.default_rng(0).normal(size=(64, 576)).astype(np.float32)}
    sizes = [len(encode_part(arrays, f"bits-{k}")) for k in BIT_PLANES]
    assert sizes[0] < 0.26 * sum(sizes)
    assert sum(sizes) < 2 * 64 * 576 * 1.02


def test_buffers_travel_as_they_are_and_counters_stay_behind() -> None:
    arrays = {
        "index": np.arange(12, dtype=np.int64).reshape(3, 4),
        "mask": np.array([True, False]),
        "levels": np.array(7, np.uint8),
        "bn.num_batches_tracked": np.array(100),
    }
    for encoding in ("fp32", "fp16", "int8", "bits-4", STATISTICS):
        part = decode_part(encode_part(arrays, encoding), encoding)
        assert part.arrays.keys() == {"index", "mask", "levels"}
        for name, array in part.arrays.items():
            assert array.dtype == arrays[name].dtype
            np.testing.assert_array_equal(array, arrays[name])
    part = decoded(arrays, "bits-16")
    assert part.arrays.keys() == {"index", "mask", "levels"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", ["fp32", "fp16", "int8", "bits-4", "bits-16", STATISTICS])
def test_a_weight_that_is_no_number_is_refused_by_name(bad: float, encoding: str) -> None:
    weights = np.ones((4, 9))
    weights[2, 3] = bad
    with pytest.raises(ConfigError, match=r"layer\.7\.weight.*not finite"):
        encode_part({"layer.7.weight": weights}, encoding)


@pytest.mark.parametrize("array", [np.full(3, 1e39), np.full((2, 8), 3e38)])
def test_a_weight_too_large_to_send_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="it cannot be sent"):
        encode_part({"w": array}, "fp32")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [({"w": np.zeros(2, complex)}, "complex128"), ({":codes": np.zeros(2)}, "may start")],
)
def test_what_no_chunk_can_hold_is_refused(arrays: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        encode_part(arrays, "int8")


def test_planes_go_in_their_order_and_on_their_own_part() -> None:
    arrays = {"w": np.ones((4, 16), np.float32)}
    other = {"w": np.ones((4, 32), np.float32)}
    first = decode_part(encode_part(arrays, "bits-4"), "bits-4")
    with pytest.raises(ChunkError, match="bits-8 adds to bits-6, and bits-4 is there"):
        decode_part(encode_part(arrays, "bits-8"), "bits-8", previous=first)
    with pytest.raises(ChunkError, match="nothing is there"):
        decode_part(encode_part(arrays, "bits-6"), "bits-6")
    with pytest.raises(ChunkError, match=":codes is not"):
        decode_part(encode_part(other, "bits-6"), "bits-6", previous=first)


def test_a_chunk_says_what_it_is() -> None:
    data = encode_part({"w": np.ones((4, 16))}, "int8", labels={"model": "a", "part": "base"})
    assert decode_part(data, "int8", labels={"model": "a", "part": "base"}).shapes == {"w": (4, 16)}
    with pytest.raises(ChunkError, match="model 'a' where 'b' was expected"):
        decode_part(data, "int8", labels={"model": "b"})
    with pytest.raises(ChunkError, match="encoding 'int8' where 'fp32' was expected"):
        decode_part(data, "fp32")


def test_a_channel_of_zeros_stays_zero() -> None:
    arrays = {"w": np.stack([np.zeros(9), np.ones(9)])}
    for precision in PRECISIONS:
        assert (decoded(arrays, precision).arrays["w"][0] == 0).all()


def test_small_numbers_of_the_rest_keep_their_bits() -> None:
    """A variance of 1e-9 would be no number in float16 to divide by: the tensor goes in float32."""
    arrays = {"bn.running_var": np.array([1e-9, 1.0]), "bn.weight": np.array([0.0, 1.0]), "bn.bias": np.array([1e5])}
    part = decode_part(encode_part(arrays, "bits-4"), "bits-4")
    for name, array in arrays.items():
        np.testing.assert_array_equal(part.arrays[name], array.astype(np.float32))


def test_half_is_widened_as_numpy_does_it() -> None:
    every = np.arange(65536, dtype=np.uint16)
    finite = every[(every & 0x7C00) != 0x7C00].view(np.float16)
    out = np.empty(finite.size, np.float32)
    assert widen(finite, out)
    np.testing.assert_array_equal(out.view(np.uint32), finite.astype(np.float32).view(np.uint32))
    assert not widen(np.array([1, np.inf], np.float16), np.empty(2, np.float32))
    assert not widen(np.array([np.nan], np.float16), np.empty(1, np.float32))


@given(
    st.dictionaries(
        st.sampled_from(["a", ".a", "a.b", "a.c", "x.y.b", "x.y.c", ".", "", "b."]), st.tuples(st.integers(0, 9))
    )
)
@CHEAP
def test_a_layout_reads_back(shapes: dict[str, tuple[int, ...]]) -> None:
    assert read_layout(write_layout(shapes), where="x") == arranged(shapes)
    assert dict(arranged(shapes)) == shapes


@given(PARTS, st.sampled_from(["fp16", "int8", *(f"bits-{k}" for k in BIT_PLANES)]))
@CHEAP
def test_there_is_room_for_every_chunk(arrays: dict[str, np.ndarray], encoding: str) -> None:
    data = encode_part(arrays, encoding)
    coded = decoded(arrays, encoding)._flat.size if encoding != "fp16" else sum(a.size for a in arrays.values())
    assert room_for(len(data), encoding) >= coded
