"""The simulated channel and the real codec lose and conceal the same elements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance_models import ACTIVE, CONVOLVED, DEEP, INPUT, MEANS, POOLED, captured, halves, samples

from airloom.core.coding import RAW, Coding, parse_coding
from airloom.errors import ConfigError
from airloom.nn.executor import StageExecutor, tensor_from_bytes, tensor_to_bytes
from airloom.nn.tolerance.channel import Channel, can_carry
from airloom.nn.tolerance.maps import calibrate

BLOCK = 300
CODINGS = [
    "random", "structured+neighbours", "fp16+random+mean", "int8+structured+neighbours", "mean+seed-7",
    "pruned+structured", "pruned+structured+neighbours", "pruned+int8+structured+neighbours", "pruned-int8+random+mean",
    "structured+twice-value-0.3", "pruned+structured+twice-value-0.3+neighbours",
    "structured+twice-maps-0.5+neighbours", "pruned+random+twice-maps-0.5+mean",
]  # fmt: skip


def _live(cut: int, count: int) -> dict[int, torch.Tensor]:
    live, _ = next(halves(8).front(cut, samples(count)))
    return live


def _channel(cut: int, coding: Coding, block_bytes: int = BLOCK) -> Channel:
    maps = {order.tensor: order for order in calibrate(halves(8), samples(), [cut])}
    return Channel(captured(1), cut, coding, block_bytes=block_bytes, maps=maps)


@pytest.mark.parametrize(
    ("cut", "name"), list(itertools.product((CONVOLVED, ACTIVE, DEEP), CODINGS)), ids=lambda v: str(v)
)
def test_the_simulation_gives_what_the_codec_gives(cut: int, name: str) -> None:
    coding = parse_coding(name)
    if not can_carry(captured(1), cut, coding):
        pytest.skip("nothing to prune here")
    channel, live = _channel(cut, coding), _live(cut, 8)
    codec = channel.codec
    assert codec is not None
    sent = channel.send(live)
    rng = np.random.default_rng(3)
    message = torch.arange(8)
    lost_blocks = torch.from_numpy(rng.random((8, int(sent.num_blocks.max()))) < 0.4)
    received = channel.receive(sent, message, channel.lost_with(sent, message, lost_blocks))
    for k in range(8):
        blob = codec.encode({t: tensor_to_bytes(parts[k]) for t, parts in live.items()})
        assert len(blob) == int(sent.nbytes[k])
        edges = [0, *range(codec.first_room, len(blob), codec.room), len(blob)]
        blocks = list(itertools.pairwise(edges))
        assert len(blocks) == int(sent.num_blocks[k])
        decoded = codec.decode(
            blob, [span for span, gone in zip(blocks, lost_blocks[k].tolist(), strict=False) if gone]
        )
        for t, parts in received.items():
            expected = tensor_from_bytes(decoded.data[t], captured(1).graph.tensors[t])
            torch.testing.assert_close(parts[k], expected, rtol=1e-5, atol=1e-5)


def test_raw_loses_the_bytes_of_its_blocks() -> None:
    channel, live = _channel(POOLED, RAW), _live(POOLED, 8)
    sent = channel.send(live)
    [t] = channel.live
    raw = np.frombuffer(tensor_to_bytes(live[t][0]), np.uint8)
    head = 64 + 16
    assert sent.num_blocks.tolist() == [-(-(head + len(raw)) // BLOCK)] * 8
    for block in range(int(sent.num_blocks[0])):
        lost = torch.zeros(1, int(sent.num_blocks[0]), dtype=torch.bool)
        lost[0, block] = True
        received = channel.receive(sent, torch.tensor([0]), channel.lost_with(sent, torch.tensor([0]), lost))
        came = raw.copy()
        came[max(0, block * BLOCK - head) : (block + 1) * BLOCK - head] = 0
        expected = came.view(np.float32)
        found = received[t].numpy().ravel()
        whole = (came.reshape(-1, 4) == raw.reshape(-1, 4)).all(1) | ~came.reshape(-1, 4).any(1)
        np.testing.assert_array_equal(found[whole], expected[whole])
        # What a block's edge cuts through is lost with either.
        assert (~whole).sum() <= 2
        assert not found[~whole].any()


@settings(max_examples=20, deadline=None)
@given(
    rate=st.sampled_from([0.0, 0.3, 1.0]), pattern=st.sampled_from(["burst", "random"]),
    name=st.sampled_from(["raw", *CODINGS]), seed=st.integers(0, 99),
)  # fmt: skip
def test_error_rates_are_kept(rate: float, pattern: str, name: str, seed: int) -> None:
    channel, live = _channel(CONVOLVED, parse_coding(name), 200), _live(CONVOLVED, 8)
    sent = channel.send(live)
    message = torch.arange(8).repeat(6)
    rates = torch.full((48,), rate, dtype=torch.float64)
    lost = channel.draw(sent, message, rates, pattern, np.random.default_rng(seed))  # type: ignore[arg-type]
    [t] = channel.live
    once = (
        sent.copy[t][message if len(sent.copy[t]) > 1 else torch.zeros(48, dtype=torch.long)] < 0
        if t in sent.copy
        else torch.ones_like(lost[t])
    )
    carried = sent.first[t][message if len(sent.first[t]) > 1 else torch.zeros(48, dtype=torch.long)] >= 0
    assert not lost[t][~carried].any()
    share = float(lost[t][once & carried].double().mean())
    assert share == rate if rate in (0.0, 1.0) else abs(share - rate) < 0.1
    if t in sent.copy and rate == 0.3:
        assert abs(float(lost[t][~once].double().mean()) - rate**2) < 0.08
    received = channel.receive(sent, message, lost)
    assert all(torch.isfinite(parts).all() for parts in received.values())


def test_with_nothing_lost_an_exact_coding_changes_nothing() -> None:
    executor = StageExecutor(halves(8).large)
    for cut, name in ((CONVOLVED, "pruned+structured+neighbours"), (DEEP, "structured+mean"), (POOLED, "raw")):
        channel, live = _channel(cut, parse_coding(name)), _live(cut, 8)
        sent = channel.send(live)
        none = {t: torch.zeros_like(values, dtype=torch.bool) for t, values in sent.values.items()}
        received = channel.receive(sent, torch.arange(8), none)
        last = captured(1).graph.num_operators
        joined = [{t: halves(8).join(t, parts) for t, parts in of.items()} for of in (live, received)]
        wanted, found = (executor.run_tensors(cut, last, tensors) for tensors in joined)
        for t in wanted:
            assert torch.equal(wanted[t], found[t])


def test_blocks_have_room_for_the_head() -> None:
    with pytest.raises(ConfigError, match="blocks of 60 bytes are too small"):
        _channel(POOLED, RAW, 60)
    with pytest.raises(ConfigError, match="128 bytes"):
        _channel(POOLED, parse_coding("random"), 100)


def test_codings_that_say_nothing_of_a_cut_are_left_out() -> None:
    model = captured(1)
    assert can_carry(model, INPUT, RAW)
    assert not can_carry(model, MEANS, parse_coding("structured+neighbours"))
    assert can_carry(model, MEANS, parse_coding("random"))
    assert not can_carry(model, MEANS, parse_coding("pruned"))
    assert can_carry(model, CONVOLVED, parse_coding("pruned"))
    assert not can_carry(model, model.graph.num_operators, parse_coding("random+tuned"))
