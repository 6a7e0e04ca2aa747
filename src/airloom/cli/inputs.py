"""What requests carry: arrays of a file, the pictures that come with Airloom, or noise.

A file is read before a model is captured, which takes seconds, and held against the model after it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airloom.core.graph import ModelGraph

#: The inputs of request k.
Inputs = Callable[[int], tuple[Any, ...]]


def read_arrays(file: Path) -> list[NDArray[Any]]:
    """The array of a .npy file, or those of a .npz file in their order.

    Raises:
        ConfigError: it cannot be read, or holds no arrays of numbers with as many rows each.
    """
    import zipfile

    import numpy as np

    from airloom.errors import ConfigError

    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            arrays = [loaded[name] for name in loaded.files] if isinstance(loaded, np.lib.npyio.NpzFile) else [loaded]
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror or 'the file is damaged'}", where=str(file)) from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ConfigError(
            "not arrays of numbers: write them with numpy.save (.npy) or numpy.savez (.npz)", where=str(file)
        ) from None
    if not arrays or any(array.ndim == 0 or not len(array) for array in arrays):
        raise ConfigError("no rows: row k of each array is what request k carries", where=str(file))
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError("the arrays have different numbers of rows: give each as many", where=str(file))
    return arrays


def rows_of(arrays: list[NDArray[Any]], graph: ModelGraph, *, where: str) -> Inputs:
    """Row k of the arrays for request k, from the first again after the last.

    Raises:
        ConfigError: the arrays are not what the model takes.
    """
    import numpy as np

    from airloom.errors import ConfigError

    specs = [graph.tensors[tensor] for tensor in graph.inputs]
    if len(arrays) != len(specs):
        raise ConfigError(f"{len(arrays)} arrays for a model of {len(specs)} inputs: give one for each", where=where)
    for array, spec in zip(arrays, specs, strict=True):
        # The captured shape, or one without its batch of 1.
        if array.dtype != np.dtype(spec.dtype) or array[0].size != np.prod(spec.shape):
            raise ConfigError(
                f"rows of {list(array.shape[1:])} of {array.dtype}; {graph.model} takes "
                f"{list(spec.shape)} of {spec.dtype} a request",
                where=where,
            )
    rows = len(arrays[0])
    return lambda k: tuple(a[k % rows].reshape(s.shape) for a, s in zip(arrays, specs, strict=True))


def made_up(graph: ModelGraph, seed: int) -> tuple[Inputs, list[int]]:
    """Pictures for a network of the zoo that takes them, with their classes; else noise, and no classes."""
    import numpy as np

    from airloom import zoo

    specs = [graph.tensors[tensor] for tensor in graph.inputs]
    if graph.model in zoo.IMAGE_MODELS and specs[0].shape == (1, 3, 32, 32):
        images, classes = zoo.test_images()
        return (lambda k: (images[k % len(images)][None],)), [int(label) for label in classes]
    rng = np.random.default_rng(seed)

    def random(spec: Any) -> Any:
        if spec.dtype.startswith("float"):
            return rng.standard_normal(spec.shape).astype(spec.dtype)
        # Small enough for any embedding's index.
        return rng.integers(0, 2, spec.shape).astype(spec.dtype)

    some = [tuple(random(spec) for spec in specs) for _ in range(16)]
    return (lambda k: some[k % len(some)]), []


def read_labelled(file: Path) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """The inputs and the labels of a .npz file: the array `labels`, and all others in their order.

    Raises:
        ConfigError: it cannot be read, has no `labels`, or other numbers of rows.
    """
    import zipfile

    import numpy as np

    from airloom.errors import ConfigError

    where = str(file)
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            named = {name: loaded[name] for name in loaded.files} if isinstance(loaded, np.lib.npyio.NpzFile) else {}
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror or 'the file is damaged'}", where=where) from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ConfigError(
            "not arrays of numbers: write them with numpy.savez(FILE, x=..., labels=...)", where=where
        ) from None
    labels = named.pop("labels", None)
    if labels is None or not named:
        found = ", ".join(named) or "none"
        raise ConfigError(
            f"expected arrays of inputs and one called `labels`, found {found}: numpy.savez(FILE, x=..., labels=...)",
            where=where,
        )
    arrays = list(named.values())
    if labels.ndim == 0 or any(array.ndim == 0 or len(array) != len(labels) for array in arrays):
        rows = ", ".join(f"{name} {len(a) if a.ndim else 'no'}" for name, a in named.items())
        raise ConfigError(
            f"{len(labels) if labels.ndim else 'no'} labels, and rows of {rows}: give each sample its label",
            where=where,
        )
    return arrays, labels
