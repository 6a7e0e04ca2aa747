"""What runs where a block is left out: nothing, its own shortcut (`own_path`), or average pooling and zeros (`fit`).

Source: Accordion, "Accordion in Deep Learning Architectures with Dimensionality Mismatches": average pooling for
down-sampling, without parameters; where an architecture has mismatches, trained linear layers (`adapter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from airloom.core.depth import SkipPath
from airloom.core.graph import TensorSpec
from airloom.nn.elastic.fit import mixing_start
from airloom.nn.operators import FACTORIES, runnable
from airloom.nn.program import Call, LocalRef, ParameterRef, TensorRef, decode


class Skip:
    """What a left-out block's modules run in place of their own `forward`.

    Not a module: it stands in a module's `forward` and must not show among its parts.

    Args:
        way: makes the block's output of its input; None gives the input itself.
        keyword: of the block's input where it is not passed by position.
    """

    def __init__(self, way: Any = None, keyword: str = "") -> None:
        self.way, self.keyword = way, keyword

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs[self.keyword]
        return x if self.way is None else self.way(x)


class Path:
    """A shortcut as data, run eagerly, for any batch."""

    def __init__(self, path: SkipPath) -> None:
        self.path = path
        self.programs = [decode(op.target, op.arguments) for op in path.operators]

    def __deepcopy__(self, memo: object) -> Path:
        return self  # nothing in it changes

    def __call__(self, x: Tensor, weights: Sequence[Tensor] = ()) -> Tensor:
        """The shortcut of `x` [N, ...]; `weights` are those of `path.parameters`."""
        tensors: dict[int, Any] = {0: x}
        for op, program in zip(self.path.operators, self.programs, strict=True):
            results: list[Any] = []
            for call in program.let:
                result = _called(call, tensors, results, weights, x.device)
                results.append(result if call.item is None else result[call.item])
            result = _called(program.call, tensors, results, weights, x.device)
            taken = (result,) if program.take is None else tuple(result[k] for k in program.take)
            tensors.update(zip(op.outputs, taken, strict=True))
        out: Tensor = tensors[self.path.result]
        return out


def _called(
    call: Call, tensors: dict[int, Any], results: list[Any], weights: Sequence[Tensor], device: torch.device
) -> Any:
    def value(v: Any) -> Any:
        match v:
            case TensorRef(id):
                return tensors[id]
            case ParameterRef(id):
                return weights[id]
            case LocalRef(place):
                return results[place]
            case list():
                return [value(each) for each in v]
        return v

    placed = {"device": device} if call.target in FACTORIES else {}
    return runnable(call.target)(*map(value, call.args), **{k: value(v) for k, v in call.kwargs.items()}, **placed)


class Adapter(nn.Module):
    """A skip path with weights of its own, `SkipPath` of kind `adapter`, as a module."""

    def __init__(self, path: SkipPath) -> None:
        super().__init__()
        self.way = Path(path)
        [parameter] = path.parameters
        after, before = parameter.spec.shape
        dtype: torch.dtype = getattr(torch, parameter.spec.dtype)
        self.weight = nn.Parameter(mixing_start(before, after).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x, (self.weight,))


def spec_with_batch(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """Its shape for another batch."""
    return (batch, *spec.shape[1:])


def any_batch(path: SkipPath) -> bool:
    """Whether `path` gives the right form for another batch than the graph's too (no shape is written down in it)."""
    batch = path.tensors[0].shape[0] + 1
    x = torch.zeros(spec_with_batch(path.tensors[0], batch), dtype=getattr(torch, path.tensors[0].dtype))
    try:
        with torch.no_grad():
            out = Path(path)(x)
    except RuntimeError:  # a view that fits the graph's batch only
        return False
    return tuple(out.shape) == spec_with_batch(path.tensors[path.result], batch)
