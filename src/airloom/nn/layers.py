"""Which kind of layer a weight belongs to: by its operator, its module, or the shapes of what lies beside it.

A captured graph says what becomes of each weight, which is surest; a state dict alone does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

LayerKind = Literal["convolution", "linear", "norm", "recurrent", "other"]

_MODULES: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], LayerKind], ...] = (
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), "norm"),
    (nn.modules.conv._ConvNd, "convolution"),
    ((nn.Linear, nn.Bilinear), "linear"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrent"),
    ((nn.Embedding, nn.EmbeddingBag), "other"),
)

_OPERATORS: tuple[tuple[str, LayerKind], ...] = (
    ("conv", "convolution"), ("norm", "norm"), ("linear", "linear"), ("addmm", "linear"), ("mm", "linear"),
    ("matmul", "linear"), ("gru", "recurrent"), ("lstm", "recurrent"), ("rnn", "recurrent"),
)  # fmt: skip


def kind_of_operator(target: str) -> LayerKind:
    """The kind of layer whose weights an operator of a graph reads, `aten.convolution.default`."""
    return next((kind for word, kind in _OPERATORS if word in target), "other")


def layer_kinds(state: Mapping[str, Tensor], model: nn.Module | None = None) -> dict[str, LayerKind]:
    """The kind of layer of every entry of `state`, a state dict.

    With `model`, the classes of its modules tell, and those of its own making are told by their entries, as all are
    without it. Entries of one layer share what precedes the last dot of their names.

    - norm: nothing but rows, all equally long: scales, offsets and statistics of whole feature maps;
    - convolution: a weight of three or more dimensions;
    - recurrent: two matrices with 1, 3 or 4 gates' rows each, the second of hidden size;
    - linear: another matrix.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        layers.setdefault(layer_of(key), {})[key] = tensor
    modules = dict(model.named_modules()) if model is not None else {}
    kinds: dict[str, LayerKind] = {}
    for layer, entries in layers.items():
        known = (kind for classes, kind in _MODULES if isinstance(modules.get(layer), classes))
        kind = next(known, None) or _by_shape(list(entries.values()))
        kinds.update(dict.fromkeys(entries, kind))
    return {key: kinds[key] for key in state}


def layer_of(key: str) -> str:
    """The name of the layer that an entry of a state dict belongs to."""
    return key.rpartition(".")[0]


def _by_shape(tensors: list[Tensor]) -> LayerKind:
    shapes = [tuple(t.shape) for t in tensors if t.dim() > 0]
    matrices = [shape for shape in shapes if len(shape) == 2]
    if any(len(shape) > 2 for shape in shapes):
        return "convolution"
    if any(_gates(a, b) for a, b in itertools.pairwise(matrices)):
        return "recurrent"
    if matrices:
        return "linear"
    floating = any(torch.is_floating_point(t) for t in tensors)
    return "norm" if floating and len(set(shapes)) == 1 else "other"


def _gates(into: tuple[int, ...], within: tuple[int, ...]) -> bool:
    """Whether two matrices are those of a recurrent cell: [gates * hidden, in] and [gates * hidden, hidden]."""
    return into[0] == within[0] and within[0] in (within[1], 3 * within[1], 4 * within[1])
