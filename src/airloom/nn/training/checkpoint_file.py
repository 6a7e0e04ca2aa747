"""The form of a checkpoint: safetensors whose metadata has one value, which says where the training was."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import safetensors
import safetensors.torch
from torch import Tensor

from airloom.core.value import Value
from airloom.errors import ConfigError
from airloom.files import read_bytes

V = TypeVar("V", bound=Value)


def read_checkpoint(path: Path, key: str, type_: type[V], command: str) -> tuple[V, dict[str, Tensor]]:
    """The value under `key`, and the tensors by name.

    Args:
        command: that writes such checkpoints, for the error.

    Raises:
        ConfigError: no such file, or it is no such checkpoint.
    """
    data = read_bytes(path)
    try:
        length = int.from_bytes(data[:8], "little")
        head = msgspec.json.decode(data[8 : 8 + length], type=dict[str, object])
        found = safetensors.torch.load(data)
        text = head.get("__metadata__", {})
        said = text.get(key, "") if isinstance(text, dict) else ""
        return msgspec.json.decode(str(said).encode(), type=type_), found
    except (safetensors.SafetensorError, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise ConfigError(f"no checkpoint of `{command}`: {error}", where=str(path)) from None
