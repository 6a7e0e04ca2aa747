"""A stage as one Python function, made from the graph's data.

The text of the function holds only names and numbers that are made here (`t5`, `f2`, `c7`):
nothing of the graph's own text gets into it. Tensors are let go after their last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from airloom.core.graph import ModelGraph
from airloom.errors import UserError
from airloom.nn.operators import FACTORIES, RANDOM, runnable
from airloom.nn.program import Call, LocalRef, ParameterRef, Program, TensorRef, call_references, decode

# What torch's own allocator gives; some kernels sum in another order on data that is less aligned.
ALIGNMENT = 64


def canonical_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """C order strides, also along axes of size 1, where torch leaves them to chance."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def canonical(tensor: Tensor) -> Tensor:
    """The tensor in C order with canonical strides and alignment; itself if it is so already."""
    strides = canonical_stride(tuple(tensor.shape))
    if tensor.stride() == strides and tensor.data_ptr() % ALIGNMENT == 0:
        return tensor
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        return tensor.as_strided(tensor.shape, strides)
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


class StageCode:
    """Makes functions out of ranges of operators; constants are shared between them.

    Args:
        trained: ids of the parameters that change between two calls of a function: what depends on them
            is worked out in each, and what depends on none is kept in a form that autograd takes.
        seal: what every tensor that an operator makes goes through, for example to watch its gradient.
        random: gives what runs in place of operator `index` that draws random numbers.
        sinks: where operators write in place of the buffers of these ids.
    """

    def __init__(
        self,
        graph: ModelGraph,
        parameters: tuple[Tensor, ...],
        torch_device: torch.device,
        trained: frozenset[int] = frozenset(),
        *,
        seal: Callable[[Tensor], Tensor] | None = None,
        random: Callable[[int], Callable[..., Any]] | None = None,
        sinks: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.seal, self.random, self.sinks = seal, random, sinks or {}
        self.graph, self.parameters, self.torch_device = graph, parameters, torch_device
        self.written = {p for op in graph.operators for p in op.writes} | trained
        self._no_gradient = torch.no_grad if trained else torch.inference_mode
        self._programs: dict[int, Program] = {}
        self._constants: dict[object, Any] = {}

    def program(self, index: int) -> Program:
        """The decoded program of operator `index`."""
        if index not in self._programs:
            op = self.graph.operators[index]
            self._programs[index] = decode(op.target, op.arguments)
        return self._programs[index]

    def compile(
        self,
        start: int,
        stop: int,
        reads: tuple[int, ...],
        makes: tuple[int, ...],
        clock: Callable[[], Any] | None = None,
    ) -> Callable[..., tuple[Any, ...]]:
        """A function of the tensors `reads` that gives the tensors `makes` (and the clock's stamps)."""
        return _Writer(self, clock).function(start, stop, reads, makes)

    def constant(self, program: Program, index: int, known: dict[int, tuple[object, Any]]) -> bool:
        """Evaluate entry `index` of `let` into `known` if it depends on fixed parameters alone.

        Evaluated once for all stages: `known[index]` is its identity and its value.
        """
        call = program.let[index]
        for reference in call_references(call):
            match reference:
                case TensorRef():
                    return False
                case ParameterRef(id) if id in self.written:
                    return False
                case LocalRef(k) if k not in known:
                    return False

        def identity(value: Any) -> object:
            match value:
                case LocalRef(k):
                    return ("let", known[k][0])
                case list():
                    return tuple(identity(v) for v in value)
            # 1, 1.0 and True are equal but not the same argument.
            return (type(value).__name__, repr(value))

        def evaluated(value: Any) -> Any:
            match value:
                case LocalRef(k):
                    return known[k][1]
                case ParameterRef(id):
                    return self.parameters[id]
                case list():
                    return [evaluated(v) for v in value]
            return value

        kwargs = sorted(call.kwargs.items())
        key = (call.target, identity(list(call.args)), tuple((k, identity(v)) for k, v in kwargs), call.item)
        if key not in self._constants:
            placed = {"device": self.torch_device} if call.target in FACTORIES else {}
            with self._no_gradient():
                result = runnable(call.target)(
                    *[evaluated(v) for v in call.args], **{k: evaluated(v) for k, v in kwargs}, **placed
                )
            # Small numbers stand for long identities: chains of constants would grow without bound.
            self._constants[key] = (len(self._constants), result if call.item is None else result[call.item])
        known[index] = self._constants[key]
        return True


class _Writer:
    """Writes the text of one function and gathers what its names stand for."""

    def __init__(self, code: StageCode, clock: Callable[[], Any] | None) -> None:
        self.code, self.clock = code, clock
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"canonical": canonical, "align": ALIGNMENT}
        self.known: dict[object, str] = {}

    def function(
        self, start: int, stop: int, reads: tuple[int, ...], makes: tuple[int, ...]
    ) -> Callable[..., tuple[Any, ...]]:
        operators = self.code.graph.operators[start:stop]
        last: dict[int, int] = {}
        for index, op in enumerate(operators):
            last.update(dict.fromkeys((*op.inputs, *op.outputs), index))
        if self.clock is not None:
            self.names["clock"] = self.clock
            self.lines += ["stamps = [clock()]", "stamp = stamps.append"]
        for index, op in enumerate(operators):
            self._operator(start + index)
            dead = [t for t in dict.fromkeys((*op.inputs, *op.outputs)) if last[t] == index and t not in makes]
            if dead:
                self.lines.append(f"del {', '.join(f't{t}' for t in dead)}")
            if self.clock is not None:
                self.lines.append("stamp(clock())")
        values = "".join(f"t{t}, " for t in makes) + ("stamps, " if self.clock is not None else "")
        self.lines.append(f"return ({values})")
        body = "\n    ".join(self.lines)
        text = f"def stage({', '.join(f't{t}' for t in reads)}):\n    {body}\n"
        exec(compile(text, f"<stage {start}..{stop - 1}>", "exec"), self.names)
        function: Callable[..., tuple[Any, ...]] = self.names["stage"]
        return function

    def _operator(self, index: int) -> None:
        op, program = self.code.graph.operators[index], self.code.program(index)
        constants: dict[int, tuple[object, Any]] = {}
        locals_: list[str] = []
        for k, call in enumerate(program.let):
            if self.code.constant(program, k, constants):
                locals_.append(self._name("k", ("let", constants[k][0]), constants[k][1]))
                continue
            self.lines.append(f"l{k} = {self._call(call, locals_)}")
            locals_.append(f"l{k}")
        value = self._call(program.call, locals_, index)
        if program.take is None and not program.writes:
            [output] = op.outputs
            self.lines.append(f"t{output} = {value}")
        else:
            self.lines.append(f"r = {value}")
            for position, parameter in program.writes:
                sink = self.code.sinks.get(parameter, self.code.parameters[parameter])
                buffer = self._name("p", ("sink" if parameter in self.code.sinks else "parameter", parameter), sink)
                # Only what has outputs on offer (a tuple) has positions.
                self.lines.append(f"{buffer}.copy_((r[{position}] if isinstance(r, (tuple, list)) else r).detach())")
            if program.take is None:
                self.lines.append(f"t{op.outputs[0]} = r")
            for output, position in zip(op.outputs, program.take or (), strict=program.take is not None):
                self.lines.append(f"t{output} = r[{position}]")
            self.lines.append("del r")
        for output in op.outputs:
            stride = self._name("c", ("stride", output), canonical_stride(self.code.graph.tensors[output].shape))
            t = f"t{output}"
            self.lines.append(f"if {t}.stride() != {stride} or {t}.data_ptr() % align: {t} = canonical({t})")
            if self.code.seal is not None:
                self.lines.append(f"{t} = {self._name('f', 'seal', self.code.seal)}({t})")

    def _call(self, call: Call, locals_: list[str], index: int = -1) -> str:
        if call.target in RANDOM:
            if self.code.random is None or index < 0:
                raise UserError(f"{call.target} draws random numbers: it runs in training only")
            function = self._name("f", ("random", index), self.code.random(index))
        else:
            function = self._name("f", ("op", call.target), runnable(call.target))
        args = [self._value(v, locals_) for v in call.args]
        args += [f"{self._keyword(k)}={self._value(v, locals_)}" for k, v in sorted(call.kwargs.items())]
        if call.target in FACTORIES:
            args.append(f"device={self._name('c', 'device', self.code.torch_device)}")
        item = "" if call.item is None else f"[{call.item}]"
        return f"{function}({', '.join(args)}){item}"

    @staticmethod
    def _keyword(name: str) -> str:
        # `decode` has found it among the operator's own argument names; `self` and such are no keywords of Python.
        if not name.isidentifier():
            raise ValueError(f"{name!r} is not the name of an argument")
        return name

    def _value(self, value: Any, locals_: list[str]) -> str:
        match value:
            case TensorRef(id):
                return f"t{id}"
            case ParameterRef(id):
                return self._name("p", ("parameter", id), self.code.parameters[id])
            case LocalRef(k):
                return locals_[k]
            case None | bool() | int():
                return repr(value)
            case float() if math.isfinite(value):
                return repr(value)
            case list():
                return f"[{', '.join(self._value(v, locals_) for v in value)}]"
        return self._name("c", (type(value).__name__, repr(value)), value)

    def _name(self, letter: str, key: object, value: Any) -> str:
        """The name that stands for `value`, one for equal keys."""
        if key not in self.known:
            self.known[key] = f"{letter}{len(self.names)}"
            self.names[self.known[key]] = value
        return self.known[key]
