"""Ensembles of decision trees, run by numpy from the trees that have arrived: any number of them answers.

    ensemble = Ensemble.from_arrays(arrays)          # of the base, and of as many groups of trees as there are
    ensemble.predict_proba(x)

Source: Accordion, "Generalization to AI/ML Models": ensembles consist of learners that combine their outputs, and so
are better with every one that arrives.

A group of trees is four arrays. Nodes lie in preorder, so the left child of a node is the next node. `feature` has a
number for each node, -1 for a leaf; `threshold` and `right` (how many nodes further on the right child is) one for
each inner node; `value` a row for each leaf. A sample goes left where its feature is at most the threshold.
Thresholds, and values that float32 would round, are integers: the bits of the numbers, which no encoding rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.value import Value
from airloom.errors import ChunkError, ConfigError

Array = NDArray[Any]

DESCRIPTION = "ensemble.description"
_FIELDS = ("first", "column", "feature", "threshold", "right", "value")
_MAX_WIDTH = 65_536
_AT_ONCE = 2**20  # samples times trees in one pass


class Description(Value, frozen=True):
    """What the base says of an ensemble.

    Attributes:
        combine: `mean` of what trees say; `sum` of it and the baseline; `samme`: sums, with a last column that is the
            trees' weight (Zhu et al., multi-class AdaBoost); `median`, weighted, of column 0 by column 1 (Drucker).
        link: what is made of the combination: nothing, probabilities by the logistic function (`logistic-2` of twice
            the score) or softmax, or its exponential.
        features: columns of the input.
        width: columns of the combination.
        classes: labels of each output, in the order of its columns; empty for a regression.
        outputs: of a regression.
        baseline: of each column, of `sum`.
        is_double: inputs and thresholds are float64, else float32.
        takes_missing: NaN goes where `missing` says; else it is refused.
        zero_is_second: of two classes with one score, which of them a score of exactly 0 is.
    """

    combine: Literal["mean", "sum", "samme", "median"]
    link: Literal["identity", "logistic", "logistic-2", "softmax", "exp"]
    features: int
    width: int
    classes: tuple[tuple[str | int | float, ...], ...] = ()
    outputs: int = 1
    baseline: tuple[float, ...] = ()
    is_double: bool = False
    takes_missing: bool = False
    zero_is_second: bool = True


@dataclass(frozen=True, eq=False)
class Group:
    """Some trees, one behind the other; checked.

    Attributes:
        first: `[trees + 1]`, node where each tree starts, and where the last ends.
        column: `[trees]`, column of the combination that a tree adds to; -1 for all of them.
        feature: `[nodes]`, -1 for a leaf.
        threshold, right: `[nodes]`; of inner nodes.
        missing_left: `[nodes]`, where NaN goes.
        leaf: `[nodes]`, row of `value`.
        value: `[leaves, width or 1]` float64.
    """

    first: Array
    column: Array
    feature: Array
    threshold: Array
    right: Array
    missing_left: Array
    leaf: Array
    value: Array


class Ensemble:
    """Trees that answer together.

    Attributes:
        description: of the ensemble whole.
        num_trees: that are here.
    """

    def __init__(self, description: Description, groups: list[Group]) -> None:
        self.description = description
        self._groups = groups
        self.num_trees = sum(len(group.column) for group in groups)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Ensemble:
        """From the arrays of the base and of one or more groups, by name.

        Raises:
            ChunkError: they are no ensemble, or lead a sample out of a tree.
        """
        description = read_description(arrays)
        names = sorted({name.rpartition(".")[0] for name in arrays if name != DESCRIPTION}, key=_number)
        groups = [_group(arrays, name, description) for name in names]
        if not groups:
            raise ChunkError("an ensemble without a tree")
        return cls(description, groups)

    @property
    def is_classifier(self) -> bool:
        return bool(self.description.classes)

    def __call__(self, x: Array) -> Any:
        """Probabilities of a classifier, values of a regression."""
        return self.predict_proba(x) if self.is_classifier else self.predict(x)

    def scores(self, x: Array) -> Array:
        """What the trees say together, before the link.

        Args:
            x: `[samples, features]`.

        Returns:
            `[samples, width]` float64; of `median` `[samples, 1]`.

        Raises:
            ConfigError: another number of features, or NaN where the trees know of none.
        """
        d = self.description
        given = np.asarray(x)
        if given.ndim != 2 or given.shape[1] != d.features or given.dtype.kind not in "fiub":
            raise ConfigError(
                f"expected samples of {d.features} numbers, got {given.dtype} of shape {list(given.shape)}"
            )
        given = np.ascontiguousarray(given, np.float64 if d.is_double else np.float32)
        if not d.takes_missing and np.isnan(given).any():
            raise ConfigError("a feature is NaN, and these trees were trained without missing values")
        width = 1 if d.combine == "median" else d.width
        out = np.empty((len(given), width))
        step = max(1, _AT_ONCE // max(self.num_trees, 1))
        for start in range(0, len(given), step):
            out[start : start + step] = self._combined(given[start : start + step])
        return out

    def predict_proba(self, x: Array) -> Any:
        """`[samples, classes]`, or a list of such where there are several outputs, as scikit-learn has it."""
        d = self.description
        if not self.is_classifier:
            raise ConfigError("a regression has no probabilities: call predict")
        scores = self.scores(x)
        if d.combine == "mean":
            ends = np.cumsum([len(classes) for classes in d.classes])
            found = [scores[:, end - len(classes) : end] for end, classes in zip(ends, d.classes, strict=True)]
            return found[0] if len(found) == 1 else found
        if d.combine == "samme":
            scores = _samme(scores)
            scores = (
                np.stack([-scores[:, 0], scores[:, 0]], 1) / 2
                if scores.shape[1] == 1
                else (scores / (scores.shape[1] - 1))
            )
            return _softmax(scores)
        if d.link == "softmax":
            return _softmax(scores)
        positive = _logistic(scores[:, 0] * (2 if d.link == "logistic-2" else 1))
        return np.stack([1 - positive, positive], 1)

    def predict(self, x: Array) -> Array:
        """Labels of a classifier, values of a regression: `[samples]`, or `[samples, outputs]` of several."""
        d = self.description
        scores = self.scores(x)
        if not self.is_classifier:
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

    def _combined(self, x: Array) -> Array:
        d = self.description
        if d.combine == "median":
            said = np.concatenate([_said(group, x)[0] for group in self._groups], 1)
            return _median(said[..., 0], said[..., 1])
        total = np.broadcast_to(np.array(d.baseline or (0.0,) * d.width), (len(x), d.width)).copy()
        for group in self._groups:
            # One tree after the other, as scikit-learn adds them: the sums are the same to the last bit.
            said, columns = _said(group, x)
            if (columns < 0).all():
                total = np.add.accumulate(np.concatenate([total[:, None], said], 1), axis=1)[:, -1]
                continue
            for tree, column in enumerate(columns.tolist()):
                if column < 0:
                    total += said[:, tree]
                else:
                    total[:, column] += said[:, tree, 0]
        return total / self.num_trees if d.combine == "mean" else total


def write_description(description: Description) -> dict[str, Array]:
    """The base's arrays."""
    return {DESCRIPTION: np.frombuffer(msgspec.json.encode(description), np.uint8)}


def read_description(arrays: Mapping[str, Array]) -> Description:
    """What `write_description` wrote.

    Raises:
        ChunkError: there is none, or it cannot be.
    """
    data = arrays.get(DESCRIPTION)
    if data is None or data.dtype != np.uint8 or data.ndim != 1:
        raise ChunkError(f"the base of an ensemble lacks {DESCRIPTION}")
    try:
        d = msgspec.json.decode(data.tobytes(), type=Description)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ChunkError("the description of the ensemble cannot be read") from None
    columns = {"mean": sum(map(len, d.classes)), "samme": sum(map(len, d.classes)) + 1}.get(d.combine, d.width)
    right = (
        1 <= d.features < 2**31
        and 1 <= d.width <= _MAX_WIDTH
        and 1 <= d.outputs <= _MAX_WIDTH
        and len(d.baseline) in (0, d.width)
        and all(len(classes) >= 1 for classes in d.classes)
        and (d.combine in ("mean", "sum") or len(d.classes) <= 1)
        and (not d.classes or columns == d.width)
        and (bool(d.classes) or d.width >= d.outputs)
        and (d.combine != "median" or (d.width == 2 and not d.classes and d.outputs == 1))
        and (d.combine != "samme" or bool(d.classes))
        and (d.combine != "sum" or not d.classes or _sum_width(d) == d.width)
    )
    if not right:
        raise ChunkError("the description of the ensemble contradicts itself")
    return d


def _sum_width(d: Description) -> int:
    return 1 if d.link.startswith("logistic") else len(d.classes[0])


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() and len(digits) < 10 else -1, name)


def _group(arrays: Mapping[str, Array], name: str, d: Description) -> Group:
    def wrong(why: str) -> ChunkError:
        return ChunkError(f"trees {name[:80]!r}: {why}")

    found = {}
    for field in _FIELDS:
        array = arrays.get(f"{name}.{field}")
        if array is None or array.ndim != (2 if field == "value" else 1):
            raise wrong(f"{field} is missing, or has another form")
        if field != "value" and array.dtype.kind not in "iu":
            raise wrong(f"{field} has type {array.dtype}")
        found[field] = array
    first, feature = found["first"].astype(np.int64), found["feature"].astype(np.int64)
    column = found["column"].astype(np.int64)
    nodes, trees = len(feature), len(column)
    if len(first) != trees + 1 or trees < 1 or first[0] != 0 or first[-1] != nodes or (np.diff(first) < 1).any():
        raise wrong("its trees do not lie one behind the other")
    if feature.min() < -1 or feature.max() >= d.features:
        raise wrong(f"it asks for a feature that is not among {d.features}")
    inner = feature >= 0
    threshold = np.zeros(nodes, np.float64 if d.is_double else np.float32)
    if found["threshold"].dtype != (np.int64 if d.is_double else np.int32):
        raise wrong(f"thresholds of type {found['threshold'].dtype}")
    if not len(found["threshold"]) == len(found["right"]) == int(inner.sum()):
        raise wrong("not a threshold and a right child for each inner node")
    threshold[inner] = found["threshold"].view(threshold.dtype)
    if np.isnan(threshold).any():
        raise wrong("a threshold that is no number")
    right = np.zeros(nodes, np.int64)
    right[inner] = found["right"]
    # Children lie behind their parent and in the same tree: every sample ends in a leaf.
    end = np.repeat(first[1:], np.diff(first))
    place = np.arange(nodes)
    if (inner & ((right < 2) | (place + right >= end))).any():
        raise wrong("a child lies outside of its tree")
    value = found["value"]
    if value.dtype == np.int64:
        value = value.view(np.float64)
    if value.dtype.kind != "f" or len(value) != nodes - int(inner.sum()) or not np.isfinite(value).all():
        raise wrong("not a row of finite numbers for each leaf")
    if column.min() < -1 or column.max() >= d.width or value.shape[1] != (1 if column.max() >= 0 else d.width):
        raise wrong("its values are not as wide as the ensemble's")
    if column.max() >= 0 and column.min() < 0:
        raise wrong("some of its trees have a column, and some have not")
    missing = np.zeros(nodes, bool)
    packed = arrays.get(f"{name}.missing")
    if packed is not None:
        if packed.dtype != np.uint8 or packed.shape != (-(-int(inner.sum()) // 8),):
            raise wrong("not a bit for each inner node of where missing values go")
        missing[inner] = np.unpackbits(packed)[: int(inner.sum())].astype(bool)
    leaf = np.cumsum(~inner) - 1
    return Group(first, column, feature, threshold, right, missing, leaf, value.astype(np.float64, copy=False))


def _said(group: Group, x: Array) -> tuple[Array, Array]:
    """Of each sample and tree the row of its leaf, `[samples, trees, width]`; and the trees' columns."""
    at = np.broadcast_to(group.first[:-1], (len(x), len(group.column))).copy()
    rows = np.arange(len(x))[:, None]
    missing = bool(group.missing_left.any())
    while True:
        feature = group.feature[at]
        inner = feature >= 0
        if not inner.any():
            break
        asked = x[rows, np.maximum(feature, 0)]
        left = asked <= group.threshold[at]
        if missing:
            left |= np.isnan(asked) & group.missing_left[at]
        at += np.where(inner, np.where(left, 1, group.right[at]), 0)
    return group.value[group.leaf[at]], group.column


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
