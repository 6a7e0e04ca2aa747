"""Losses of a model's first output and the labels, mean over the batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from airloom.core.graph import ModelGraph, TensorSpec
from airloom.core.training import TrainingSpec
from airloom.errors import ConfigError
from airloom.nn.program import DTYPES


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    """Of logits `[..., classes]` and int64 classes `[...]`."""
    return F.cross_entropy(output.reshape(-1, output.shape[-1]), labels.reshape(-1))


def mse(output: Tensor, labels: Tensor) -> Tensor:
    """Of a tensor and a target of its shape and type."""
    return F.mse_loss(output, labels)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "mse": mse}


def label_form(graph: ModelGraph, loss: str) -> tuple[tuple[int, ...], str]:
    """Shape and type of a step's labels.

    Raises:
        ConfigError: the model's first output is nothing that this loss takes.
    """
    return labels_for(graph.tensors[graph.outputs[0]], loss, graph.model)


def labels_for(spec: TensorSpec, loss: str, model: str) -> tuple[tuple[int, ...], str]:
    """Shape and type of the labels of an output of this form; ConfigError as `label_form`."""
    if not DTYPES[spec.dtype].is_floating_point:
        raise ConfigError(f"{model} returns {spec.dtype} first: a loss needs floating-point numbers")
    if loss == "mse":
        return spec.shape, spec.dtype
    if not spec.shape or spec.shape[-1] < 2:
        raise ConfigError(f"{model} returns {list(spec.shape)} first: cross entropy needs logits [..., classes]")
    return spec.shape[:-1], "int64"


def check_labels(graph: ModelGraph, spec: TrainingSpec) -> None:
    """ConfigError where the labels that `spec` names do not fit the model's output and the loss."""
    shape, dtype = label_form(graph, spec.loss)
    if (spec.label_shape, spec.label_dtype) != (shape, dtype):
        raise ConfigError(
            f"labels are {list(spec.label_shape)} of {spec.label_dtype}; {spec.loss} of {graph.model} takes "
            f"{list(shape)} of {dtype} a step"
        )
