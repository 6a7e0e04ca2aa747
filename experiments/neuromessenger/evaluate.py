"""The receiving half under losses: one batched pass for many messages, each with its own lost blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from link import residual, spared
from numpy.typing import NDArray
from torch import Tensor

from airloom.core.coding import Coding
from airloom.core.tolerance import MapOrder
from airloom.nn.tolerance import Halves, Samples, Score
from airloom.nn.tolerance.channel import Channel, Sent

Floats = NDArray[np.float64]


class Losses(NamedTuple):
    """What a transport leaves of a message's blocks.

    Attributes:
        failure: of attempts, as in `link.deliver`.
        attempts: transmissions of a block at most.
        tolerable: share of a message's blocks that may stay missing.
        at_end: those are at the message's end, as far as the losses are there; else spread over it.
    """

    failure: tuple[float, ...]
    attempts: int = 1
    tolerable: float = 0.0
    at_end: bool = True

    def draw(self, num_blocks: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Blocks that never come, `[messages, most blocks]`."""
        size = (len(num_blocks), int(num_blocks.max()))
        exists = np.arange(size[1]) < num_blocks[:, None]
        failed = (rng.random(size) < self.failure[0]) & exists
        let_go = np.zeros(size, np.bool_)
        left = np.floor(self.tolerable * num_blocks + 1e-9).astype(np.int64)
        for block in range(size[1]) if self.tolerable else ():
            rest = np.maximum(num_blocks - block - 1, 0)
            let_go[:, block] = failed[:, block] & spared(left, rest, self.failure[0], at_end=self.at_end, rng=rng)
            left = left - let_go[:, block]
        stays = residual(self.failure, self.attempts) / max(self.failure[0], 1e-300)
        return let_go | (failed & ~let_go & (rng.random(size) < stays))


#: Lost elements by tensor for the messages of a pass.
Damage = Callable[[Channel, Sent, Tensor, np.random.Generator], Mapping[int, Tensor]]


def blocks_lost(losses: Losses) -> Damage:
    def damage(channel: Channel, sent: Sent, message: Tensor, rng: np.random.Generator) -> Mapping[int, Tensor]:
        lost = losses.draw(sent.num_blocks[message].numpy(), rng)
        missing = torch.zeros((len(message), int(sent.num_blocks.max())), dtype=torch.bool)
        missing[:, : lost.shape[1]] = torch.from_numpy(lost)
        return channel.lost_with(sent, message, missing)

    return damage


def elements_lost(rate: float) -> Damage:
    def damage(channel: Channel, sent: Sent, message: Tensor, rng: np.random.Generator) -> Mapping[int, Tensor]:
        rates = torch.full((len(message),), rate, dtype=torch.float64)
        return channel.draw(sent, message, rates, "random", rng)

    return damage


def ideal_importance(rate: float) -> Damage:
    """The paper's ideal coding (Sec. V-A): an element's loss is inversely proportional to its size, and `rate` in the
    mean over the message."""

    def damage(channel: Channel, sent: Sent, message: Tensor, rng: np.random.Generator) -> Mapping[int, Tensor]:
        lost = {}
        for t, values in sent.values.items():
            size = values[message].abs().double().clamp(min=1e-12)
            low, high = torch.zeros(len(size), 1, dtype=torch.float64), size.amax(1, keepdim=True)
            for _ in range(50):
                middle = (low + high) / 2
                short = (middle / size).clamp(max=1.0).mean(1, keepdim=True) < rate
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)
            lost[t] = torch.from_numpy(rng.random(size.shape)) < (high / size).clamp(max=1.0)
        return lost

    return damage


class Outcome(NamedTuple):
    """`scores: [cases, messages]`; `num_blocks` and `nbytes: [messages]` of the coded live sets."""

    scores: Floats
    num_blocks: NDArray[np.int64]
    nbytes: Floats


def evaluate(
    halves: Halves,
    samples: Samples,
    cut: int,
    coding: Coding,
    cases: Sequence[Damage],
    *,
    block_bytes: int,
    score: Score,
    maps: Mapping[int, MapOrder] | None = None,
    rng: np.random.Generator,
) -> Outcome:
    """The score of every message under every case; `halves` with tuned weights where the coding is tuned."""
    channel = Channel(halves.host, cut, coding, block_bytes=block_bytes, maps=maps or {})
    scores: list[Floats] = []
    blocks, nbytes = [], []
    with torch.inference_mode():
        for live, labels in halves.front(cut, samples):
            sent, message = channel.send(live), torch.arange(len(labels))
            blocks.append(sent.num_blocks.numpy())
            nbytes.append(sent.nbytes.numpy())
            scores.append(np.stack([
                _scored(halves, score, halves.back(cut, channel.receive(sent, message, lost)), labels)
                for lost in (damage(channel, sent, message, rng) for damage in cases)
            ]))  # fmt: skip
    return Outcome(np.concatenate(scores, 1), np.concatenate(blocks), np.concatenate(nbytes).astype(float))


def clean_scores(halves: Halves, samples: Samples, score: Score) -> Floats:
    """Of every sample with nothing lost."""
    with torch.inference_mode():
        return np.concatenate([_scored(halves, score, halves.back(0, live), y) for live, y in halves.front(0, samples)])


def _scored(halves: Halves, score: Score, outputs: Tensor, labels: NDArray) -> Floats:
    """A pass has always the large graph's batch: what fills it up is cut off."""
    return np.asarray(score(outputs[: len(labels)], labels[:, 0]), dtype=float)
