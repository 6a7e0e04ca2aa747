"""Groups of decision trees as arrays: checked so that every sample ends in a leaf, and walked through.

A group is four arrays and two small ones. Nodes lie in preorder, so the left child of a node is the next node.
`feature` has a number for each node, -1 for a leaf; `threshold` and `right` (how many nodes further on the right child
is) one for each inner node; `value` a row for each leaf. A sample goes left where its feature is at most the threshold.
Thresholds, and values that float32 would round, are integers: the bits of the numbers, which no encoding rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.value import Value
from airloom.errors import ChunkError

Array = NDArray[Any]

DESCRIPTION = "ensemble.description"
_FIELDS = ("first", "column", "feature", "threshold", "right", "value")
_MAX_WIDTH = 65_536


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


def read_group(arrays: Mapping[str, Array], name: str, d: Description) -> Group:
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


def joined(groups: Sequence[Group]) -> Group:
    """All trees as one group: one walk for all of them, whatever came together."""
    nodes = np.cumsum([0, *(len(group.feature) for group in groups)])
    leaves = np.cumsum([0, *(len(group.value) for group in groups)])
    first = [group.first[:-1] + start for group, start in zip(groups, nodes[:-1], strict=True)]
    leaf = [group.leaf + start for group, start in zip(groups, leaves[:-1], strict=True)]

    def all_of(name: str) -> Array:
        return np.concatenate([getattr(group, name) for group in groups])

    return Group(
        first=np.concatenate([*first, nodes[-1:]]), column=all_of("column"), feature=all_of("feature"),
        threshold=all_of("threshold"), right=all_of("right"), missing_left=all_of("missing_left"),
        leaf=np.concatenate(leaf), value=all_of("value"),
    )  # fmt: skip


def said(group: Group, x: Array) -> Array:
    """Of each sample and tree the row of its leaf, `[samples, trees, width]`."""
    samples, trees = len(x), len(group.column)
    at = np.tile(group.first[:-1], samples)
    walking = np.flatnonzero(group.feature[at] >= 0)
    node, start = at[walking], walking // trees * x.shape[1]
    flat = x.reshape(-1)
    missing = bool(group.missing_left.any())
    while len(walking):
        asked = flat[start + group.feature[node]]
        left = asked <= group.threshold[node]
        if missing:
            left |= np.isnan(asked) & group.missing_left[node]
        node += np.where(left, 1, group.right[node])
        # Those that have come to a leaf stay there; the rest goes on.
        inner = group.feature[node] >= 0
        if not inner.all():
            at[walking] = node
            walking, node, start = walking[inner], node[inner], start[inner]
    rows: Array = group.value[group.leaf[at]].reshape(samples, trees, -1)
    return rows
