"""Training in one piece: what split training is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from airloom.core.training import LABELS, LOSS, TrainingSpec
from airloom.nn.captured import Captured
from airloom.nn.training.trainer import StageTrainer

#: The inputs and the labels of step k.
Batches = Callable[[int], tuple[Sequence[Any], Any]]


@dataclass(frozen=True)
class Whole:
    """What came of training in one piece: weights and buffers by name, and the loss of each step."""

    weights: Mapping[str, Tensor]
    losses: tuple[float, ...]


def train_whole(
    captured: Captured,
    batches: Batches,
    steps: int,
    spec: TrainingSpec,
    *,
    first_step: int = 0,
    state: Mapping[int, memoryview] | None = None,
    threads: int = 1,
    progress: Callable[[int, float], None] | None = None,
) -> Whole:
    """`steps` steps in this process, from step `first_step` and `state` (`core.training.state_id`) on.

    Args:
        batches: arrays as the graph takes them; row order and shapes are the caller's.
        progress: called after each step with its number and its loss.
    """
    trainer = StageTrainer(captured, spec, threads=threads)
    trainer.place(first_step, ((0, captured.graph.num_operators),), 0, state or {})
    losses = []
    for step in range(first_step, first_step + steps):
        inputs, labels = batches(step)
        data = {t: _raw(x) for t, x in zip(captured.graph.inputs, inputs, strict=True)}
        found = trainer.forward(step, {**data, LABELS: _raw(labels)})
        trainer.backward(step, {})
        trainer.update(step)
        losses.append(loss_of(found[LOSS]))
        if progress is not None:
            progress(step, losses[-1])
    return Whole(trainer.weights(), tuple(losses))


def loss_of(data: Any) -> float:
    """The loss out of the bytes of `LOSS`."""
    return float(np.frombuffer(data, dtype="<f8")[0])


def _raw(array: Any) -> memoryview:
    data = array.numpy() if isinstance(array, Tensor) else np.asarray(array)
    return memoryview(np.ascontiguousarray(data).tobytes())
