"""Names and shapes of the tensors that lie end to end in one array, written shortly.

A network's tensors differ in little but their path, and in a thin network the names would outweigh the weights. So
tensors of one shape are named together: `[[16], ["running_mean", "running_var"], ["norm1", "groups.0.0.norm2"]]` is
four tensors of 16 numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from airloom.errors import ChunkError
from airloom.wire.weights.tensorfile import MAX_AXES, MAX_TENSORS

Layout: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
#: Of a tensor: where it starts, its channels (the first axis), and the numbers of each.
Span: TypeAlias = tuple[int, int, int]
_WRITTEN = msgspec.json.Decoder(list[tuple[list[int], list[str], list[str]]])


def arranged(shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """The tensors in the order in which `write_layout` can say them shortly."""
    return tuple(
        (f"{path}.{leaf}" if path else leaf, shape)
        for (shape, leaves), paths in _grouped(shapes).items()
        for path in paths
        for leaf in leaves
    )


def write_layout(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """`arranged(shapes)` as JSON."""
    written = [(shape, leaves, paths) for (shape, leaves), paths in _grouped(shapes).items()]
    return msgspec.json.encode(written).decode()


def read_layout(text: str, *, where: str) -> Layout:
    """What `write_layout` wrote.

    Raises:
        ChunkError: not such a text, or more tensors than any part has.
    """
    try:
        written = _WRITTEN.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ChunkError(f"{where}: its list of tensors cannot be read") from None
    if sum(len(leaves) * len(paths) for _, leaves, paths in written) > MAX_TENSORS:
        raise ChunkError(f"{where}: more than {MAX_TENSORS} tensors")
    layout: list[tuple[str, tuple[int, ...]]] = []
    for shape, leaves, paths in written:
        if len(shape) > MAX_AXES or any(not 0 <= n < 2**48 for n in shape):
            raise ChunkError(f"{where}: a shape that no tensor has")
        layout += [(f"{path}.{leaf}" if path else leaf, tuple(shape)) for path in paths for leaf in leaves]
    if len({name for name, _ in layout}) != len(layout):
        raise ChunkError(f"{where}: two tensors have one name")
    return tuple(layout)


def total(layout: Layout) -> int:
    """Numbers in all tensors."""
    return sum(math.prod(shape) for _, shape in layout)


def spans_of(layout: Layout, *, step: int = 1) -> tuple[list[Span], int]:
    """Where the tensors lie, each from a multiple of `step` on; and where the last one ends."""
    sizes = [math.prod(shape) for _, shape in layout]
    starts = list(itertools.accumulate((-(-size // step) * step for size in sizes), initial=0))
    spans = [
        (at, shape[0] if shape else 1, size // shape[0] if shape and shape[0] else size)
        for at, size, (_, shape) in zip(starts[:-1], sizes, layout, strict=True)
    ]
    return spans, starts[-1]


def _grouped(shapes: Mapping[str, tuple[int, ...]]) -> dict[tuple[tuple[int, ...], tuple[str, ...]], list[str]]:
    paths: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in sorted(shapes):
        path, _, leaf = name.rpartition(".")
        paths.setdefault((path, shapes[name]), []).append(leaf if path else name)
    groups: dict[tuple[tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for (path, shape), leaves in paths.items():
        groups.setdefault((shape, tuple(leaves)), []).append(path)
    return groups
