"""The weights of an elastic network as one safetensors file.

It holds the tensors of the ordinary network under their own names, so everything that takes the network's weights
takes this file. Beside them, under names that begin with `elastic:`, are the batch-norm statistics of each depth and
the weights of adapters; the metadata says which blocks there are, in which order, and how they were trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
from torch import Tensor

from airloom.core.depth import DepthOrder
from airloom.core.value import SCHEMA_VERSION, Value
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import read_bytes, write_aside
from airloom.nn.elastic.blocks import find_blocks
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.progress import Epoch
from airloom.nn.elastic.recipe import Recipe
from airloom.nn.models import LoadedModel, load_model
from airloom.zoo.build import BESIDE

_KEY = "airloom.elastic"
_ADAPTERS = "adapters."


class ElasticRecord(Value, frozen=True):
    """How the weights were trained.

    Attributes:
        model, options: as they were named to the command.
        recipe: None where something else trained them.
    """

    model: str = ""
    options: dict[str, int] = msgspec.field(default_factory=dict)
    recipe: Recipe | None = None
    history: tuple[Epoch, ...] = ()


class _Head(Value, frozen=True):
    """The metadata of a file."""

    order: DepthOrder
    blocks: tuple[str, ...]
    statistics: tuple[int, ...]
    adapters: bool
    record: ElasticRecord
    schema: int = SCHEMA_VERSION


def save_elastic(path: Path, model: ElasticModel, record: ElasticRecord | None = None) -> None:
    """Write the weights, the statistics of each depth that has its own, and `record`; whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensors[f"{BESIDE}{name}" if name.startswith(_ADAPTERS) else name] = tensor
    for depth in model.statistics_depths:
        tensors |= {f"{BESIDE}{depth}:{name}": tensor for name, tensor in model.statistics(depth).items()}
    head = _Head(
        order=model.order,
        blocks=tuple(block.name for block in model.blocks),
        statistics=model.statistics_depths,
        adapters=len(model.adapters) > 0,
        record=record or ElasticRecord(),
    )
    # Weights that share memory are written each by itself.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_aside(path, safetensors.torch.save(own, {_KEY: msgspec.json.encode(head).decode()}))


def is_elastic(path: Path) -> bool:
    """Whether the file at `path` was written by `save_elastic`."""
    try:
        return _text(_head(read_bytes(path))) is not None
    except (ConfigError, ValueError, msgspec.MsgspecError):
        return False


def load_elastic(
    path: Path,
    model: str | LoadedModel,
    *,
    inputs: tuple[str, ...] = (),
    options: dict[str, int] | None = None,
) -> tuple[ElasticModel, ElasticRecord]:
    """The elastic model whose weights are at `path`, at its full depth and in eval mode.

    Args:
        model: its network: a name as commands take it, or made already; its weights are replaced.
        inputs, options: as `load_model` takes them; `options` None takes those that it was trained with.

    Raises:
        ConfigError: no such file, or one that `save_elastic` did not write.
        ProfileMismatch: it is of another network.
    """
    where, data = str(path), read_bytes(path)
    try:
        text = _text(_head(data))
        if text is None:
            raise ConfigError("weights of an ordinary network: train it with `airloom elastic train`", where=where)
        head = msgspec.json.decode(text.encode(), type=_Head)
        found = safetensors.torch.load(data)
    except (safetensors.SafetensorError, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise ConfigError(f"not weights of an elastic network: {error}", where=where) from None
    if isinstance(model, str):
        chosen = head.record.options if options is None else options
        model = load_model(model, batch=2, weights=_any_weights(model), inputs=inputs, options=chosen)
    blocks = find_blocks(model.module, model.example_inputs, adapters=head.adapters)
    names = tuple(block.name for block in blocks.blocks)
    if names != head.blocks or len(names) != head.order.num_blocks:
        raise ProfileMismatch(
            f"{where}: trained with {len(head.blocks)} blocks, {model.name} has {len(names)}"
            + ("" if len(names) != len(head.blocks) else ", with other names")
            + ": the weights are of another network"
        )
    made = ElasticModel(model.module, blocks, head.order)
    state = {name: tensor for name, tensor in found.items() if not name.startswith(BESIDE)}
    prefix = BESIDE + _ADAPTERS
    state |= {name.removeprefix(BESIDE): tensor for name, tensor in found.items() if name.startswith(prefix)}
    own = made.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise ProfileMismatch(f"{where}: weight {wrong[0][:80]!r} is not as {model.name} has it")
    made.load_state_dict(state)
    for depth in head.statistics:
        lead = f"{BESIDE}{depth}:"
        try:
            made.load_statistics(depth, {k.removeprefix(lead): t for k, t in found.items() if k.startswith(lead)})
        except ConfigError as error:
            raise ConfigError(f"statistics of depth {depth}: {error}", where=where) from None
    made.set_depth(head.order.depths[-1])
    return made.eval(), head.record


def _head(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    return msgspec.json.decode(data[8 : 8 + length], type=dict[str, Any])


def _text(head: dict[str, Any]) -> str | None:
    metadata = head.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    return text if isinstance(text, str) else None


def _any_weights(model: str) -> str | None:
    """Which weights to build a network with that gets others at once."""
    from airloom import zoo

    return "random" if model in zoo.MODELS else None
