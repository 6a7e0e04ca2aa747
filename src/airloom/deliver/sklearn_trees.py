"""What a fitted ensemble of scikit-learn is made of, read from its attributes: no pickle, and nothing of it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airloom.deliver.tree_groups import Description
from airloom.errors import ConfigError, MissingExtra

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree, its nodes in preorder.

    Attributes:
        feature: `[nodes]`, -1 for a leaf.
        threshold, right, missing_left: `[inner nodes]`; `right` is how many nodes further on.
        value: `[leaves, columns]` float64.
        column: of the combination that it adds to; -1 for all.
        comparisons: that a sample takes in the mean, over the samples that it was trained with.
    """

    feature: Array
    threshold: Array
    right: Array
    missing_left: Array
    value: Array
    column: int
    comparisons: float


@dataclass(frozen=True, eq=False)
class Forest:
    """An ensemble: what it is, and its stages in order, each of one or more trees that go together."""

    name: str
    description: Description
    stages: list[list[Tree]]


def read_estimator(estimator: Any) -> Forest:
    """The trees of a fitted random forest, extra trees, gradient boosting (histogram-based too), AdaBoost over trees,
    or single tree; a classifier or a regression.

    Raises:
        ConfigError: another estimator, not fitted, or with something that cannot be packed.
        MissingExtra: scikit-learn is not there.
    """
    try:
        from sklearn import ensemble, tree  # type: ignore[import-untyped]
        from sklearn.exceptions import NotFittedError  # type: ignore[import-untyped]
        from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("packing trees needs scikit-learn: pip install 'airloom[trees]'") from None
    readers: tuple[tuple[tuple[type, ...], Callable[[Any], tuple[Description, list[list[Tree]]]]], ...] = (
        ((tree.DecisionTreeClassifier, tree.DecisionTreeRegressor), lambda e: _forest(e, [e])),
        (
            (
                ensemble.RandomForestClassifier,
                ensemble.RandomForestRegressor,
                ensemble.ExtraTreesClassifier,
                ensemble.ExtraTreesRegressor,
            ),
            lambda e: _forest(e, e.estimators_),
        ),
        ((ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor), _boosting),
        ((ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor), _histogram),
        ((ensemble.AdaBoostClassifier, ensemble.AdaBoostRegressor), _adaboost),
    )
    name = type(estimator).__name__
    for types, read in readers:
        if isinstance(estimator, types):
            try:
                check_is_fitted(estimator)
            except NotFittedError:
                raise ConfigError(f"{name} is not fitted: call fit first") from None
            description, stages = read(estimator)
            return Forest(name, description, stages)
    raise ConfigError(
        f"{name} cannot be packed: take a random forest, extra trees, gradient boosting, AdaBoost over trees or a tree"
    )


def _forest(estimator: Any, trees: Sequence[Any]) -> tuple[Description, list[list[Tree]]]:
    classes = _classes(estimator)
    counts = [len(c) for c in classes]

    def values(tree: Any, leaves: Array) -> Array:
        value = tree.value[leaves]  # [leaves, outputs, classes]
        if not classes:
            return np.asarray(value[:, :, 0])
        return np.concatenate([value[:, k, :count] for k, count in enumerate(counts)], 1)

    outputs = 1 if classes else int(estimator.n_outputs_)
    description = Description(
        combine="mean", link="identity", features=int(estimator.n_features_in_), width=sum(counts) or outputs,
        classes=classes, outputs=outputs, takes_missing=_takes_missing(trees[0]),
    )  # fmt: skip
    return description, [[_tree(tree.tree_, -1, partial(values, tree.tree_))] for tree in trees]


def _boosting(estimator: Any) -> tuple[Description, list[list[Tree]]]:
    from sklearn.dummy import DummyClassifier, DummyRegressor  # type: ignore[import-untyped]

    if not isinstance(estimator.init_, str | DummyClassifier | DummyRegressor):
        raise ConfigError(f"it starts from {type(estimator.init_).__name__}, which is no tree: fit it without `init`")
    classes = _classes(estimator)
    features, width = int(estimator.n_features_in_), estimator.estimators_.shape[1]
    baseline = estimator._raw_predict_init(np.zeros((1, features), np.float32))[0]
    link = "identity" if not classes else "softmax" if width > 1 else "logistic"
    if classes and estimator.loss == "exponential":
        link = "logistic-2"
    description = Description(
        combine="sum", link=link, features=features, width=width, classes=classes,  # type: ignore[arg-type]
        baseline=tuple(map(float, baseline)),
    )  # fmt: skip
    rate = float(estimator.learning_rate)

    def values(tree: Any, leaves: Array) -> Array:
        return np.asarray(rate * tree.value[leaves, 0, :1])

    stages = [
        [_tree(tree.tree_, column, partial(values, tree.tree_)) for column, tree in enumerate(stage)]
        for stage in estimator.estimators_
    ]
    return description, stages


def _histogram(estimator: Any) -> tuple[Description, list[list[Tree]]]:
    if estimator.is_categorical_ is not None and np.any(estimator.is_categorical_):
        raise ConfigError("it splits by categories, which cannot be packed: encode them as numbers before fitting")
    classes = _classes(estimator)
    baseline = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)
    width = len(baseline)
    link = "softmax" if width > 1 else "logistic"
    if not classes:
        link = "exp" if estimator.loss in ("poisson", "gamma") else "identity"
    description = Description(
        combine="sum", link=link, features=int(estimator.n_features_in_), width=width, classes=classes,  # type: ignore[arg-type]
        baseline=tuple(map(float, baseline)), is_double=True, takes_missing=True,
        zero_is_second=False,
    )  # fmt: skip
    stages = []
    for stage in estimator._predictors:
        trees = []
        for column, predictor in enumerate(stage):
            nodes = predictor.nodes
            inner = nodes["is_leaf"] == 0
            trees.append(
                _preorder(
                    np.where(inner, nodes["left"].astype(np.int64), -1),
                    nodes["right"].astype(np.int64),
                    nodes["feature_idx"].astype(np.int64),
                    nodes["num_threshold"].astype(np.float64),
                    nodes["missing_go_to_left"].astype(bool),
                    nodes["count"].astype(np.float64),
                    column,
                    partial(_histogram_values, nodes),
                )
            )
        stages.append(trees)
    return description, stages


def _histogram_values(nodes: Array, leaves: Array) -> Array:
    return np.asarray(nodes["value"][leaves][:, None])


def _adaboost(estimator: Any) -> tuple[Description, list[list[Tree]]]:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # type: ignore[import-untyped]

    trees = estimator.estimators_
    if not all(isinstance(tree, DecisionTreeClassifier | DecisionTreeRegressor) for tree in trees):
        raise ConfigError(f"it boosts {type(trees[0]).__name__}, which is no tree")
    classes = _classes(estimator)
    if classes and len(classes[0]) < 2:
        raise ConfigError("it was trained with one class only")
    description = Description(
        combine="samme" if classes else "median", link="identity", features=int(estimator.n_features_in_),
        width=len(classes[0]) + 1 if classes else 2, classes=classes, zero_is_second=False,
    )  # fmt: skip

    def values(tree: Any, weight: float, leaves: Array) -> Array:
        value = tree.tree_.value[leaves, 0]
        if not classes:
            return np.stack([value[:, 0], np.full(len(leaves), weight)], 1)
        count = len(classes[0])
        said = tree.classes_[value.argmax(1)][:, None] == np.asarray(estimator.classes_)[None]
        votes = np.where(said, weight, -1 / (count - 1) * weight)
        return np.concatenate([votes, np.full((len(leaves), 1), weight)], 1)

    stages = [
        [_tree(tree.tree_, -1, partial(values, tree, float(weight)))]
        for tree, weight in zip(trees, estimator.estimator_weights_, strict=False)
    ]
    return description, stages


def _tree(tree: Any, column: int, values: Callable[[Array], Array]) -> Tree:
    """A `sklearn.tree._tree.Tree`: it compares float32 features with float64 thresholds."""
    left = tree.children_left.astype(np.int64)
    threshold = _float32_at_most(tree.threshold)
    return _preorder(
        left, tree.children_right.astype(np.int64), tree.feature.astype(np.int64), threshold,
        tree.missing_go_to_left.astype(bool), tree.weighted_n_node_samples, column, values,
    )  # fmt: skip


def _float32_at_most(threshold: Array) -> Array:
    """The greatest float32 that is at most each threshold: no float32 feature tells the two apart."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
        below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > threshold, below, rounded)


def _preorder(
    left: Array,
    right: Array,
    feature: Array,
    threshold: Array,
    missing_left: Array,
    samples: Array,
    column: int,
    values: Callable[[Array], Array],
) -> Tree:
    """Renumber nodes so that a left child is next to its parent; `left` is -1 for leaves."""
    order: list[int] = []
    depth: list[int] = []
    stack = [(0, 0)]
    while stack:
        node, level = stack.pop()
        order.append(node)
        depth.append(level)
        if left[node] >= 0:
            stack += [(int(right[node]), level + 1), (int(left[node]), level + 1)]
    old = np.array(order)
    new = np.empty(len(left), np.int64)
    new[old] = np.arange(len(old))
    inner = left[old] >= 0
    chosen = old[inner]
    leaves = old[~inner]
    weight = samples[leaves] / max(float(samples[leaves].sum()), 1e-300)
    return Tree(
        feature=np.where(inner, feature[old], -1),
        threshold=threshold[chosen],
        right=new[right[chosen]] - new[chosen],
        missing_left=missing_left[chosen],
        value=np.asarray(values(leaves), np.float64),
        column=column,
        comparisons=float((weight * np.array(depth)[~inner]).sum()),
    )


def _classes(estimator: Any) -> tuple[tuple[str | int | float, ...], ...]:
    if not hasattr(estimator, "classes_"):
        return ()
    found = estimator.classes_
    each = found if isinstance(found, list) else [found]
    labels = tuple(tuple(c.tolist()) for c in each)
    if any(not isinstance(label, str | int | float) for c in labels for label in c):
        raise ConfigError("labels of classes are texts or numbers: encode others before fitting")
    return labels


def _takes_missing(tree: Any) -> bool:
    """Whether scikit-learn lets NaN into it: it then goes where most samples went, or where missing ones did."""
    return bool(tree._support_missing_values(np.zeros((1, 1), np.float32)))
