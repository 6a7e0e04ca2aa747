"""Trained weights and checkpoints as safetensors: tensors by name and a few words of text, nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from airloom.core.graph import ModelGraph, TensorSpec
from airloom.core.training import TrainingSpec, state_id, weight_of
from airloom.core.value import SCHEMA_VERSION, Value
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import write_aside
from airloom.nn.executor import tensor_from_bytes, tensor_to_bytes
from airloom.nn.program import DTYPE_NAMES
from airloom.nn.training.checkpoint_file import read_checkpoint
from airloom.nn.training.optimiser import slot_names

_SLOT = "#"  # no name of torch's has it
_KEY = "airloom"


class Progress(Value, frozen=True):
    """How far a training was when it was written down.

    Attributes:
        step: the next step.
        losses: of all steps so far.
    """

    step: int
    graph_digest: str
    spec: TrainingSpec
    losses: tuple[float, ...] = ()
    schema: int = SCHEMA_VERSION


def weights_of(graph: ModelGraph, state: Mapping[int, memoryview]) -> dict[str, Tensor]:
    """Weights and buffers by name, out of the state that hosts sent home."""
    return {
        parameter.name: tensor_from_bytes(state[state_id(k)], parameter.spec).clone()
        for k, parameter in enumerate(graph.parameters)
        if state_id(k) in state
    }


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """A safetensors file such as `--weights` takes."""
    write_aside(path, safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()}))


def save_checkpoint(
    path: Path,
    graph: ModelGraph,
    spec: TrainingSpec,
    step: int,
    state: Mapping[int, memoryview],
    losses: tuple[float, ...],
) -> None:
    """All that it takes to go on from before step `step`."""
    names, tensors = slot_names(spec), dict[str, Tensor]()
    for id, data in state.items():
        weight, slot = weight_of(id)
        parameter = graph.parameters[weight]
        if slot and not data.nbytes:
            continue  # nothing there yet
        name = f"{parameter.name}{_SLOT}{names[slot - 1]}" if slot else parameter.name
        tensors[name] = tensor_from_bytes(bytes(data), _form(graph, names, weight, slot))
    progress = Progress(step=step, graph_digest=graph.digest, spec=spec, losses=losses)
    write_aside(path, safetensors.torch.save(tensors, {_KEY: msgspec.json.encode(progress).decode()}))


def load_checkpoint(path: Path, graph: ModelGraph, spec: TrainingSpec) -> tuple[Progress, dict[int, memoryview]]:
    """Where the training was, and the state of all weights by `state_id`.

    Raises:
        ConfigError: no such file, or it is no checkpoint of a training with this optimiser.
        ProfileMismatch: it is of another model.
    """
    where = str(path)
    progress, found = read_checkpoint(path, _KEY, Progress, "airloom train")
    if progress.graph_digest != graph.digest:
        raise ProfileMismatch(f"{where}: the checkpoint is of another model than {graph.model}, or of another batch")
    if progress.spec.optimizer != spec.optimizer or slot_names(progress.spec) != slot_names(spec):
        raise ConfigError(f"its optimiser is {progress.spec.optimizer}: go on with the same", where=where)
    names = slot_names(spec)
    state: dict[int, memoryview] = {}
    for weight, parameter in enumerate(graph.parameters):
        for slot in range(1 + (len(names) if parameter.trained else 0)):
            name = f"{parameter.name}{_SLOT}{names[slot - 1]}" if slot else parameter.name
            tensor, form = found.get(name), _form(graph, names, weight, slot)
            if tensor is None and not slot:
                raise ConfigError(f"lacks weight {name[:80]!r}", where=where)
            if tensor is None:
                state[state_id(weight, slot)] = memoryview(b"")
                continue
            if tuple(tensor.shape) != form.shape or DTYPE_NAMES.get(tensor.dtype) != form.dtype:
                raise ConfigError(f"weight {name[:80]!r} is not {form}", where=where)
            state[state_id(weight, slot)] = memoryview(bytearray(tensor_to_bytes(tensor)))
    return progress, state


def _form(graph: ModelGraph, names: tuple[str, ...], weight: int, slot: int) -> TensorSpec:
    if slot and names[slot - 1] == "step":
        return TensorSpec(shape=(), dtype="float32")
    return graph.parameters[weight].spec


def differing(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of weights that are not the same bit for bit."""
    return tuple(
        name for name in wanted
        if name not in found or not torch.equal(_bits(found[name]), _bits(wanted[name]))
    )  # fmt: skip


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
