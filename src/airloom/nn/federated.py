"""A model's weights on their way over a lossy link, as a client of federated learning uploads them.

Norms do not bear errors, for they act on whole feature maps (Sec. IV-C of NeuroMessenger): their weights, statistics
and counters go reliably, and so does whatever is no floating-point number. The rest is sent once, in blocks; order
does not matter for weights (Sec. IV-C again), so they lie as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from airloom.errors import ConfigError
from airloom.nn.layers import LayerKind, layer_kinds, layer_of
from airloom.radio.link import LinkModel

#: The payload of a transport block of 30216 bits (51 PRB at 30 kHz, MCS 13 of 38.214 table 1, 2 layers).
TRANSPORT_BLOCK_BYTES = 3777
# A block of the reliable part that this many attempts did not bring will not come.
_MAX_ATTEMPTS = 1000


class LayerReceived(NamedTuple):
    """What came of a layer: `missing` is the share of its elements, 0 to 1, of those sent without repair."""

    layer: str
    kind: LayerKind
    nbytes: int
    missing: float


@dataclass(frozen=True)
class Received:
    """A state dict after the link.

    Attributes:
        state: every entry of what was sent, in its order, shape and dtype; lost elements replaced.
        layers: one entry a layer, in order.
        missing: share of the elements sent without repair that never came, 0 to 1.
        blocks, lost_blocks: of the part without repair.
        lossy_nbytes: payload of that part.
        reliable_nbytes: payload of the other part, once.
        repeated_nbytes: payload of that part sent again because it was lost.
    """

    state: dict[str, Tensor]
    layers: tuple[LayerReceived, ...]
    missing: float
    blocks: int
    lost_blocks: int
    lossy_nbytes: int
    reliable_nbytes: int
    repeated_nbytes: int

    @property
    def nbytes(self) -> int:
        """All the payload that the link carried."""
        return self.lossy_nbytes + self.reliable_nbytes + self.repeated_nbytes


def reliable_keys(state: Mapping[str, Tensor], model: nn.Module | None = None) -> frozenset[str]:
    """The entries that bear no loss: those of norms, what is no floating-point number, and buffers of `model`.

    Buffers, such as the mean and deviation that pixels are normalised with, are never learned, so no
    optimiser mends them.
    """
    kinds = layer_kinds(state, model)
    buffers = {name for name, _ in model.named_buffers()} if model is not None else set[str]()
    return frozenset(k for k, t in state.items() if kinds[k] == "norm" or not t.is_floating_point() or k in buffers)


def through_link(
    state: Mapping[str, Tensor],
    *,
    loss: float | LinkModel,
    rng: np.random.Generator,
    model: nn.Module | None = None,
    reliable: Collection[str] | None = None,
    block_bytes: int = TRANSPORT_BLOCK_BYTES,
    previous: Mapping[str, Tensor] | None = None,
) -> Received:
    """Send `state` over a link that loses blocks.

    Args:
        state: a state dict, on any device.
        loss: probability that a block is lost, 0 to 1, or a link to offer the blocks to.
        model: its module, which tells the layers' kinds better than shapes do.
        reliable: the entries that are sent until they are there; by default `reliable_keys(state, model)`.
        block_bytes: payload of a block. An element that a lost block holds a byte of is lost.
        previous: what stands in for lost elements: the global model that the client began from. Without it they are
            0, which is worse.

    Raises:
        ConfigError: a probability out of range, no such entry, a previous model of another form, or a link that
            loses what must not be lost for ever.
    """
    if block_bytes < 1:
        raise ConfigError(f"a block holds at least 1 byte, not {block_bytes}")
    if isinstance(loss, int | float) and not 0.0 <= loss <= 1.0:
        raise ConfigError(f"the probability that a block is lost lies between 0 and 1, got {loss!r}")
    safe = reliable_keys(state, model) if reliable is None else frozenset(reliable)
    if unknown := sorted(safe - state.keys()):
        raise ConfigError(f"no entry {unknown[0]!r} in the state dict: reliable entries are named as there")
    kinds = layer_kinds(state, model)
    link = _Blocks(loss, block_bytes, rng)

    risked = {key: tensor for key, tensor in state.items() if key not in safe}
    lossy_nbytes = sum(t.nbytes for t in risked.values())
    reliable_nbytes = sum(t.nbytes for key, t in state.items() if key in safe)
    lost = link.offer(-(-lossy_nbytes // block_bytes))
    repeated = link.repeat(reliable_nbytes)

    received: dict[str, Tensor] = {}
    holes: dict[str, int] = {}
    offset = 0
    for key, tensor in state.items():
        if key in safe:
            received[key] = tensor.detach().clone()
            continue
        gone = _elements(lost, offset, tensor.numel(), tensor.element_size(), block_bytes)
        offset += tensor.nbytes
        holes[key] = int(gone.sum())
        received[key] = _replaced(key, tensor, gone, previous)
    sent = sum(t.numel() for t in risked.values())
    return Received(
        state=received,
        layers=_layers(state, kinds, holes),
        missing=sum(holes.values()) / sent if sent else 0.0,
        blocks=len(lost),
        lost_blocks=int(lost.sum()),
        lossy_nbytes=lossy_nbytes,
        reliable_nbytes=reliable_nbytes,
        repeated_nbytes=repeated,
    )


class _Blocks:
    """Offers blocks to a link, one after the other, and tells which are lost."""

    def __init__(self, loss: float | LinkModel, block_bytes: int, rng: np.random.Generator) -> None:
        self._loss, self._nbytes, self._rng = loss, block_bytes, rng
        self._now_s = 0.0

    def offer(self, count: int) -> NDArray[np.bool_]:
        """Whether each of `count` blocks is lost."""
        if isinstance(self._loss, int | float):
            return self._rng.random(count) < self._loss
        return np.array([self._offer_one() for _ in range(count)], dtype=np.bool_)

    def _offer_one(self) -> bool:
        assert not isinstance(self._loss, int | float)
        arrival = self._loss.offer(self._nbytes, self._now_s, self._rng)
        # The next one leaves when this one would be there: a sender that never fills the link's buffer.
        self._now_s = max(self._now_s + self._loss.expected_transfer_s(self._nbytes), arrival or 0.0)
        return arrival is None

    def repeat(self, nbytes: int) -> int:
        """Send `nbytes` until they are there; how many went more than once."""
        sizes = np.full(-(-nbytes // self._nbytes), self._nbytes)
        if len(sizes):
            sizes[-1] = nbytes - self._nbytes * (len(sizes) - 1)
        again = 0
        for _ in range(_MAX_ATTEMPTS):
            sizes = sizes[self.offer(len(sizes))]
            if not len(sizes):
                return again
            again += int(sizes.sum())
        raise ConfigError(
            f"{len(sizes)} blocks of norms and counters did not come in {_MAX_ATTEMPTS} attempts: the link loses all"
        )


def _elements(lost: NDArray[np.bool_], offset: int, count: int, itemsize: int, block_bytes: int) -> NDArray[np.bool_]:
    """Which of `count` elements from byte `offset` on have a byte in a lost block."""
    starts = offset + itemsize * np.arange(count)
    gone = lost[starts // block_bytes]
    if itemsize > 1:
        gone |= lost[(starts + itemsize - 1) // block_bytes]
    if itemsize > block_bytes:  # more than two blocks to an element
        for within in range(block_bytes, itemsize - 1, block_bytes):
            gone |= lost[(starts + within) // block_bytes]
    return gone


def _replaced(key: str, tensor: Tensor, gone: NDArray[np.bool_], previous: Mapping[str, Tensor] | None) -> Tensor:
    tensor = tensor.detach()
    mask = torch.from_numpy(gone).to(tensor.device).reshape(tensor.shape)
    if previous is None:
        return tensor.masked_fill(mask, 0.0)
    if key not in previous or previous[key].shape != tensor.shape:
        raise ConfigError(f"the previous model has no {key!r} of the shape {list(tensor.shape)}")
    return torch.where(mask, previous[key].detach().to(tensor), tensor)


def _layers(
    state: Mapping[str, Tensor], kinds: Mapping[str, LayerKind], holes: Mapping[str, int]
) -> tuple[LayerReceived, ...]:
    keys: dict[str, list[str]] = {}
    for key in state:
        keys.setdefault(layer_of(key), []).append(key)
    found = []
    for layer, own in keys.items():
        sent = sum(state[key].numel() for key in own if key in holes)
        gone = sum(holes.get(key, 0) for key in own)
        nbytes = sum(state[key].nbytes for key in own)
        found.append(LayerReceived(layer, kinds[own[0]], nbytes, gone / sent if sent else 0.0))
    return tuple(found)
