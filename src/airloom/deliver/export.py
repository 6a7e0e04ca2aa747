"""What has arrived of a model as a captured model in a folder, for everything else that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airloom.files import write_aside
from airloom.wire.weights.tensorfile import write_tensors

if TYPE_CHECKING:
    from airloom.deliver.model import ProgressiveModel

WEIGHTS_FILE = "weights.safetensors"


def write_captured(model: ProgressiveModel, folder: Path) -> None:
    """Write the configuration that runs now: graph.json and its weights, and beside them `weights.safetensors`.

    The captured model is the network at that depth and goes wherever an artifact goes (`airloom profile`, `plan`,
    `run`). `weights.safetensors` has the weights by the network's own names; those of a zoo's network at full depth go
    to `--weights`.

    Raises:
        ConfigError: the model is an ensemble.
        DeliveryError: nothing runs yet.
    """
    captured, weights = model.captured(), model.weights()
    captured.save(folder)
    write_aside(folder / WEIGHTS_FILE, write_tensors(weights))
