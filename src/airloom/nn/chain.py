"""What happens to a tensor next: the operators after a cut that treat every feature map by itself.

They come in three kinds: elementwise ones that are monotone in each feature map (batch norm in eval
mode, scaling by weights, activations), those that do nothing, and max-pooling. A chain of them says
which elements of the tensor can matter at all (Fig. 13 of NeuroMessenger); `nn.redundancy` asks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from airloom.core.graph import Operator
from airloom.nn.captured import Captured
from airloom.nn.operators import argument_names, runnable
from airloom.nn.program import Call, LocalRef, ParameterRef, TensorRef, call_references
from airloom.nn.stage import StageCode

_NOTHING = frozenset({"aten.clone.default", "aten.contiguous.default", "aten.alias.default", "aten.detach.default"})
_BATCH_NORM = frozenset({"aten._native_batch_norm_legit_no_training.default", "aten.batch_norm.default"})
# Monotone also in floating point: each is a rounding of a monotone function, or a clamp.
_RISING = frozenset(
    f"aten.{name}.default" for name in ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "hardsigmoid")
)
_POOLS = {
    "aten.max_pool1d.default": 1, "aten.max_pool2d.default": 2, "aten.max_pool3d.default": 3,
    "aten.max_pool2d_with_indices.default": 2, "aten.max_pool3d_with_indices.default": 3,
}  # fmt: skip


class Pool(NamedTuple):
    """A max-pooling over the last `len(kernel)` axes."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def tiles(self, shape: tuple[int, ...]) -> bool:
        """Whether its windows lie side by side and cover `shape`, of the pooled axes, exactly."""
        return (
            self.kernel == self.stride
            and not any(self.padding)
            and all(d == 1 for d in self.dilation)
            and all(n % k == 0 for n, k in zip(shape, self.kernel, strict=True))
        )

    def greatest(self, x: Tensor) -> Tensor:
        """The pooling itself."""
        function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(self.kernel) - 1]
        pooled: Tensor = function(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)
        return pooled

    def spread(self, pooled: Tensor, shape: tuple[int, ...]) -> Tensor:
        """For each element of `shape` the value of the window whose middle is the nearest."""
        axes = len(self.kernel)
        for k in range(axes):
            axis, reach = pooled.dim() - axes + k, self.dilation[k] * (self.kernel[k] - 1)
            middle = (torch.arange(shape[k], device=pooled.device) + self.padding[k] - reach / 2) / self.stride[k]
            nearest = middle.round().clamp(0, pooled.shape[axis] - 1).long()
            pooled = pooled.index_select(axis, nearest)
        return pooled


class Step(NamedTuple):
    """One operator of a chain.

    Attributes:
        function: what it does to the tensor; None for a pooling.
        sign: `[C]` +1, -1 or 0: the way each feature map goes.
        strict: monotone; else it only stays constant below some value (hardswish).
    """

    function: Callable[[Tensor], Tensor] | None
    sign: Tensor
    pool: Pool | None = None
    strict: bool = True


def read_chain(captured: Captured, cut: int, tensor: int) -> list[Step]:
    """The operators that follow `cut` on `tensor` one by one, each the only reader of what it reads."""
    graph = captured.graph
    code = StageCode(graph, captured.parameters, torch.device("cpu"))
    steps: list[Step] = []
    at = tensor
    shape = graph.tensors[tensor].shape
    while at not in graph.outputs:
        readers = [k for k in range(cut, graph.num_operators) if at in graph.operators[k].inputs]
        if len(readers) != 1:
            break
        operator = graph.operators[readers[0]]
        if len(operator.inputs) != 1 or operator.writes or not operator.outputs:
            break
        step = _step(code, readers[0], operator, at, shape)
        if step is None or len(operator.outputs) != 1:
            break
        steps.append(step)
        [at] = operator.outputs
    return steps


def lower_bound(captured: Captured, tensor: int) -> float | None:
    """The value that the activation which made `tensor` leaves at the least, where it has such a value."""
    graph = captured.graph
    made_by = {t: k for k, op in enumerate(graph.operators) for t in op.outputs}
    code = StageCode(graph, captured.parameters, torch.device("cpu"))
    while tensor in made_by:
        index = made_by[tensor]
        operator, call = graph.operators[index], code.program(index).call
        arguments = _arguments(call)
        match operator.target:
            case "aten.relu.default" | "aten.relu6.default" | "aten.hardsigmoid.default":
                return 0.0
            case "aten.hardtanh.default":
                return _number(arguments.get("min_val", -1.0), -1.0)
            case "aten.clamp.default" | "aten.clamp_min.default":
                least = _number(arguments.get("min"))
                return None if math.isnan(least) else least
            case "aten.threshold.default":
                low, value = _number(arguments.get("threshold")), _number(arguments.get("value"))
                return value if value <= low else None
            case target if target in _NOTHING or target in _POOLS:
                tensor = operator.inputs[0]  # padding of a max-pooling is never the greatest
            case _:
                return None
    return None


def _step(code: StageCode, index: int, operator: Operator, tensor: int, shape: tuple[int, ...]) -> Step | None:
    program = code.program(index)
    target, arguments = operator.target, _arguments(program.call)
    maps, axes = shape[1], len(shape)
    places = [r for r in call_references(program.call) if isinstance(r, TensorRef)]
    if places != [TensorRef(tensor)] or (program.take is not None and program.take != (0,)):
        return None
    constants: dict[int, tuple[object, Any]] = {}
    if not all(code.constant(program, k, constants) for k in range(len(program.let))):
        return None  # a view of the tensor: elements move

    def value(expression: Any) -> Any:
        match expression:
            case ParameterRef(id):
                return code.parameters[id]
            case LocalRef(k):
                return constants[k][1]
            case list():
                return [value(v) for v in expression]
        return expression

    if any(r.id in code.written for r in call_references(program.call) if isinstance(r, ParameterRef)):
        return None
    up = torch.ones(maps)
    if target in _POOLS:
        # Of a picture without a batch axis, axis 1 would lie within the windows.
        return Step(None, up, _pool(target, arguments)) if axes >= _POOLS[target] + 2 else None

    def function(x: Tensor) -> Tensor:
        args = [x if isinstance(v, TensorRef) else value(v) for v in program.call.args]
        kwargs = {k: x if isinstance(v, TensorRef) else value(v) for k, v in program.call.kwargs.items()}
        with torch.inference_mode():
            result = runnable(target)(*args, **kwargs)
        first: Tensor = result if program.take is None else result[0]
        return first

    if target in _NOTHING or target in _RISING:
        return Step(function, up)
    match target:
        case "aten.hardswish.default":
            return Step(function, up, strict=False)
        case "aten.leaky_relu.default" if _number(arguments.get("negative_slope", 0.01), -1.0) >= 0.0:
            return Step(function, up)
        case "aten.threshold.default" if _number(arguments["value"], math.inf) <= _number(arguments["threshold"], 0.0):
            return Step(function, up)
        case "aten.neg.default":
            return Step(function, -up)
        case _ if target in _BATCH_NORM:
            if arguments.get("training"):
                return None
            weight = value(arguments.get("weight"))
            return Step(function, up if weight is None else torch.sign(weight.float()))
        case "aten.mul.Tensor" | "aten.mul.Scalar" | "aten.div.Tensor" | "aten.div.Scalar":
            if target.startswith("aten.div") and not isinstance(arguments.get("self"), TensorRef):
                return None  # its reciprocal
            factor = _per_map(_other(arguments, value), maps, axes)
            return None if factor is None else Step(function, torch.sign(factor))
        case "aten.add.Tensor" | "aten.add.Scalar" | "aten.sub.Tensor" | "aten.sub.Scalar":
            if _per_map(_other(arguments, value), maps, axes) is None or arguments.get("alpha", 1) != 1:
                return None
            falls = target.startswith("aten.sub") and not isinstance(arguments.get("self"), TensorRef)
            return Step(function, -up if falls else up)
    return None


def _arguments(call: Call) -> dict[str, Any]:
    return {**dict(zip(argument_names(call.target), call.args, strict=False)), **call.kwargs}


def _number(value: Any, default: float = math.nan) -> float:
    """`value` where it is a number, else `default`: nothing compares with NaN."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _other(arguments: Mapping[str, Any], value: Callable[[Any], Any]) -> Any:
    """The operand that is not the tensor."""
    first, second = arguments.get("self"), arguments.get("other")
    return value(second if isinstance(first, TensorRef) else first)


def _per_map(operand: Any, maps: int, axes: int) -> Tensor | None:
    """`operand` of an operation with a tensor of `axes` axes as one number a feature map `[C]` (axis 1); None
    where it varies within one."""
    if isinstance(operand, int | float):
        return torch.full((maps,), float(operand))
    if not isinstance(operand, Tensor):
        return None
    if operand.numel() == 1:
        return operand.reshape(1).float().expand(maps)
    # Broadcasting counts axes from the last: [C, 1, 1] and [1, C, 1, 1] lie along axis 1 of a picture.
    along = [axes - operand.dim() + k for k, n in enumerate(operand.shape) if n != 1]
    return operand.reshape(-1).float() if along == [1] and operand.numel() == maps else None


def _pool(target: str, arguments: Mapping[str, Any]) -> Pool:
    axes = _POOLS[target]

    def each(name: str, default: Any) -> tuple[int, ...]:
        given = arguments.get(name) or default
        given = [given] if isinstance(given, int) else list(given)
        return tuple(given * axes if len(given) == 1 else given)

    kernel = each("kernel_size", 1)
    return Pool(
        kernel, each("stride", list(kernel)), each("padding", 0), each("dilation", 1), bool(arguments.get("ceil_mode"))
    )
