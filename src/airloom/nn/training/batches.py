"""Samples dealt into batches, the same whoever asks for step k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.core.graph import ModelGraph
from airloom.core.training import TrainingSpec
from airloom.errors import ConfigError

Array = NDArray[Any]


class Deal:
    """Samples in batches of `size`: every pass over them has its own order, which follows from `seed` and its number.

    What is left over at the end of a pass, less than a batch, is not dealt in it.

    Args:
        arrays: row k of each is sample k.
        labels: row k is that of sample k.
    """

    def __init__(self, arrays: Sequence[Array], labels: Array, size: int, *, seed: int = 0) -> None:
        self.size = size
        self._arrays, self._labels, self._seed = tuple(arrays), labels, seed
        self.per_pass = len(labels) // size
        self._order: tuple[int, NDArray[np.intp]] = (-1, np.empty(0, dtype=np.intp))

    def __call__(self, step: int) -> tuple[tuple[Array, ...], Array]:
        """Inputs and labels of a step."""
        turn, place = divmod(step, self.per_pass)
        if self._order[0] != turn:
            self._order = turn, np.random.default_rng([self._seed, turn]).permutation(len(self._labels))
        rows = self._order[1][place * self.size : (place + 1) * self.size]
        return tuple(array[rows] for array in self._arrays), self._labels[rows]


class Batches(Deal):
    """A `Deal` of samples that fit a graph and a loss.

    Args:
        arrays: one for each input of the graph, row k of each is sample k; inputs have the batch first.
        labels: row k is that of sample k.

    Raises:
        ConfigError: the arrays or labels are not what the model and the loss take, or too few for a batch.
    """

    def __init__(
        self, graph: ModelGraph, spec: TrainingSpec, arrays: Sequence[Array], labels: Array, *, seed: int = 0,
        where: str = "data",
    ) -> None:  # fmt: skip
        specs = [graph.tensors[t] for t in graph.inputs]
        if len(arrays) != len(specs):
            raise ConfigError(f"{len(arrays)} arrays of inputs for a model of {len(specs)}", where=where)
        sizes = {s.shape[0] if s.shape else 0 for s in specs}
        if len(sizes) != 1 or 0 in sizes:
            raise ConfigError(f"{graph.model} has inputs without a common first axis, the batch", where=where)
        size = sizes.pop()
        for array, form in zip(arrays, specs, strict=True):
            if array.shape[1:] != form.shape[1:] or str(array.dtype) != form.dtype:
                raise ConfigError(
                    f"samples of {list(array.shape[1:])} of {array.dtype}; {graph.model} takes {list(form.shape[1:])} "
                    f"of {form.dtype}",
                    where=where,
                )
            if len(array) != len(labels):
                raise ConfigError(f"{len(array)} samples and {len(labels)} labels", where=where)
        if spec.label_shape[:1] != (size,):
            raise ConfigError(f"the model answers {list(spec.label_shape)}: no label for each sample", where=where)
        classes = graph.tensors[graph.outputs[0]].shape[-1] if spec.loss == "cross_entropy" else 0
        labels = checked_labels(labels, spec, classes, where)
        if len(labels) < size:
            few = f"{len(labels)} sample{'s' * (len(labels) != 1)}"
            raise ConfigError(f"{few}, and a batch has {size}: give more, or a smaller --batch", where=where)
        super().__init__(arrays, labels, size, seed=seed)


def checked_labels(labels: Any, spec: TrainingSpec, classes: int, where: str) -> Array:
    """Labels of the form of `spec`, integers of any width as int64; for cross entropy below `classes`.

    Raises:
        ConfigError: they are not what the loss takes.
    """
    labels = np.asarray(labels)
    wanted = spec.label_shape[1:]
    if labels.ndim == len(wanted) + 2 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape[1:] != wanted:
        raise ConfigError(f"a label is {list(labels.shape[1:])}, {spec.loss} takes {list(wanted)}", where=where)
    if spec.label_dtype == "int64" and not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(f"labels are classes, integers, not {labels.dtype}", where=where)
    if spec.loss == "cross_entropy" and labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ConfigError(f"labels go from 0 to {classes - 1}, found {labels.min()}..{labels.max()}", where=where)
    return np.ascontiguousarray(labels.astype(spec.label_dtype))


def as_arrays(data: Any) -> list[Array]:
    """What a caller gives as samples, as arrays: one, or a list or tuple with one for each input."""
    given = list(data) if isinstance(data, list | tuple) else [data]
    return [np.asarray(one) for one in given]
