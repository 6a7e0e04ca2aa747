"""What runs where a block is left out: nothing, the block's own shortcut, or average pooling and zeros.

Source: Accordion, "Accordion in Deep Learning Architectures with Dimensionality Mismatches": average pooling for
down-sampling, without parameters; where an architecture has mismatches, trained linear layers (`adapter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.core.depth import SkipPath
from airloom.core.graph import ModelGraph, Operator, TensorSpec
from airloom.errors import UserError
from airloom.nn.operators import FACTORIES, argument_names, runnable
from airloom.nn.program import Call, LocalRef, ParameterRef, Program, TensorRef, decode, encode

# They change each element by itself: what a block does to the sum of its shortcut and its layers is left out with it.
_ACTIVATIONS = frozenset(
    f"aten.{name}.default"
    for name in ("relu", "relu6", "gelu", "silu", "elu", "hardswish", "hardtanh", "leaky_relu", "mish", "clamp", "selu")
)


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


class Fit(nn.Module):
    """Makes tensors of one form out of another's, without parameters.

    Average pooling where a side shrinks; zeros for feature maps that are new (half of them before, half behind, as
    option A of He et al. 4.2), means of neighbours where there are fewer.

    Args:
        form_in, form_out: shapes without the batch.
        maps_last: features lie along the last axis (tokens), not along the first one behind the batch.

    Raises:
        UserError: a side that grows, maps whose number does not divide, or another number of axes.
    """

    def __init__(self, form_in: Sequence[int], form_out: Sequence[int], *, maps_last: bool = False) -> None:
        super().__init__()
        if len(form_in) != len(form_out) or not 1 <= len(form_in) <= 4:
            raise UserError(f"no pooling makes {list(form_out)} of {list(form_in)}")
        at = -1 if maps_last else 0
        self.maps_last = maps_last
        self.maps = (form_in[at], form_out[at])
        sides = [[n for k, n in enumerate(form) if k != at % len(form)] for form in (form_in, form_out)]
        self.sides = (tuple(sides[0]), tuple(sides[1]))
        if any(b > a for a, b in zip(*self.sides, strict=True)):
            raise UserError(f"no pooling makes {list(form_out)} of {list(form_in)}: a side grows")
        if self.maps[1] < self.maps[0] and self.maps[0] % self.maps[1]:
            raise UserError(f"{self.maps[0]} feature maps are no multiple of {self.maps[1]}")

    def forward(self, x: Tensor) -> Tensor:
        if self.maps_last:
            x = x.movedim(-1, 1)
        x = self._maps(self._pooled(x))
        return x.movedim(1, -1) if self.maps_last else x

    def _pooled(self, x: Tensor) -> Tensor:
        before, after = self.sides
        if before == after:
            return x
        axes = len(before)
        if all(a % b == 0 for a, b in zip(before, after, strict=True)):
            kernel = [a // b for a, b in zip(before, after, strict=True)]
            pooled: Tensor = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1](x, kernel)
        else:
            adaptive: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
            pooled = adaptive(x, list(after) if axes > 1 else after[0])
        return pooled

    def _maps(self, x: Tensor) -> Tensor:  # [N, C, ...]
        before, after = self.maps
        if after > before:
            extra = after - before
            return F.pad(x, [0, 0] * (x.dim() - 2) + [extra // 2, extra - extra // 2])
        if after == before:
            return x
        # Slices, not a view: no number of samples is written down in the graph.
        each = before // after
        total = x[:, ::each]
        for k in range(1, each):
            total = total + x[:, k::each]
        return total / each


class Mixing(Fit):
    """A trained linear map between feature maps in place of zeros and means, at every place the same (a 1x1
    convolution); where a side shrinks, average pooling before it.

    It starts as what `Fit` does with zeros, and so adds nothing to an untrained network.
    """

    def __init__(self, form_in: Sequence[int], form_out: Sequence[int], *, maps_last: bool = False) -> None:
        at = -1 if maps_last else 0
        same = list(form_out)
        same[at] = form_in[at]
        super().__init__(form_in, same, maps_last=maps_last)
        self.weight = nn.Parameter(mixing_start(form_in[at], form_out[at]))

    def _maps(self, x: Tensor) -> Tensor:  # [N, C, ...]
        if x.dim() == 2:
            return F.linear(x, self.weight)
        axes = x.dim() - 2
        kernel = self.weight.reshape(*self.weight.shape, *([1] * axes))
        mixed: Tensor = (F.conv1d, F.conv2d, F.conv3d)[axes - 1](x, kernel)
        return mixed


def mixing_start(before: int, after: int) -> Tensor:
    """`[after, before]` ones where zero-padding or dropping feature maps on both sides leaves a map, else zeros."""
    weight = torch.zeros(after, before)
    shift = (after - before) // 2
    for k in range(before):
        if 0 <= k + shift < after:
            weight[k + shift, k] = 1.0
    return weight


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


def own_path(graph: ModelGraph, start: int, stop: int, entry: int, result: int) -> SkipPath | None:
    """The block's own shortcut: the way from its input to its output on which nothing reads a weight.

    Where such a way meets the block's layers in a sum, the sum is the shortcut alone, and an activation behind it is
    left out too.

    Args:
        start, stop: the block's operators.
        entry, result: ids of its input and output.

    Returns:
        None where there is no such way, or it gives another form.
    """
    search = _Search(graph, start, stop, entry)
    end = search.free(result)
    if end is None or graph.tensors[end] != graph.tensors[result] or entry not in search.read:
        return None
    return _as_path(graph, sorted(search.used), entry, end)


class _Search:
    def __init__(self, graph: ModelGraph, start: int, stop: int, entry: int) -> None:
        self.graph, self.entry = graph, entry
        self.made = {t: k for k in range(start, stop) for t in graph.operators[k].outputs}
        self.used: set[int] = set()
        self.read: set[int] = {entry}
        self.known: dict[int, bool] = {entry: True}

    def weightless(self, tensor: int) -> bool:
        """Whether `tensor` follows from the block's input without a weight."""
        if tensor not in self.known:
            op = self.graph.operators[self.made[tensor]] if tensor in self.made else None
            self.known[tensor] = (
                op is not None
                and not op.parameters
                and not op.writes
                and bool(op.inputs)
                and all(self.weightless(t) for t in op.inputs)
            )
        return self.known[tensor]

    def free(self, tensor: int) -> int | None:
        """The tensor that stands for `tensor` where terms with weights are left out."""
        while not self.weightless(tensor):
            if tensor not in self.made:
                return None
            op = self.graph.operators[self.made[tensor]]
            if op.parameters or op.writes:
                return None
            if op.target in _ACTIVATIONS and len(op.inputs) == 1:
                tensor = op.inputs[0]
                continue
            terms = _terms(op)
            light = [t for t in terms if self.weightless(t)]
            if len(terms) == 2 and len(light) == 1:
                tensor = light[0]
            elif len(terms) == 2 and not light:
                ways = [way for way in map(self.free, terms) if way is not None]
                if len(ways) != 1:
                    return None
                return ways[0]
            else:
                return None
        self._keep(tensor)
        return tensor

    def _keep(self, tensor: int) -> None:
        if tensor in self.made and self.made[tensor] not in self.used:
            self.used.add(self.made[tensor])
            for t in self.graph.operators[self.made[tensor]].inputs:
                self._keep(t)


def _terms(op: Operator) -> tuple[int, ...]:
    """The two tensors that `op` adds as they are; nothing where it is no such sum."""
    if op.target != "aten.add.Tensor":
        return ()
    call = decode(op.target, op.arguments).call
    given = {**dict(zip(argument_names(op.target), call.args, strict=False)), **call.kwargs}
    pair = (given.get("self"), given.get("other"))
    if given.get("alpha", 1) != 1 or not all(isinstance(v, TensorRef) for v in pair):
        return ()
    return tuple(v.id for v in pair if isinstance(v, TensorRef))


def _as_path(graph: ModelGraph, indices: list[int], entry: int, end: int) -> SkipPath:
    """The operators `indices` as a graph of their own."""
    number = {entry: 0}
    for index in indices:
        for t in graph.operators[index].outputs:
            number[t] = len(number)
    operators = tuple(renumbered(graph.operators[k], number, {}) for k in indices)
    by_number = {k: graph.tensors[t] for t, k in number.items()}
    tensors = tuple(by_number[k] for k in range(len(number)))
    return SkipPath(
        kind="identity" if end == entry else "own", tensors=tensors, operators=operators, result=number[end]
    )


def renumbered(op: Operator, tensors: dict[int, int], parameters: dict[int, int], name: str = "") -> Operator:
    """`op` with other ids; those that a dict lacks are an error of whoever calls (KeyError)."""
    program = decode(op.target, op.arguments)

    def value(v: Any) -> Any:
        match v:
            case TensorRef(id):
                return TensorRef(tensors[id])
            case ParameterRef(id):
                return ParameterRef(parameters[id])
            case list():
                return [value(each) for each in v]
        return v

    def call(c: Call) -> Call:
        return Call(c.target, tuple(map(value, c.args)), {k: value(v) for k, v in c.kwargs.items()}, c.item)

    changed = Program(
        call=call(program.call),
        let=tuple(map(call, program.let)),
        take=program.take,
        writes=tuple((k, parameters[p]) for k, p in program.writes),
    )
    return Operator(
        name=name or op.name,
        target=op.target,
        inputs=tuple(sorted(tensors[t] for t in op.inputs)),
        outputs=tuple(tensors[t] for t in op.outputs),
        arguments=encode(changed),
        parameters=tuple(sorted(parameters[p] for p in op.parameters)),
        writes=tuple(parameters[p] for p in op.writes),
        macs=op.macs,
    )


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
