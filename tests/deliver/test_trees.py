"""Law: all trees, packed and read back, predict what scikit-learn predicts; and the first k are its first k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.artifact import read_artifact
from airloom.deliver.chunks import decode_chunk
from airloom.deliver.sklearn_trees import _float32_at_most
from airloom.deliver.tree_groups import DESCRIPTION, Description, write_description
from airloom.deliver.tree_packing import pack_trees
from airloom.deliver.trees import Ensemble
from airloom.errors import ChunkError, ConfigError

sklearn = pytest.importorskip("sklearn")
from sklearn import ensemble as sk  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 6)).astype(np.float32)
X[:, 5] = RNG.integers(0, 4, 160)  # ties with thresholds
NEW = np.concatenate([RNG.normal(size=(200, 6)).astype(np.float32), X])
TWO = np.where(X[:, 0] + X[:, 1] ** 2 > 0.7, "yes", "no")
FOUR = np.digitize(X[:, 0] + X[:, 5], [0, 1.5, 3])
REAL = X[:, 0] * 3 + X[:, 1] ** 2 + X[:, 5]
BOTH = np.stack([FOUR, np.digitize(X[:, 2], [0])], 1)

FITTED: dict[str, Any] = {
    "tree": (DecisionTreeClassifier(random_state=0), FOUR),
    "tree of values": (DecisionTreeRegressor(max_leaf_nodes=9, random_state=0), REAL),
    "forest of two": (sk.RandomForestClassifier(7, random_state=0), TWO),
    "forest of four": (sk.RandomForestClassifier(7, max_depth=4, random_state=0), FOUR),
    "forest of several outputs": (sk.RandomForestClassifier(5, random_state=0), BOTH),
    "forest of values": (sk.RandomForestRegressor(7, max_leaf_nodes=20, random_state=0), REAL),
    "forest of several values": (sk.RandomForestRegressor(5, random_state=0), np.stack([REAL, X[:, 3]], 1)),
    "extra trees": (sk.ExtraTreesClassifier(7, random_state=0), FOUR),
    "extra trees of values": (sk.ExtraTreesRegressor(7, random_state=0), REAL),
    "boosting of two": (sk.GradientBoostingClassifier(n_estimators=9, random_state=0), TWO),
    "boosting of four": (sk.GradientBoostingClassifier(n_estimators=6, random_state=0), FOUR),
    "boosting, exponential": (sk.GradientBoostingClassifier(loss="exponential", n_estimators=6), TWO),
    "boosting from zero": (sk.GradientBoostingClassifier(init="zero", n_estimators=6), FOUR),
    "boosting of values": (sk.GradientBoostingRegressor(n_estimators=9, random_state=0), REAL),
    "boosting of quantiles": (sk.GradientBoostingRegressor(loss="quantile", n_estimators=6), REAL),
    "histograms of two": (sk.HistGradientBoostingClassifier(max_iter=6), TWO),
    "histograms of four": (sk.HistGradientBoostingClassifier(max_iter=5), FOUR),
    "histograms of values": (sk.HistGradientBoostingRegressor(max_iter=6), REAL),
    "histograms of counts": (sk.HistGradientBoostingRegressor(loss="poisson", max_iter=6), np.abs(REAL)),
    "adaboost of two": (sk.AdaBoostClassifier(n_estimators=6, random_state=0), TWO),
    "adaboost of four": (
        sk.AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=6, random_state=0), FOUR
    ),
    "adaboost of values": (sk.AdaBoostRegressor(n_estimators=7, random_state=0), REAL),
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {name: estimator.fit(X, y) for name, (estimator, y) in FITTED.items()}


def packed(estimator: Any, folder: Path, **options: Any) -> Manifest:
    return pack_trees(estimator, folder, name="trees", key=KEY, **options)


def arrived(folder: Path, manifest: Manifest, row: Configuration) -> Ensemble:
    arrays: dict[str, Any] = {}
    for index in manifest.chunks_of(row):
        arrays |= decode_chunk((folder / manifest.chunks[index].file).read_bytes(), manifest, index).arrays
    return Ensemble.from_arrays(arrays)


@pytest.mark.parametrize("name", FITTED)
def test_all_trees_predict_what_scikit_learn_predicts(name: str, fitted: dict[str, Any], tmp_path: Path) -> None:
    estimator = fitted[name]
    manifest = packed(estimator, tmp_path / "a")
    assert read_artifact(tmp_path / "a") == manifest
    ours = arrived(tmp_path / "a", manifest, manifest.configurations[-1])
    new = NEW.astype(np.float64) + 1e-9 if manifest.inputs[0].endswith("float64") else NEW
    wanted = estimator.predict(new)
    assert ours.is_classifier == hasattr(estimator, "classes_")
    if ours.is_classifier:
        assert (ours.predict(new) == wanted).all()
        theirs = estimator.predict_proba(new)
        pairs = zip(ours(new), theirs, strict=True) if isinstance(theirs, list) else [(ours(new), theirs)]
        for found, proba in pairs:
            np.testing.assert_allclose(found, proba, rtol=1e-12, atol=1e-14)
    else:
        np.testing.assert_allclose(ours(new), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["forest of four", "boosting of four", "histograms of two", "adaboost of four"])
def test_the_first_trees_are_scikit_learns_first(name: str, fitted: dict[str, Any], tmp_path: Path) -> None:
    estimator = fitted[name]
    manifest = packed(estimator, tmp_path / "a", trees_per_chunk=2)
    stages = len(estimator.estimators_) if hasattr(estimator, "estimators_") else estimator.n_iter_
    assert manifest.order.num_blocks == -(-stages // 2)
    for row in manifest.configurations:
        ours = arrived(tmp_path / "a", manifest, row)
        k = min(2 * row.depth, stages)
        if name.startswith("forest"):
            wanted = np.mean([tree.predict_proba(NEW) for tree in estimator.estimators_[:k]], 0)
        else:
            wanted = list(estimator.staged_predict_proba(NEW))[k - 1]
        np.testing.assert_allclose(ours.predict_proba(NEW), wanted, rtol=1e-10)


def test_accuracy_is_measured_by_number_of_trees(fitted: dict[str, Any], tmp_path: Path) -> None:
    manifest = packed(fitted["boosting of four"], tmp_path / "a", data=(X, FOUR), precisions=("fp16", "fp32"))
    best = {row.name: row.accuracy for row in manifest.configurations}
    assert (manifest.metric, manifest.samples) == ("top-1", 160)
    assert best["6/fp32"] == pytest.approx(fitted["boosting of four"].score(X, FOUR))
    assert best["1/fp32"] < best["6/fp32"]
    values = packed(fitted["forest of values"], tmp_path / "b", data=(X, REAL), depths=[2])
    assert [row.name for row in values.configurations] == ["2/fp32", "7/fp32"]
    assert values.metric == "R2"
    assert values.configurations[-1].accuracy == pytest.approx(fitted["forest of values"].score(X, REAL))


def test_half_the_values_keep_every_decision(fitted: dict[str, Any], tmp_path: Path) -> None:
    """fp16 rounds what leaves say by at most half a unit of eleven bits; every sample ends in the same leaf."""
    manifest = packed(fitted["forest of four"], tmp_path / "a", precisions=("fp16", "fp32"))
    exact = arrived(tmp_path / "a", manifest, next(r for r in manifest.configurations if r.name == "7/fp32"))
    half = arrived(tmp_path / "a", manifest, next(r for r in manifest.configurations if r.name == "7/fp16"))
    np.testing.assert_allclose(half(NEW), exact(NEW), atol=2.0**-12 + 1e-9)
    sizes = {row.name: row.nbytes for row in manifest.configurations}
    assert sizes["7/fp16"] < sizes["7/fp32"]


def test_missing_values_go_where_scikit_learn_sends_them(tmp_path: Path) -> None:
    holes = X.copy()
    holes[RNG.random(X.shape) < 0.2] = np.nan
    for k, estimator in enumerate(
        [sk.RandomForestClassifier(5, random_state=0), sk.HistGradientBoostingClassifier(max_iter=5)]
    ):
        estimator.fit(holes, FOUR)
        manifest = packed(estimator, tmp_path / str(k))
        ours = arrived(tmp_path / str(k), manifest, manifest.configurations[-1])
        np.testing.assert_allclose(ours(holes), estimator.predict_proba(holes), rtol=1e-12)
    boosting = sk.GradientBoostingClassifier(n_estimators=2).fit(X, TWO)
    manifest = packed(boosting, tmp_path / "c")
    with pytest.raises(ConfigError, match="a feature is NaN"):
        arrived(tmp_path / "c", manifest, manifest.configurations[-1])(holes)


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_no_float32_tells_a_threshold_from_ours(threshold: float, x: float) -> None:
    [ours] = _float32_at_most(np.array([threshold])).astype(np.float32)
    near = np.float32(min(max(threshold, -3.4e38), 3.4e38))
    for value in (np.float32(x), near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))):
        assert (value <= ours) == (np.float64(value) <= threshold)


def test_large_ensembles_come_in_fewer_chunks_and_sizes(tmp_path: Path) -> None:
    forest = sk.RandomForestClassifier(300, max_depth=1, random_state=0).fit(X[:40], FOUR[:40])
    manifest = packed(forest, tmp_path / "a")
    assert manifest.order.num_blocks == 150
    assert len(manifest.configurations) <= 64
    assert manifest.order.depths[:3] == (1, 2, 3)
    first, last = manifest.configurations[0], manifest.configurations[-1]
    assert first.nbytes < 0.15 * last.nbytes
    assert last.macs == 300  # a comparison each


@pytest.mark.parametrize(
    ("estimator", "options", "reason"),
    [
        (LogisticRegression(), {}, "LogisticRegression cannot be packed"),
        (sk.RandomForestClassifier(), {}, "RandomForestClassifier is not fitted"),
        (sk.AdaBoostClassifier(LogisticRegression(), n_estimators=2).fit(X, TWO), {}, "LogisticRegression, which"),
        (
            sk.GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(X, TWO), {},
            "it starts from LogisticRegression",
        ),
        (
            sk.HistGradientBoostingClassifier(max_iter=2, categorical_features=[5]).fit(X, TWO), {},
            "it splits by categories",
        ),
        (DecisionTreeClassifier().fit(X, TWO), {"precisions": ["bits-4"]}, "no precision 'bits-4' of trees"),
        (DecisionTreeClassifier().fit(X, TWO), {"depths": [2]}, "no depth 2"),
        (DecisionTreeClassifier().fit(X, TWO), {"trees_per_chunk": -1}, "at least one tree"),
        (DecisionTreeClassifier().fit(X, TWO), {"data": (X, TWO[1:])}, "160 samples and 159 labels"),
        (DecisionTreeClassifier().fit(X, TWO), {"data": (X[:, 1:], TWO)}, "expected samples of 6 numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_packed_is_refused(estimator: Any, options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        packed(estimator, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


GROUP = {
    "t-0.first": np.array([0, 3, 4]),
    "t-0.column": np.array([-1, -1]),
    "t-0.feature": np.array([0, -1, -1, -1]),
    "t-0.threshold": np.array([0.5], np.float32).view(np.int32),
    "t-0.right": np.array([2]),
    "t-0.value": np.array([[1.0], [3.0], [10.0]]),
}
BASE = write_description(Description(combine="mean", link="identity", features=1, width=1))


def test_trees_by_hand() -> None:
    ensemble = Ensemble.from_arrays(BASE | GROUP)
    assert ensemble.num_trees == 2
    assert ensemble(np.array([[0.5], [0.6]])).tolist() == [5.5, 6.5]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"t-0.right": np.array([0])}, "outside of its tree"),
        ({"t-0.right": np.array([1])}, "outside of its tree"),
        ({"t-0.right": np.array([-5])}, "outside of its tree"),
        ({"t-0.right": np.array([3])}, "outside of its tree"),
        ({"t-0.right": np.array([2**40])}, "outside of its tree"),
        ({"t-0.right": np.array([], int)}, "for each inner node"),
        ({"t-0.first": np.array([0, 1, 4])}, "outside of its tree"),
        ({"t-0.first": np.array([0, 5, 4])}, "one behind the other"),
        ({"t-0.first": np.array([1, 3, 4])}, "one behind the other"),
        ({"t-0.feature": np.array([1, -1, -1, -1])}, "a feature that is not among 1"),
        ({"t-0.feature": np.array([-2, -1, -1, -1])}, "a feature that is not among 1"),
        ({"t-0.feature": np.array([0.0, -1, -1, -1])}, "feature has type float64"),
        ({"t-0.threshold": np.array([0.5])}, "threshold has type float64"),
        ({"t-0.threshold": np.array([1], np.int64)}, "thresholds of type int64"),
        ({"t-0.threshold": np.array([np.nan], np.float32).view(np.int32)}, "a threshold that is no number"),
        ({"t-0.value": np.array([[1.0], [3.0]])}, "a row of finite numbers for each leaf"),
        ({"t-0.value": np.array([[1.0], [3.0], [np.inf]])}, "a row of finite numbers for each leaf"),
        ({"t-0.value": np.ones((3, 2))}, "not as wide"),
        ({"t-0.column": np.array([0, -1])}, "some of its trees have a column"),
        ({"t-0.column": np.array([1, 1])}, "not as wide"),
        ({"t-0.value": np.ones(3)}, "value is missing"),
        ({"t-0.missing": np.array([0, 0], np.uint8)}, "a bit for each inner node"),
        ({DESCRIPTION: np.array([0], np.uint8)}, "cannot be read"),
        ({DESCRIPTION: np.array([0])}, "lacks ensemble.description"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ChunkError, match=reason):
        Ensemble.from_arrays(BASE | GROUP | change)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0}, {"width": 2**20}, {"features": 0}, {"outputs": 2}, {"combine": "median"}, {"combine": "samme"},
        {"classes": (("a", "b"),)}, {"classes": ((),)}, {"baseline": (1.0, 2.0)},
        {"combine": "sum", "classes": (("a", "b", "c"),), "link": "softmax"},
    ],
)  # fmt: skip
def test_a_description_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    fields = {"combine": "mean", "link": "identity", "features": 1, "width": 1} | wrong
    with pytest.raises(ChunkError, match="contradicts itself"):
        Ensemble.from_arrays(write_description(Description(**fields)) | GROUP)


def test_an_ensemble_without_trees_is_refused() -> None:
    with pytest.raises(ChunkError, match="without a tree"):
        Ensemble.from_arrays(BASE)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_arrays_are_refused_or_answer(data: st.DataObject) -> None:
    """No index leads out of an array, and every walk ends."""
    arrays = {name: array.copy() for name, array in (BASE | GROUP).items()}
    name = data.draw(st.sampled_from([n for n in arrays if n != DESCRIPTION]))
    at = data.draw(st.integers(0, arrays[name].size - 1))
    arrays[name].reshape(-1)[at] = data.draw(st.integers(-(2**31), 2**31 - 1))
    reason = ""
    try:
        found = Ensemble.from_arrays(arrays)(np.array([[0.0], [1.0]]))
        assert found.shape == (2,)
    except ChunkError as error:
        reason = str(error)
    assert reason.isprintable()
