"""Ensembles of decision trees, run by numpy from the trees that have arrived: any number of them answers.

    ensemble = Ensemble.from_arrays(arrays)          # of the base, and of as many groups of trees as there are
    ensemble.predict_proba(x)

Source: Accordion, "Generalization to AI/ML Models": ensembles consist of learners that combine their outputs, and so
are better with every one that arrives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.deliver.tree_groups import DESCRIPTION, Description, Group, joined, read_description, read_group, said
from airloom.errors import ChunkError, ConfigError

Array = NDArray[Any]

_AT_ONCE = 2**21  # samples times trees times what each says, in one pass


class Ensemble:
    """Trees that answer together.

    Attributes:
        description: of the ensemble whole.
        num_trees, num_groups: that are here.
    """

    def __init__(self, description: Description, groups: Sequence[Group]) -> None:
        self.description = description
        self.num_groups = len(groups)
        self.num_trees = sum(len(group.column) for group in groups)
        self._all = joined(groups)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Ensemble:
        """From the arrays of the base and of one or more groups, by name.

        Raises:
            ChunkError: they are no ensemble, or lead a sample out of a tree.
        """
        description = read_description(arrays)
        names = sorted({name.rpartition(".")[0] for name in arrays if name != DESCRIPTION}, key=_place)
        groups = [read_group(arrays, name, description) for name in names]
        if not groups:
            raise ChunkError("an ensemble without a tree")
        return cls(description, groups)

    @property
    def is_classifier(self) -> bool:
        return bool(self.description.classes)

    def __call__(self, x: Array) -> Any:
        """Probabilities of a classifier, values of a regression."""
        return self.predict_proba(x) if self.is_classifier else self.predict(x)

    def predict_proba(self, x: Array) -> Any:
        """`[samples, classes]`, or a list of such where there are several outputs, as scikit-learn has it.

        Args:
            x: `[samples, features]`.

        Raises:
            ConfigError: another number of features, NaN where the trees know of none, or no classifier.
        """
        if not self.is_classifier:
            raise ConfigError("a regression has no probabilities: call predict")
        return probabilities(self.description, self.scores(x))

    def predict(self, x: Array) -> Array:
        """Labels of a classifier, values of a regression: `[samples]`, or `[samples, outputs]` of several."""
        return answers(self.description, self.scores(x))

    def scores(self, x: Array) -> Array:
        """What the trees say together, before the link: `[samples, width]` float64, of `median` `[samples, 1]`."""
        return self.staged_scores(x, [self.num_trees])[0]

    def staged_scores(self, x: Array, counts: Sequence[int]) -> list[Array]:
        """`scores` of the first so many trees, for each of `counts`; every tree is asked once."""
        given = self._checked(x)
        width = 1 if self.description.combine == "median" else self.description.width
        found = [np.empty((len(given), width)) for _ in counts]
        step = max(1, _AT_ONCE // (self.num_trees * self._all.value.shape[1]))
        for start in range(0, len(given), step):
            rows = said(self._all, given[start : start + step])
            for out, count in zip(found, counts, strict=True):
                out[start : start + step] = self._combined(rows[:, :count], self._all.column[:count])
        return found

    def _checked(self, x: Array) -> Array:
        d = self.description
        given = np.asarray(x)
        if given.ndim != 2 or given.shape[1] != d.features or given.dtype.kind not in "fiub":
            raise ConfigError(
                f"expected samples of {d.features} numbers, got {given.dtype} of shape {list(given.shape)}"
            )
        given = np.ascontiguousarray(given, np.float64 if d.is_double else np.float32)
        if not d.takes_missing and np.isnan(given).any():
            raise ConfigError("a feature is NaN, and these trees were trained without missing values")
        return given

    def _combined(self, rows: Array, columns: Array) -> Array:
        d = self.description
        if d.combine == "median":
            return _median(rows[..., 0], rows[..., 1])
        total = np.broadcast_to(np.array(d.baseline or (0.0,) * d.width), (len(rows), d.width)).copy()
        # One tree after the other, as scikit-learn adds them: the sums are the same to the last bit.
        for column in np.unique(columns).tolist():
            if column < 0:
                total = np.add.accumulate(np.concatenate([total[:, None], rows], 1), axis=1)[:, -1]
            else:
                own = np.concatenate([total[:, column, None], rows[:, columns == column, 0]], 1)
                total[:, column] = np.add.accumulate(own, axis=1)[:, -1]
        return total / len(columns) if d.combine == "mean" else total


def probabilities(d: Description, scores: Array) -> Any:
    """What a classifier's scores are as probabilities: `[samples, classes]`, a list of such of several outputs."""
    if d.combine == "mean":
        ends = np.cumsum([len(classes) for classes in d.classes])
        found = [scores[:, end - len(classes) : end] for end, classes in zip(ends, d.classes, strict=True)]
        return found[0] if len(found) == 1 else found
    if d.combine == "samme":
        scores = _samme(scores)
        two = scores.shape[1] == 1
        return _softmax(np.concatenate([-scores, scores], 1) / 2 if two else scores / (scores.shape[1] - 1))
    if d.link == "softmax":
        return _softmax(scores)
    positive = _logistic(scores[:, 0] * (2 if d.link == "logistic-2" else 1))
    return np.stack([1 - positive, positive], 1)


def answers(d: Description, scores: Array) -> Array:
    """What scores are as labels or values: `[samples]`, or `[samples, outputs]` of several."""
    if not d.classes:
        values = np.exp(scores) if d.link == "exp" else scores
        return values[:, 0] if d.outputs == 1 else values
    if d.combine == "samme":
        scores = _samme(scores)
    labels = []
    end = 0
    for classes in d.classes:
        if scores.shape[1] == 1:
            chosen = (scores[:, 0] >= 0 if d.zero_is_second else scores[:, 0] > 0).astype(np.intp)
        else:
            chosen = scores[:, end : end + len(classes)].argmax(1)
        end += len(classes)
        labels.append(np.array(classes)[chosen])
    return labels[0] if len(labels) == 1 else np.stack(labels, 1)


def _place(name: str) -> tuple[int, str]:
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() and len(digits) < 10 else -1, name)


def _median(said: Array, weights: Array) -> Array:
    """Weighted median of each row, `[samples, 1]` (Drucker 1997, step 7; as scikit-learn's AdaBoostRegressor)."""
    order = np.argsort(said, axis=1)
    cumulated = np.cumsum(np.take_along_axis(weights, order, 1), axis=1)
    middle = (cumulated >= 0.5 * cumulated[:, -1:]).argmax(1)
    chosen = order[np.arange(len(said)), middle]
    found: Array = said[np.arange(len(said)), chosen][:, None]
    return found


def _samme(scores: Array) -> Array:
    """Scores over the trees' weight, which is the last column; of two classes that of the second alone."""
    found: Array = scores[:, :-1] / scores[:, -1:]
    return found if found.shape[1] > 2 else (found[:, -1] - found[:, 0])[:, None]


def _logistic(x: Array) -> Array:
    with np.errstate(over="ignore"):
        found: Array = np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))
    return found


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    found: Array = e / e.sum(1, keepdims=True)
    return found
