"""An ensemble of decision trees made into the folder that is served, tree after tree.

from airloom.deliver import pack_trees

forest = RandomForestClassifier(100).fit(x, y)
pack_trees(forest, Path("forest"), name="forest", key=read_private_key(Path("publisher.key")), data=(x_test, y_test))
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from airloom.core.depth import DepthOrder
from airloom.core.progressive import Architecture, Configuration, Manifest, Part, encodings_of
from airloom.deliver.artifact import EncodedChunk, describe_chunks, write_artifact
from airloom.deliver.manifest import check_name
from airloom.deliver.sklearn_trees import Tree, read_estimator
from airloom.deliver.tree_groups import Description, write_description
from airloom.deliver.trees import Ensemble, answers
from airloom.errors import ConfigError
from airloom.wire.weights import chunk_labels, decode_part, encode_part

Array = NDArray[Any]

#: Values of leaves exact, or with eleven bits; thresholds are exact in both.
TREE_PRECISIONS = ("fp32", "fp16")
# Where nobody says otherwise: an ensemble comes in at most so many chunks, and is offered at so many sizes.
_MAX_CHUNKS = 256
_MAX_DEPTHS = 64


def pack_trees(
    estimator: Any,
    folder: Path,
    *,
    name: str,
    key: Ed25519PrivateKey,
    data: tuple[Array, Array] | None = None,
    trees_per_chunk: int | None = None,
    depths: Iterable[int] | None = None,
    precisions: Sequence[str] = ("fp32",),
    released: int | None = None,
) -> Manifest:
    """Write the artifact of a fitted scikit-learn ensemble into `folder` and sign it.

    A depth is a number of chunks of trees. All trees in `fp32` predict what scikit-learn predicts.

    Args:
        estimator: see `sklearn_trees.read_estimator`.
        data: samples and their labels or values, to measure each configuration with: accuracy of a classifier (of all
            outputs in the mean), R squared of a regression, at least 0. Without, the manifest says no accuracy.
        trees_per_chunk: trees (of boosting: stages) that arrive together; None: 1, or more of an ensemble so large that
            it would be over 256 chunks.
        depths: numbers of chunks that are offered, all besides; None: each, or 64 of them that grow by like ratios.
        precisions: `fp32`, `fp16`.
        released: seconds since 1970 (now); a client that has seen a manifest takes no earlier one.

    Raises:
        ConfigError: an estimator that cannot be packed, data that does not fit, no such depth or precision.
        MissingExtra: scikit-learn is not there.
    """
    check_name(name, where="name")
    wrong = [precision for precision in precisions if precision not in TREE_PRECISIONS]
    if wrong or not precisions:
        raise ConfigError(f"no precision {wrong[0] if wrong else ''!r} of trees: it is fp32 or fp16")
    forest = read_estimator(estimator)
    per = trees_per_chunk or -(-len(forest.stages) // _MAX_CHUNKS)
    if per < 1:
        raise ConfigError(f"at least one tree in a chunk, got {trees_per_chunk}")
    groups = [
        [tree for stage in forest.stages[k : k + per] for tree in stage] for k in range(0, len(forest.stages), per)
    ]
    order = DepthOrder(kind="back", arrival=tuple(range(len(groups))), depths=_depths(len(groups), depths))
    names = ["base", *(f"trees-{k}" for k in range(len(groups)))]
    description = forest.description
    chunks = []
    for encoding in sorted(set(precisions)):
        arrays = [write_description(description)]
        arrays += [_arrays(group, names[1 + k], encoding, description) for k, group in enumerate(groups)]
        for k, part in enumerate(arrays):
            labels = chunk_labels(name, names[k], encoding)
            chunks.append(EncodedChunk(encode_part(part, encoding, labels=labels), k, encoding))
    described = describe_chunks(chunks, names)
    parts = tuple(
        Part(name=part, parameters=0 if not k else sum(len(t.threshold) + t.value.size for t in groups[k - 1]))
        for k, part in enumerate(names)
    )
    comparisons = np.cumsum([0.0, *(sum(tree.comparisons for tree in group) for group in groups)])
    scores = _scores(chunks, order.depths, data)
    sizes = {(c.part, c.encoding): c.nbytes for c in described}
    rows = [
        Configuration(
            depth=depth,
            precision=precision,
            nbytes=sum(sizes[part, e] for e in encodings_of(precision) for part in range(1 + depth)),
            parameters=sum(part.parameters for part in parts[: 1 + depth]),
            macs=round(float(comparisons[depth])),
            accuracy=scores.get((depth, precision)),
        )
        for depth in order.depths
        for precision in sorted(set(precisions))
    ]
    manifest = Manifest(
        model=name,
        architecture=Architecture(kind="trees", name=forest.name),
        inputs=(f"1x{description.features}:{'float64' if description.is_double else 'float32'}",),
        parts=parts,
        order=order,
        chunks=described,
        configurations=tuple(sorted(rows, key=lambda row: (row.nbytes, row.depth))),
        metric="top-1" if description.classes else "R2",
        samples=0 if data is None else len(data[0]),
        released=int(time.time()) if released is None else released,
    )
    write_artifact(folder, manifest, chunks, key)
    return manifest


def _arrays(trees: Sequence[Tree], name: str, encoding: str, description: Description) -> dict[str, Array]:
    """A group's arrays, as `trees.Group` reads them, in the narrowest types that hold them."""
    threshold = np.concatenate([tree.threshold for tree in trees])
    value = np.concatenate([tree.value for tree in trees])
    single = value.astype(np.float32)
    # Numbers that must not be rounded travel as the integers that their bits are.
    is_exact = encoding != "fp32" or bool((single.astype(np.float64) == value).all())
    arrays = {
        "first": _narrow(np.cumsum([0, *(len(tree.feature) for tree in trees)])),
        "column": _narrow(np.array([tree.column for tree in trees])),
        "feature": _narrow(np.concatenate([tree.feature for tree in trees])),
        "threshold": threshold.astype(np.float64).view(np.int64)
        if description.is_double
        else threshold.astype(np.float32).view(np.int32),
        "right": _narrow(np.concatenate([tree.right for tree in trees])),
        "value": single if is_exact else value.view(np.int64),
    }
    if description.takes_missing:
        arrays["missing"] = np.packbits(np.concatenate([tree.missing_left for tree in trees]))
    return {f"{name}.{field}": array for field, array in arrays.items()}


def _narrow(numbers: Array) -> Array:
    largest = int(np.abs(numbers).max(initial=0))
    return numbers.astype(next(t for t in (np.int8, np.int16, np.int32, np.int64) if largest <= np.iinfo(t).max))


def _depths(groups: int, depths: Iterable[int] | None) -> tuple[int, ...]:
    if depths is None:
        count = min(groups, _MAX_DEPTHS)
        depths = range(1, groups + 1) if groups <= _MAX_DEPTHS else np.geomspace(1, groups, count).round().astype(int)
    chosen = {int(depth) for depth in depths} | {groups}
    if min(chosen) < 1 or max(chosen) > groups:
        bad = min(chosen) if min(chosen) < 1 else max(chosen)
        raise ConfigError(f"no depth {bad}: the trees come in {groups} chunks")
    return tuple(sorted(chosen))


def _scores(
    chunks: Sequence[EncodedChunk], depths: Sequence[int], data: tuple[Array, Array] | None
) -> dict[tuple[int, str], float]:
    """What each configuration is worth, decoded from the bytes that are sent."""
    if data is None:
        return {}
    x, y = np.asarray(data[0]), np.asarray(data[1])
    if len(x) != len(y) or not len(x):
        raise ConfigError(f"{len(x)} samples and {len(y)} labels")
    found = {}
    for encoding in {chunk.encoding for chunk in chunks}:
        arrays: dict[str, Array] = {}
        counts = []
        for chunk in chunks:
            if chunk.encoding == encoding:
                part = decode_part(chunk.data, encoding).arrays
                arrays |= part
                counts += [len(column) for name, column in part.items() if name.endswith(".column")]
        ensemble = Ensemble.from_arrays(arrays)
        trees = np.cumsum(counts)
        staged = ensemble.staged_scores(x, [int(trees[depth - 1]) for depth in depths])
        for depth, scores in zip(depths, staged, strict=True):
            found[depth, encoding] = _score(ensemble.description, answers(ensemble.description, scores), y)
    return found


def _score(description: Description, said: Array, y: Array) -> float:
    if said.shape != y.shape:
        raise ConfigError(f"labels of shape {list(y.shape)}, the trees answer with {list(said.shape)}")
    if description.classes:
        return float((said == y).mean())
    rest, all_ = ((y - said) ** 2).sum(), ((y - y.mean(0)) ** 2).sum()
    return float(np.clip(1 - rest / all_, 0, 1)) if all_ else float(rest == 0)
