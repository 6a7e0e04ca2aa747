"""Test samples with their labels, held against the model before hours are spent on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.core.graph import ModelGraph
from airloom.core.value import digest
from airloom.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of a model and what is right for each.

    Attributes:
        inputs: one array an input of the model; row k of each is sample k, `[N, ...]`.
        labels: `[N]` classes, or whatever the score takes, `[N, ...]`.
    """

    inputs: tuple[NDArray[Any], ...]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Samples:
        """The first `count` samples, or all where there are fewer."""
        return Samples(tuple(array[:count] for array in self.inputs), self.labels[:count])

    def row_digests(self) -> list[bytes]:
        """What tells a sample from others, labels apart."""
        rows = (b"".join(np.ascontiguousarray(array[k]).tobytes() for array in self.inputs) for k in range(len(self)))
        return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]

    @property
    def digest(self) -> str:
        arrays = (*self.inputs, self.labels)
        return digest(*(np.ascontiguousarray(array).tobytes() for array in arrays))


def check_samples(samples: Samples, graph: ModelGraph, *, classes: bool = True, where: str = "") -> Samples:
    """`samples` with the axes that `graph` takes.

    Args:
        graph: captured at a batch of 1 or more; a sample is a row of its first axis.
        classes: labels are classes, places in the last axis of the model's first output.

    Raises:
        ConfigError: no samples, other shapes or types than the model's, values that are no numbers,
            or labels outside the classes.
    """

    def wrong(problem: str) -> ConfigError:
        return ConfigError(problem, where=where)

    specs = [graph.tensors[tensor] for tensor in graph.inputs]
    if len(samples.inputs) != len(specs):
        raise wrong(f"{len(samples.inputs)} arrays of inputs for a model that takes {len(specs)}")
    if not len(samples):
        raise wrong("no samples: accuracy is a mean over samples")
    inputs = []
    for place, (array, spec) in enumerate(zip(samples.inputs, specs, strict=True)):
        name = f"input {place}" if len(specs) > 1 else "the input"
        if len(array) != len(samples):
            raise wrong(f"{name} has {len(array)} rows and there are {len(samples)} labels: give each sample its label")
        if array.dtype != np.dtype(spec.dtype) or array[0].size * spec.shape[0] != np.prod(spec.shape):
            raise wrong(
                f"{name} has rows of {list(array.shape[1:])} of {array.dtype}; "
                f"{graph.model} takes {list(spec.shape[1:])} of {spec.dtype} a sample"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
            raise wrong(f"{name}: sample {row} has values that are no numbers (NaN or infinity)")
        inputs.append(array.reshape(len(array), *spec.shape[1:]))
    if classes:
        _check_classes(samples.labels, graph, wrong)
    return Samples(tuple(inputs), samples.labels)


def _check_classes(labels: NDArray[Any], graph: ModelGraph, wrong: Any) -> None:
    output = graph.tensors[graph.outputs[0]]
    if len(output.shape) != 2:
        raise wrong(
            f"top-1 needs a score for each class, and {graph.model} returns {list(output.shape)}: "
            "say how its outputs are judged (--score module:function)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise wrong(
            f"labels are {list(labels.shape)} of {labels.dtype}: expected the number of a class for each sample"
        )
    classes = output.shape[1]
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        row = int(outside[0])
        raise wrong(f"label {int(labels[row])} of sample {row} is none of the {classes} classes (0 to {classes - 1})")
