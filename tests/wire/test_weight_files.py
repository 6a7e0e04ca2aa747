"""Files from anywhere: read, or refused in one line, and never by taking more memory than they have bytes."""

from __future__ import annotations

import json
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import ChunkError, ConfigError
from airloom.wire.weights import PartArrays, decode_part, encode_part, read_tensors, write_tensors
from airloom.wire.weights.layout import read_layout
from airloom.wire.weights.tensorfile import MAX_HEADER_BYTES

safetensors_numpy = pytest.importorskip("safetensors.numpy")

CHEAP = settings(max_examples=200, deadline=None)
ARRAYS = {
    "conv.weight": np.linspace(-1, 1, 96, dtype=np.float32).reshape(4, 3, 2, 4),
    "norm.weight": np.ones(4, np.float32),
    "norm.running_var": np.full(4, 1e-6, np.float32),
    "index": np.arange(5),
}
ENCODINGS = ("fp32", "fp16", "int8", "bits-4", "bits-6", "statistics")
FILES = {encoding: encode_part(ARRAYS, encoding, labels={"part": "base"}) for encoding in ENCODINGS}


def file_of(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def decoded_or_refused(data: bytes, encoding: str, previous: PartArrays | None) -> PartArrays | None:
    reason = ""
    try:
        return decode_part(data, encoding, previous=previous)
    except ChunkError as error:
        reason = str(error)
    assert reason.isprintable()
    return None


def test_others_read_what_is_written_and_the_other_way_round() -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64), "c": np.zeros((0, 2))}
    ours = write_tensors(tensors, {"note": "hello"})
    theirs = safetensors_numpy.load(ours)
    read = read_tensors(safetensors_numpy.save(tensors, {"note": "hello"}), where="x")
    assert read.metadata == {"note": "hello"}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(theirs[name], tensor)
        np.testing.assert_array_equal(read.tensors[name], tensor)
        assert read.tensors[name].dtype == tensor.dtype


def test_the_same_tensors_are_the_same_bytes() -> None:
    assert write_tensors(dict(ARRAYS)) == write_tensors(dict(reversed(ARRAYS.items())))


def test_tensors_are_aligned_where_they_lie_crooked() -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    text += b" " * (1 - len(text) % 4 + 4)
    tensor = read_tensors(file_of(text, np.array([1, 2], np.float32).tobytes()), where="x").tensors["a"]
    assert tensor.flags.aligned
    assert tensor.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are no safetensors file"),
        (b"\xff" * 8, "a header of 18446744073709551615 bytes"),
        ((2**40).to_bytes(8, "little") + b"{}", "a header of"),
        (file_of(b"[1, 2]"), "not that of a safetensors file"),
        (file_of(b"[" * 3000), "not that of a safetensors file"),
        (file_of(b'{"a": ' * 5000), "not that of a safetensors file"),
        (file_of(b"\xff\xfe"), "not that of a safetensors file"),
        (file_of({"a": {"dtype": "F32", "shape": [1]}}), "not that of a safetensors file"),
        (file_of({"__metadata__": {"a": 1}}), "not that of a safetensors file"),
        (file_of({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"0"), "type 'F8_E4M3'"),
        (file_of({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"0000"), "a shape that no"),
        (file_of({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"0000"), "a shape that no"),
        (file_of({"a": {"dtype": "F32", "shape": [1] * 17, "data_offsets": [0, 4]}}, b"0000"), "a shape that no"),
        (file_of({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"0000"), "lies at 0 to"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"00000000"), "lies at 4 to 8"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"0000"), "lies at -4 to 0"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"00000"), "1 bytes at the end"),
        (file_of({"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\x02"), "other than 0 and 1"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(ChunkError) as refused:
        read_tensors(data, where="chunks/x")
    line = str(refused.value)
    assert line.startswith("chunks/x: ")
    assert reason in line
    assert "\n" not in line
    assert len(line) < 400


@given(st.sampled_from(ENCODINGS), st.data())
@CHEAP
def test_a_damaged_chunk_is_decoded_or_refused(encoding: str, data: st.DataObject) -> None:
    """No other exception, whatever bytes are changed, cut or put in."""
    damaged = bytearray(FILES[encoding])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "digit"])):
            case "flip":
                damaged[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                damaged[at:at] = data.draw(st.binary(max_size=8))
            case "digit":
                damaged[at : at + 1] = data.draw(st.sampled_from([b"0", b"9", b"-", b'"', b"[", b"F"]))
        if not damaged:
            return
    previous = decode_part(FILES["bits-4"], "bits-4") if encoding == "bits-6" else None
    part = decoded_or_refused(bytes(damaged), encoding, previous)
    for array in part.arrays.values() if part else ():
        assert array.dtype.kind != "f" or np.isfinite(array).all()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I8", "U8", "I64", "BOOL", "F64", "X"]),
        "shape": st.lists(st.integers(-1, 2**50), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2),
    }
)
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["int8", "bits-4", '[[[4,8],["w"],[""]]]', '[[[2],["a","b"],["x"]]]'])
)
HEADERS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "__metadata__": st.dictionaries(st.sampled_from(["encoding", "codes", "half", "single"]), TEXTS),
            ":codes": ENTRIES, ":scales": ENTRIES, ":half": ENTRIES, ":single": ENTRIES, "w": ENTRIES, "x.a": ENTRIES,
        },
    ),
)  # fmt: skip


@given(HEADERS, st.binary(max_size=80), st.sampled_from(ENCODINGS))
@CHEAP
def test_an_invented_file_is_decoded_or_refused(header: object, body: bytes, encoding: str) -> None:
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["encoding"] = encoding
    previous = decode_part(FILES["bits-4"], "bits-4") if encoding == "bits-6" else None
    decoded_or_refused(file_of(msgspec.json.encode(header), body), encoding, previous)


def test_what_a_file_claims_takes_no_memory() -> None:
    claims = [[[2**47, 0], ["w"], [""]], [[2**40], ["v"], [""]], [[2**20, 2**20], ["u"], [""]]]
    many = [[[0], [f"a{k}" for k in range(3000)], [f"b{k}" for k in range(3000)]]]
    tracemalloc.start()
    try:
        for layout in (*([claim] for claim in claims), many):
            text = json.dumps(layout)
            for key, encoding in (("codes", "int8"), ("codes", "bits-4"), ("half", "int8"), ("single", "statistics")):
                header = {"__metadata__": {"encoding": encoding, key: text}}
                with pytest.raises(ChunkError):
                    decode_part(file_of(header), encoding)
        with pytest.raises(ChunkError):
            read_tensors(file_of(b" " * (MAX_HEADER_BYTES + 1)), where="x")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_a_layout_names_no_tensor_twice() -> None:
    with pytest.raises(ChunkError, match="one name"):
        read_layout('[[[1],["a"],["x"]],[[2],["a"],["x"]]]', where="x")


def test_names_too_long_for_a_header_are_refused_when_written() -> None:
    with pytest.raises(ConfigError, match="their names take"):
        write_tensors({"x" * MAX_HEADER_BYTES: np.zeros(1, np.float32)})
