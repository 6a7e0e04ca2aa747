"""The depths that iterations of a training draw, and what that costs beside training all blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.depth import Block, DepthOrder
from airloom.planner.depths import Floats, normal


def draw_depths(order: DepthOrder, probabilities: Floats, steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A depth for each of `steps` iterations, independently."""
    return rng.choice(np.array(order.depths, dtype=np.int64), size=steps, p=normal(probabilities))


def draw_between(
    order: DepthOrder, probabilities: Floats, steps: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`count` depths between the smallest and the full one for each of `steps` iterations, `[steps, count]`.

    The smallest and the full depth are trained anyway (sandwich sampling), so the others' probabilities are what
    counts. Each iteration draws one from every `count`-th part of the distribution, which leaves how often a depth
    comes as it is and spreads those of one iteration.
    """
    inner = np.array(order.depths[1:-1], dtype=np.int64)
    if not len(inner) or not count:
        return np.empty((steps, 0), dtype=np.int64)
    shares = between_shares(probabilities)
    places = (np.arange(count) + rng.random((steps, count))) / count
    return inner[np.minimum(np.searchsorted(np.cumsum(shares), places, side="right"), len(inner) - 1)]


def between_shares(probabilities: Floats) -> Floats:
    """How likely each depth but the smallest and the full one is among those between, `[num_depths - 2]`."""
    weights = probabilities[1:-1]
    return normal(weights) if weights.sum() > 0 else np.full(len(weights), 1 / max(len(weights), 1))


def in_common(order: DepthOrder, depth: int) -> int:
    """Blocks that run at `depth` before the first that it leaves out: a pass through all blocks computes the same."""
    kept = set(order.kept(depth))
    return next((k for k in range(order.num_blocks) if k not in kept), order.num_blocks)


def mean_share(order: DepthOrder, probabilities: Floats, blocks: Sequence[Block] = ()) -> float:
    """Mean share of the blocks that an iteration of one depth trains: what training costs beside ordinary training.

    Args:
        blocks: weighs each by its multiply-accumulates; without them each block counts the same.
    """
    costs = np.array([block.macs for block in blocks] or [1] * order.num_blocks, dtype=np.float64)
    kept = np.array([costs[list(order.kept(depth))].sum() for depth in order.depths])
    return float(normal(probabilities) @ kept / costs.sum())
