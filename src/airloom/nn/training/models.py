"""A model as a user names it, captured to be trained: in train mode, at the batch of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from airloom.errors import ConfigError
from airloom.nn.artifact import GRAPH_FILE
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.models import load_captured, load_model


def capture_for_training(
    model: str | nn.Module,
    samples: Sequence[NDArray[Any]] = (),
    *,
    batch: int | None = None,
    weights: str | Path | None = None,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] | None = None,
) -> Captured:
    """The graph of `model` in train mode for batches of `batch` samples.

    Args:
        model: a module, which is captured with the first of `samples`; or a name as `airloom capture` takes it.
        inputs: of a factory that gives no example inputs, `1x3x32x32:uint8` each.

    Raises:
        ConfigError: there is no such model, or too few samples for a batch.
        CaptureError: the model cannot be captured in train mode.
    """
    if isinstance(model, nn.Module):
        size = batch or 1
        if weights is not None or options:
            raise ConfigError("a module has its own weights and options: pass a name to choose them")
        if not samples or any(len(array) < size for array in samples):
            raise ConfigError(f"fewer samples than one batch of {size}: give more")
        example = tuple(torch.from_numpy(array[:size].copy()) for array in samples)
        return capture(model, example, name=type(model).__name__, mode="train")
    if (Path(model) / GRAPH_FILE).is_file():
        captured = load_captured(model, batch=batch, weights=weights, options=options or {})
        if captured.graph.mode != "train":
            raise ConfigError("captured in eval mode: train the model itself, or capture it in train mode", where=model)
        return captured
    loaded = load_model(model, batch=batch, weights=weights, inputs=inputs, options=options or {})
    return capture(loaded.module, loaded.example_inputs, name=loaded.name, mode="train")
