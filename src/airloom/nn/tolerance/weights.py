"""Weights of a receiving half in a file beside the profile."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from airloom.core.tolerance import TunedWeights
from airloom.files import write_aside


def write_tuned(path: Path, cut: int, weights: Mapping[str, Tensor], *, half: bool = True) -> TunedWeights:
    """Write `weights` as safetensors.

    Args:
        half: 32-bit values as 16-bit ones; what does not fit their range stays as it is.
    """
    stored = {}
    for name, tensor in weights.items():
        tensor = tensor.detach().cpu().contiguous()
        small = tensor.to(torch.float16)
        fits = half and tensor.dtype == torch.float32 and bool(torch.isfinite(small).all())
        stored[name] = small if fits else tensor
    data = safetensors.torch.save(stored)
    write_aside(path, data)
    return TunedWeights(cut=cut, file=path.name, sha256=hashlib.sha256(data).hexdigest())


def read_tuned(folder: Path, record: TunedWeights) -> dict[str, Tensor] | None:
    """The weights that `record` names in `folder`; None where they are not there or not those."""
    try:
        data = (folder / record.file).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != record.sha256:
        return None
    return safetensors.torch.load(data)
