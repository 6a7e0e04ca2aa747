"""Weights over a lossy link: norms come whole, the rest loses what its blocks held, and every byte is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from airloom.errors import ConfigError
from airloom.nn.federated import TRANSPORT_BLOCK_BYTES, Received, reliable_keys, through_link
from airloom.radio.link import IdealLink


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 16, 40)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = Network()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


class OneInThree:
    """Loses every third block offered."""

    expected_loss = 1 / 3

    def __init__(self) -> None:
        self.offered: list[tuple[int, float]] = []

    def offer(self, nbytes: int, at_s: float, rng: np.random.Generator) -> float | None:
        self.offered.append((nbytes, at_s))
        return None if len(self.offered) % 3 == 0 else at_s + 0.01

    def expected_transfer_s(self, nbytes: float) -> float:
        return 0.002


NORMS = {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_norms_bear_no_loss(state: dict[str, Tensor]) -> None:
    assert reliable_keys(state) == reliable_keys(state, Network()) == NORMS
    model = Network()
    model.register_buffer("mean", torch.zeros(3, 1, 1))  # never learned, so nothing would mend it
    assert reliable_keys(model.state_dict(), model) == NORMS | {"mean"}


@given(st.floats(0, 1), st.integers(1, 6000), st.integers(0, 2**32), st.booleans())
@settings(max_examples=60, deadline=None)
def test_lost_elements_are_those_of_lost_blocks(
    state: dict[str, Tensor], loss: float, block_bytes: int, seed: int, has_previous: bool
) -> None:
    loss = min(loss, 0.95)  # at 1 the norms never come
    previous = {key: torch.full_like(tensor, 7) for key, tensor in state.items()} if has_previous else None
    rng = np.random.default_rng(seed)
    got = through_link(state, loss=loss, rng=rng, block_bytes=block_bytes, previous=previous)
    risked = [key for key in state if key not in NORMS]
    blob = b"".join(state[key].numpy().tobytes() for key in risked)
    lost = np.random.default_rng(seed).random(-(-len(blob) // block_bytes)) < loss
    gone = np.repeat(lost, block_bytes)[: len(blob)].reshape(-1, 4).any(axis=1)
    want = np.where(gone, np.float32(7 if has_previous else 0), np.frombuffer(blob, np.float32))
    assert np.array_equal(torch.cat([got.state[key].flatten() for key in risked]).numpy(), want)
    assert all(torch.equal(got.state[key], state[key]) for key in NORMS)
    assert got.missing == gone.mean()
    assert (got.blocks, got.lost_blocks) == (len(lost), lost.sum())


def test_every_byte_and_layer_is_counted(state: dict[str, Tensor]) -> None:
    got = through_link(state, loss=0.3, rng=np.random.default_rng(1), block_bytes=500)
    assert got.reliable_nbytes == 4 * 32 * 4 + 8
    assert got.lossy_nbytes + got.reliable_nbytes == sum(t.nbytes for t in state.values())
    assert got.nbytes == got.lossy_nbytes + got.reliable_nbytes + got.repeated_nbytes
    layers = {layer.layer: layer for layer in got.layers}
    assert [(name, layer.kind) for name, layer in layers.items()] == [
        ("conv", "convolution"), ("norm", "norm"), ("head", "linear"),
    ]  # fmt: skip
    assert layers["norm"].missing == 0.0
    shares = {key: float((got.state[key] == 0).float().mean()) for key in ("conv.weight", "head.weight")}
    assert layers["conv"].missing == pytest.approx(shares["conv.weight"])
    assert layers["head"].missing == pytest.approx(shares["head.weight"], abs=0.01)
    assert 0.2 < got.missing < 0.4


def test_what_was_sent_is_not_touched_and_keeps_its_form(state: dict[str, Tensor]) -> None:
    before = {key: tensor.clone() for key, tensor in state.items()}
    got = through_link(state, loss=0.5, rng=np.random.default_rng(1), block_bytes=100)
    assert list(got.state) == list(state)
    for key, tensor in got.state.items():
        assert torch.equal(state[key], before[key])
        assert (tensor.shape, tensor.dtype) == (state[key].shape, state[key].dtype)
        assert tensor.data_ptr() != state[key].data_ptr()
    Network().load_state_dict(got.state)


def test_a_link_is_offered_whole_blocks_in_order_of_time(state: dict[str, Tensor]) -> None:
    link = OneInThree()
    got = through_link(state, loss=link, rng=np.random.default_rng(0), block_bytes=1000)
    assert got.lost_blocks == got.blocks // 3
    assert {nbytes for nbytes, _ in link.offered} == {1000}
    times = [at_s for _, at_s in link.offered]
    assert times == sorted(times)
    assert times[1] == pytest.approx(0.01)
    assert len(link.offered) == got.blocks + 1 + (1 if got.repeated_nbytes else 0)


def test_repeats_are_what_the_losses_make_them() -> None:
    state = {"norm.weight": torch.ones(100_000), "norm.bias": torch.ones(100_000)}
    got = through_link(state, loss=0.5, rng=np.random.default_rng(0), block_bytes=100)
    assert got.blocks == got.lossy_nbytes == 0
    assert got.missing == 0.0
    assert got.repeated_nbytes == pytest.approx(800_000, rel=0.05)  # p / (1 - p) of what was sent


def test_a_previous_model_is_nearer_than_zeros(state: dict[str, Tensor]) -> None:
    previous = {key: t + 0.1 if t.is_floating_point() else t for key, t in state.items()}

    def distance(got: Received) -> float:
        return sum(float((got.state[key] - state[key]).square().sum()) for key in state)

    kept = through_link(state, loss=0.5, rng=np.random.default_rng(1), previous=previous)
    zeros = through_link(state, loss=0.5, rng=np.random.default_rng(1))
    assert kept.missing == zeros.missing > 0
    assert 0 < distance(kept) < distance(zeros) / 10


def test_other_dtypes_and_reliable_entries_of_ones_own_choice(state: dict[str, Tensor]) -> None:
    half = {key: t.half() if t.is_floating_point() else t for key, t in state.items()}
    got = through_link(half, loss=0.5, rng=np.random.default_rng(2), reliable=["head.weight"], block_bytes=16)
    assert torch.equal(got.state["head.weight"], half["head.weight"])
    assert got.reliable_nbytes == half["head.weight"].nbytes
    assert not torch.equal(got.state["norm.weight"], half["norm.weight"])


def test_a_perfect_link_and_an_empty_model(state: dict[str, Tensor]) -> None:
    for loss in (0.0, IdealLink()):
        got = through_link(state, loss=loss, rng=np.random.default_rng(0))
        assert all(torch.equal(got.state[key], state[key]) for key in state)
        assert (got.missing, got.repeated_nbytes) == (0.0, 0)
        assert got.blocks == -(-got.lossy_nbytes // TRANSPORT_BLOCK_BYTES)
    assert through_link({}, loss=0.5, rng=np.random.default_rng(0)).nbytes == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": 1.5}, "between 0 and 1"),
        ({"loss": float("nan")}, "between 0 and 1"),
        ({"loss": 0.1, "block_bytes": 0}, "at least 1 byte"),
        ({"loss": 0.1, "reliable": ["nothing"]}, "no entry 'nothing'"),
        ({"loss": 0.5, "previous": {}}, "no 'conv.weight'"),
        ({"loss": 1.0}, "loses all"),
    ],
)
def test_what_cannot_be_sent(state: dict[str, Tensor], options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        through_link(state, rng=np.random.default_rng(0), **options)  # type: ignore[arg-type]
