"""What a training is given, made ready and held against the model before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.core.graph import TensorSpec
from airloom.errors import ConfigError
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.recipe import Recipe
from airloom.nn.program import DTYPE_NAMES
from airloom.nn.source import first_line
from airloom.nn.training.batches import checked_labels
from airloom.nn.training.loss import labels_for

Array = NDArray[Any]
#: One array for each input, and labels.
Samples = tuple[list[Array], Array]


def weight_groups(weights: Sequence[Tensor], recipe: Recipe) -> list[dict[str, Any]]:
    """All weights, or those of one axis apart, without weight decay."""
    if recipe.decay_all:
        return [{"params": list(weights)}]
    flat = [weight for weight in weights if weight.ndim <= 1]
    return [{"params": [w for w in weights if w.ndim > 1]}, {"params": flat, "weight_decay": 0.0}]


def fitting_samples(
    model: ElasticModel, arrays: Sequence[Array], labels: Array, recipe: Recipe, device: torch.device, where: str
) -> Samples:
    """The samples if they fit the model and the loss, labels in the form of the loss.

    Raises:
        ConfigError: they do not.
    """
    arrays, labels = list(arrays), np.asarray(labels)
    if not arrays or not labels.ndim or any(not a.ndim or len(a) != len(labels) for a in arrays):
        rows = ", ".join(str(len(a)) if a.ndim else "no" for a in arrays) or "no"
        raise ConfigError(f"{rows} samples, {len(labels) if labels.ndim else 'no'} labels", where=where)
    some = [torch.from_numpy(np.ascontiguousarray(array[:2])).to(device) for array in arrays]
    was_training = model.training
    try:
        with torch.no_grad(), model.eval().at(model.order.depths[0]):
            output = model(*some)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        forms = ", ".join(f"{list(array.shape[1:])} of {array.dtype}" for array in arrays)
        raise ConfigError(f"the model does not take samples of {forms}: {first_line(error)}", where=where) from None
    finally:
        model.train(was_training)
    first = output if isinstance(output, Tensor) else output[0]
    form = TensorSpec(shape=tuple(first.shape), dtype=DTYPE_NAMES[first.dtype])
    shape, dtype = labels_for(form, recipe.loss, "the model")
    spec = msgspec.structs.replace(recipe.spec(), label_shape=shape, label_dtype=dtype)
    return arrays, checked_labels(labels, spec, form.shape[-1] if form.shape else 0, where)
