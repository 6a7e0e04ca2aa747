"""Examples to learn from, and who has which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom import zoo
from airloom.errors import ConfigError

# Of a file without test examples, every fourth example tests.
_TEST_EVERY = 4


class Examples(NamedTuple):
    """Inputs `[N, ...]` and their classes `[N]`."""

    inputs: Tensor
    labels: Tensor

    def of(self, chosen: NDArray[np.intp]) -> Examples:
        """Those at the places `chosen`."""
        places = torch.from_numpy(chosen)
        return Examples(self.inputs[places], self.labels[places])


class DataSet(NamedTuple):
    train: Examples
    test: Examples


def bundled_pictures() -> DataSet:
    """The 500 pictures of CIFAR-10 that come with Airloom, three quarters of them to train with: enough to see a
    network learn, far too few for a good one."""
    return _parted(*zoo.test_images())


def load_examples(path: Path) -> DataSet:
    """A numpy archive (`.npz`) with `x` and `labels`, and `test_x` and `test_labels` where others are to test.

    Raises:
        ConfigError: no such file, or it holds something else.
    """
    where = str(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror or error}", where=where) from None
    except (ValueError, AttributeError) as error:  # a single array, objects, not an archive
        raise ConfigError(f"not an .npz archive of plain arrays: {error}", where=where) from None
    for name in ("x", "labels"):
        if name not in found:
            raise ConfigError(f"it has no array {name!r}: numpy.savez(FILE, x=..., labels=...)", where=where)
    for x, y in (("x", "labels"), ("test_x", "test_labels")):
        if (x in found) != (y in found):
            raise ConfigError(f"{x!r} and {y!r} go together: it has only one of them", where=where)
        if x in found and (found[y].ndim != 1 or found[y].dtype.kind not in "iu" or len(found[x]) != len(found[y])):
            raise ConfigError(f"{y!r} is a whole number for each of the {len(found[x])} entries of {x!r}", where=where)
    if len(found["labels"]) < _TEST_EVERY:
        raise ConfigError(f"it has {len(found['labels'])} examples: give at least {_TEST_EVERY}", where=where)
    if "test_x" not in found:
        return _parted(found["x"], found["labels"])
    return DataSet(_examples(found["x"], found["labels"]), _examples(found["test_x"], found["test_labels"]))


def shared_out(
    examples: Examples, clients: int, rng: np.random.Generator, *, skew: float | None = None
) -> tuple[Examples, ...]:
    """Each example to one of `clients`, each of whom gets at least one.

    Args:
        skew: how alike the clients' classes are: each class is shared out by shares drawn from a Dirichlet
            distribution of this concentration (Hsu, Qi and Brown 2019): 100 is even, 0.1 gives most of a class to
            one client. None deals the examples out evenly.

    Raises:
        ConfigError: more clients than examples, or a skew that is not above 0.
    """
    count = len(examples.labels)
    if not 1 <= clients <= count:
        raise ConfigError(f"{count} examples cannot be shared out among {clients} clients")
    if skew is None:
        return tuple(examples.of(np.sort(part)) for part in np.array_split(rng.permutation(count), clients))
    if not skew > 0:
        raise ConfigError(f"a skew is above 0, got {skew}")
    labels = examples.labels.numpy()
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, skew))
        for part, own in zip(parts, np.split(places, (np.cumsum(shares)[:-1] * len(places)).astype(int)), strict=True):
            part.append(own)
    return tuple(examples.of(places) for places in _nobody_empty([np.concatenate(part) for part in parts]))


def _nobody_empty(parts: list[NDArray[np.intp]]) -> Sequence[NDArray[np.intp]]:
    """Who has none takes one of who has most."""
    for k, part in enumerate(parts):
        if not len(part):
            richest = max(range(len(parts)), key=lambda n: len(parts[n]))
            parts[richest], parts[k] = parts[richest][:-1], parts[richest][-1:]
    return [np.sort(part) for part in parts]


def _parted(x: NDArray[np.generic], y: NDArray[np.generic]) -> DataSet:
    tests = np.arange(len(y)) % _TEST_EVERY == _TEST_EVERY - 1
    return DataSet(_examples(x[~tests], y[~tests]), _examples(x[tests], y[tests]))


def _examples(x: NDArray[np.generic], y: NDArray[np.generic]) -> Examples:
    inputs = x.astype(np.float32) if x.dtype == np.float64 else np.ascontiguousarray(x)
    return Examples(torch.from_numpy(inputs), torch.from_numpy(y.astype(np.int64)))
