"""Codecs of cuts: what goes in comes out, as far as it came."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layered import Layers
from torch import Tensor, nn

from airloom.core.coding import RAW, Coding, parse_coding
from airloom.core.framing import Framing
from airloom.core.messages import BLOB, Gap, Parcel
from airloom.core.tolerance import Contract, MapOrder, Tolerance, TunedWeights
from airloom.errors import ConfigError, ProfileMismatch, StageFailed, WireError
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.codec import Codec
from airloom.nn.coded_executor import CodedExecutor
from airloom.nn.executor import StageExecutor, tensor_from_bytes, tensor_to_bytes

CUT, TENSOR = 1, 1
SHAPE = (1, 2, 16, 16)
MAPS = {TENSOR: MapOrder(tensor=TENSOR, order=(1, 0), means=(0.5, 0.0))}


@functools.cache
def _captured(dtype: torch.dtype = torch.float32) -> Captured:
    model = Layers(nn.ReLU(), nn.MaxPool2d(2)).eval().to(dtype)
    return capture(model, (torch.randn(SHAPE).to(dtype),), name="layers")


def _features(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(SHAPE)).to(dtype)


def _live(x: Tensor) -> dict[int, memoryview]:
    return {TENSOR: tensor_to_bytes(x)}


def _tensor(data: dict[int, memoryview], dtype: torch.dtype = torch.float32) -> Tensor:
    return tensor_from_bytes(data[TENSOR], _captured(dtype).graph.tensors[TENSOR])


def _ranges(blob: memoryview, codec: Codec, lost: set[int]) -> list[tuple[int, int]]:
    edges = [0, *range(codec.first_room, len(blob), codec.room), len(blob)]
    return [(edges[k], edges[k + 1]) for k in sorted(lost) if k + 1 < len(edges)]


CODINGS = st.builds(
    Coding,
    precision=st.sampled_from(["native", "float16", "int8"]),
    prune=st.sampled_from(["none", "exact", "int8"]),
    interleave=st.sampled_from(["none", "random", "structured"]),
    protect=st.sampled_from(["none", "value", "maps"]),
    protect_share=st.sampled_from([0.05, 0.5, 1.0]),
    conceal=st.sampled_from(["zeros", "mean", "neighbours"]),
    seed=st.integers(0, 3),
).filter(lambda coding: not coding.is_raw)


@given(coding=CODINGS, seed=st.integers(0, 1000), block_bytes=st.sampled_from([256, 400, 1200]))
@settings(max_examples=30, deadline=None)
def test_without_loss(coding: Coding, seed: int, block_bytes: int) -> None:
    codec = Codec(_captured(), CUT, coding, Framing(block_bytes=block_bytes), MAPS)
    x = _features(seed)
    blob, side = codec.encode_sized(_live(x))
    decoded = codec.decode(blob)
    assert decoded.lost == 0.0
    assert 0 < side <= len(blob)
    out = _tensor(decoded.data)
    if coding.precision == "native" and coding.prune == "none":
        assert torch.equal(out, x)
    passed, original = (nn.functional.max_pool2d(t.relu(), 2) for t in (out, x))
    if coding.precision == "native" and coding.prune == "exact":
        assert torch.equal(passed, original)
    step = float(x.abs().max()) / 60
    assert float((passed - original).abs().max()) <= step
    assert bytes(codec.encode(_live(x))) == bytes(blob)


@given(coding=CODINGS, seed=st.integers(0, 1000), lost=st.sets(st.integers(0, 20)))
@settings(max_examples=30, deadline=None)
def test_what_came_is_as_it_was(coding: Coding, seed: int, lost: set[int]) -> None:
    """Losing blocks changes only elements that were in them."""
    codec = Codec(_captured(), CUT, coding, Framing(block_bytes=256), MAPS)
    x = _features(seed)
    blob = codec.encode(_live(x))
    whole, decoded = _tensor(codec.decode(blob).data), codec.decode(blob, _ranges(blob, codec, lost))
    out = _tensor(decoded.data)
    assert out.isfinite().all()
    assert 0.0 <= decoded.lost <= 1.0
    differs = out != whole
    if coding.prune != "none":
        # Where a copy brings what the mask left out, that is no damage.
        passed, before, original = (nn.functional.max_pool2d(t.relu(), 2) for t in (out, whole, x))
        differs = (passed != before) & ((passed - original).abs() > float(x.abs().max()) / 60)
    changed = float(differs.float().mean())
    assert changed <= decoded.lost + 1e-9
    assert (decoded.lost == 0.0) <= (changed == 0.0)


def test_numbers_that_16_bits_cannot_hold() -> None:
    x = _features(0)
    x[0, 1, 3, 3] = -70000.0
    with pytest.raises(StageFailed, match="tensor 1 holds numbers beyond 65504, which 16 bits cannot"):
        Codec(_captured(), CUT, parse_coding("fp16")).encode(_live(x))
    x[0, 1, 3, 3] = -64992.0
    assert (
        _tensor(
            Codec(_captured(), CUT, parse_coding("fp16"))
            .decode(Codec(_captured(), CUT, parse_coding("fp16")).encode(_live(x)))
            .data
        )[0, 1, 3, 3]
        == -64992.0
    )


def test_everything_lost() -> None:
    for text, expected in (("random", 0.0), ("random+mean", 0.5)):
        codec = Codec(_captured(), CUT, parse_coding(text), maps=MAPS)
        blob = codec.encode(_live(_features(0)))
        decoded = codec.decode(blob, [(0, len(blob))])
        assert decoded.lost == 1.0
        assert (_tensor(decoded.data)[0, 0] == expected).all()


@pytest.mark.parametrize("text", ["random+twice-value-1", "random+twice-maps-1", "pruned+random+twice-maps-1"])
def test_copies_stand_in(text: str) -> None:
    """With all sent twice, losing the first half of the blob costs nothing."""
    codec = Codec(_captured(), CUT, parse_coding(text), Framing(block_bytes=256), MAPS)
    x = _features(0)
    blob = codec.encode(_live(x))
    blocks = 1 + -(-(len(blob) - codec.first_room) // codec.room)
    decoded = codec.decode(blob, _ranges(blob, codec, set(range(blocks // 2 - 2))))
    assert decoded.lost == 0.0
    passed, original = (nn.functional.max_pool2d(t.relu(), 2) for t in (_tensor(decoded.data), x))
    assert torch.equal(passed, original)


def test_the_important_part_survives_more_often() -> None:
    """Of the largest values fewer are missing than of the others."""
    codec = Codec(_captured(), CUT, parse_coding("random+twice-value-0.1"), Framing(block_bytes=256))
    x = _features(0)
    blob = codec.encode(_live(x))
    large = x.abs() >= x.abs().flatten().topk(50).values[-1]
    gone = torch.zeros(2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        lost = set(np.flatnonzero(rng.random(40) < 0.5).tolist())
        out = _tensor(codec.decode(blob, _ranges(blob, codec, lost)).data)
        gone += torch.stack([(out != x)[large].float().mean(), (out != x)[~large].float().mean()])
    assert gone[0] < 0.7 * gone[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("text", ["structured", "int8", "fp16+random", "pruned"])
def test_other_types(dtype: torch.dtype, text: str) -> None:
    codec, x = Codec(_captured(dtype), CUT, parse_coding(text)), _features(1, dtype)
    out = _tensor(codec.decode(codec.encode(_live(x))).data, dtype)
    assert out.dtype == dtype
    passed, original = (nn.functional.max_pool2d(t.relu(), 2).double() for t in (out, x))
    assert float((passed - original).abs().max()) <= (0.05 if text == "int8" else 0.002)
    if text in ("structured", "pruned"):
        assert torch.equal(passed, original)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers(value: float) -> None:
    x = _features(0)
    x[0, 1, 3, 3] = value
    for text in ("int8", "random", "pruned"):
        with pytest.raises(StageFailed, match=r"^cut 1: tensor 1 holds NaN or infinity"):
            Codec(_captured(), CUT, parse_coding(text)).encode(_live(x))


def test_large_features_are_numbers() -> None:
    x = torch.full(SHAPE, 3e38)
    codec = Codec(_captured(), CUT, parse_coding("random"))
    assert torch.equal(_tensor(codec.decode(codec.encode(_live(x))).data), x)
    constant = torch.full(SHAPE, -2.5)
    codec = Codec(_captured(), CUT, parse_coding("int8"))
    assert torch.allclose(_tensor(codec.decode(codec.encode(_live(constant))).data), constant)


def test_cuts_that_cannot_be_coded() -> None:
    tokens = capture(nn.Embedding(5, 4).eval(), (torch.zeros(1, 3, dtype=torch.long),), name="words")
    with pytest.raises(ConfigError, match=r"cut 0 carries int64 .*send it raw"):
        Codec(tokens, 0, parse_coding("random"))
    with pytest.raises(ConfigError, match="raw is no coding"):
        Codec(_captured(), CUT, RAW)
    with pytest.raises(ConfigError, match="no cut 99"):
        Codec(_captured(), 99, parse_coding("int8"))
    with pytest.raises(ConfigError, match="needs their order"):
        Codec(_captured(), CUT, parse_coding("twice-maps-0.5"))
    bad = MapOrder(tensor=TENSOR, order=(0, 1, 2), means=(0.0,) * 3)
    with pytest.raises(ConfigError, match="is of 3 feature maps, not 2"):
        Codec(_captured(), CUT, parse_coding("mean"), maps={TENSOR: bad})
    with pytest.raises(StageFailed, match="tensor 1 of its live set is missing"):
        Codec(_captured(), CUT, parse_coding("int8")).encode({})


@given(st.binary(max_size=3000))
@settings(max_examples=100, deadline=None)
def test_hostile_blobs(blob: bytes) -> None:
    codec = Codec(_captured(), CUT, parse_coding("int8+pruned+random+twice-value-0.1+neighbours"))
    try:
        decoded = codec.decode(blob)
    except WireError:
        return
    assert decoded.data[TENSOR].nbytes == _captured().graph.tensors[TENSOR].nbytes


# --- the executor with codecs around it -----------------------------------------------------------


def _executor(tmp_path: Path | None = None, tuned: tuple[TunedWeights, ...] = ()) -> CodedExecutor:
    graph = _captured().graph
    tolerance = Tolerance(
        model=graph.model, graph_digest=graph.digest, weights_digest="", metric="top-1", clean=1.0, samples=1,
        maps=tuple(MAPS.values()), tuned=tuned,
    )  # fmt: skip
    return CodedExecutor(StageExecutor(_captured()), Contract(tolerance=tolerance), folder=tmp_path)


def test_a_hop_between_two_executors() -> None:
    coding, stop = parse_coding("pruned+structured+neighbours"), _captured().graph.num_operators
    sender, receiver = _executor(), _executor()
    outputs = _captured().graph.outputs
    came = Parcel((0,), (tensor_to_bytes(_features(2)),))
    whole = sender.run(0, stop, came, outputs)
    sent = sender.run(0, CUT, came, (), encode=coding)
    assert sent.tensors == (BLOB,)
    result = receiver.run(CUT, stop, sent, outputs, decode=coding)
    assert result.tensors == outputs
    assert bytes(result.data[0]) == bytes(whole.data[0])
    # Only coding again, and only decoding.
    again = receiver.run(CUT, CUT, sent, (), decode=coding, encode=parse_coding("random"))
    plain = receiver.run(CUT, CUT, again, (TENSOR,), decode=parse_coding("random"))
    assert bytes(receiver.run(CUT, stop, plain, outputs).data[0]) == bytes(whole.data[0])


def test_gaps_of_the_blob_are_concealed() -> None:
    coding, executor = parse_coding("structured+neighbours"), _executor()
    sent = executor.run(0, CUT, Parcel((0,), (tensor_to_bytes(_features(2)),)), (), encode=coding)
    gap = Gap(BLOB, 0, len(sent.data[0]))
    out = executor.run(CUT, CUT, sent._replace(missing=(gap,)), (TENSOR,), decode=coding)
    assert np.frombuffer(out.data[0], np.float32)[:256] == pytest.approx(0.5)


def test_a_blob_that_is_not_there() -> None:
    with pytest.raises(StageFailed, match="came without its blob"):
        _executor().run(CUT, CUT, Parcel((TENSOR,), (memoryview(bytes(2048)),)), (), decode=parse_coding("int8"))


def test_tuned_weights(tmp_path: Path) -> None:
    file = tmp_path / "cut1.safetensors"
    bias = _captured().state["last.bias"]
    safetensors.torch.save_file({"last.bias": bias + 10.0}, file)
    right = TunedWeights(cut=CUT, file=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    coding, stop = parse_coding("random+tuned"), _captured().graph.num_operators
    executor = _executor(tmp_path, (right,))
    sent = executor.run(0, CUT, Parcel((0,), (tensor_to_bytes(_features(2)),)), (), encode=coding)
    outputs = _captured().graph.outputs
    tuned = executor.run(CUT, stop, sent, outputs, decode=coding)
    plain = executor.run(CUT, stop, sent, outputs, decode=parse_coding("random"))
    difference = np.frombuffer(tuned.data[0], np.float32) - np.frombuffer(plain.data[0], np.float32)
    assert difference == pytest.approx(10.0, abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "error", "line"),
    [
        (None, ConfigError, "no tuned weights"),
        (TunedWeights(cut=CUT, file="none.safetensors", sha256="00"), ConfigError, "cannot read"),
        (TunedWeights(cut=CUT, file="../x.safetensors", sha256="00"), ConfigError, "outside the folder"),
        (TunedWeights(cut=CUT, file="bad.safetensors", sha256="00"), ProfileMismatch, "not the weights"),
        (
            TunedWeights(cut=CUT, file="bad.safetensors", sha256=hashlib.sha256(b"x").hexdigest()),
            ConfigError,
            "not safe",
        ),
    ],
)
def test_tuned_weights_that_are_not_there(
    tmp_path: Path, entry: TunedWeights | None, error: type[Exception], line: str
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    executor = _executor(tmp_path, () if entry is None else (entry,))
    with pytest.raises(error, match=line):
        executor.prepare(CUT, parse_coding("random+tuned"))
