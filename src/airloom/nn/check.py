"""Is a graph that came from elsewhere a graph that `capture` could have made?

Everything is looked at before anything runs: ids, order, operators and their arguments, and, by
running the graph on tensors without data, that every operator accepts what it is given and makes
what the graph says. A graph that passes cannot name anything but listed operators, cannot
deadlock, and cannot ask for more memory than its own tensors' specs show.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from airloom.core.graph import ITEM_BYTES, ModelGraph, TensorSpec
from airloom.errors import ConfigError, UserError
from airloom.nn.operators import FACTORIES, RANDOM, SPLITTERS, runnable
from airloom.nn.program import DTYPES, Call, LocalRef, ParameterRef, Program, TensorRef, decode
from airloom.nn.source import first_line

MAX_OPERATORS = 100_000
MAX_TENSORS = 1_000_000
MAX_AXES = 16
MAX_TENSOR_BYTES = 16 * 2**30


def check_graph(graph: ModelGraph, *, where: str, quick: bool = False) -> None:
    """Refuse a graph that could not have been captured.

    Args:
        quick: for a few operators, such as a shortcut's: without what torch loads for seconds to follow whole graphs.

    Raises:
        ConfigError: names the place, `WHERE: $.graph.operators[3]`.
    """
    if len(graph.operators) > MAX_OPERATORS or len(graph.tensors) + len(graph.parameters) > MAX_TENSORS:
        raise ConfigError(f"more than {MAX_OPERATORS} operators or {MAX_TENSORS} tensors", where=f"{where}: $.graph")
    for kind, specs in (("tensors", graph.tensors), ("parameters", [p.spec for p in graph.parameters])):
        for k, spec in enumerate(specs):
            _check_spec(spec, f"{where}: $.graph.{kind}[{k}]")
    if len({p.name for p in graph.parameters}) != len(graph.parameters):
        raise ConfigError("two parameters have one name", where=f"{where}: $.graph.parameters")
    if graph.inputs != tuple(range(len(graph.inputs))) or len(graph.inputs) > len(graph.tensors):
        raise ConfigError("the inputs are the first tensors, in order", where=f"{where}: $.graph.inputs")
    programs = _check_order(graph, where)
    if graph.operators:
        _check_shapes(graph, programs, where, quick)


def _check_spec(spec: TensorSpec, where: str) -> None:
    if spec.dtype not in ITEM_BYTES:
        raise ConfigError(f"unknown type {spec.dtype[:40]!r}", where=where)
    if len(spec.shape) > MAX_AXES or any(n < 0 for n in spec.shape) or spec.nbytes > MAX_TENSOR_BYTES:
        raise ConfigError(f"no tensor can have the shape {str(list(spec.shape))[:80]}", where=where)


def _check_order(graph: ModelGraph, where: str) -> list[Program]:
    made = len(graph.inputs)
    programs: list[Program] = []
    for k, op in enumerate(graph.operators):
        place = f"{where}: $.graph.operators[{k}]"
        try:
            program = decode(op.target, op.arguments)
        except UserError as error:
            raise ConfigError(str(error), where=place) from None
        programs.append(program)
        calls = [call.target for call in program.let]
        if RANDOM.intersection(calls) or (program.call.target in RANDOM and graph.mode != "train"):
            raise ConfigError("it draws random numbers, which only operators of a graph in train mode do", where=place)
        references = list(program.references())
        if op.inputs != tuple(sorted({r.id for r in references if isinstance(r, TensorRef)})):
            raise ConfigError("inputs are not the tensors that its arguments name, ascending", where=place)
        if op.parameters != tuple(sorted({r.id for r in references if isinstance(r, ParameterRef)})):
            raise ConfigError("parameters are not those that its arguments name, ascending", where=place)
        if op.inputs and not 0 <= op.inputs[0] <= op.inputs[-1] < made:
            raise ConfigError(f"it reads tensor {op.inputs[-1]}, which no earlier operator makes", where=place)
        if any(not 0 <= p < len(graph.parameters) for p in (*op.parameters, *op.writes)):
            raise ConfigError("it names a parameter that the graph lacks", where=place)
        if op.writes != tuple(p for _, p in program.writes) or (op.writes and graph.mode != "train"):
            raise ConfigError("it writes buffers that its arguments, or the mode, do not allow", where=place)
        if op.outputs != tuple(range(made, made + len(op.outputs))):
            raise ConfigError(f"its outputs should be numbered from {made}", where=place)
        if len(op.outputs) != (1 if program.take is None else len(program.take)):
            raise ConfigError("its outputs are not as many as its arguments take", where=place)
        made += len(op.outputs)
        if op.macs < 0:
            raise ConfigError(f"{op.macs} multiply-accumulates", where=place)
    if made != len(graph.tensors):
        raise ConfigError(
            f"{len(graph.tensors)} tensors, but the operators make up to {made}", where=f"{where}: $.graph"
        )
    if (
        not graph.outputs
        or len(set(graph.outputs)) != len(graph.outputs)
        or any(not 0 <= t < made for t in graph.outputs)
    ):
        raise ConfigError("the outputs are not tensors of the graph, each once", where=f"{where}: $.graph.outputs")
    return programs


def _check_shapes(graph: ModelGraph, programs: list[Program], where: str, quick: bool) -> None:
    mode = contextlib.nullcontext() if quick else FakeTensorMode(allow_non_fake_inputs=False)
    torch_device = torch.device("meta" if quick else "cpu")
    with mode, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch on what the graph does; it runs nothing yet

        def fake(spec: TensorSpec) -> Tensor:
            return torch.empty(spec.shape, dtype=DTYPES[spec.dtype], device=torch_device)

        tensors = {t: fake(graph.tensors[t]) for t in graph.inputs}
        parameters = [fake(p.spec) for p in graph.parameters]
        for k, (op, program) in enumerate(zip(graph.operators, programs, strict=True)):
            place = f"{where}: $.graph.operators[{k}]"
            try:
                found = _run_fake(program, tensors, parameters, torch_device)
            except ConfigError as error:
                raise ConfigError(str(error), where=place) from None
            except Exception as error:  # torch raises what it likes about arguments that do not fit
                line = first_line(error)
                raise ConfigError(f"{op.target} does not accept its arguments: {line[:200]}", where=place) from None
            for id, value in zip(op.outputs, found, strict=True):
                spec = graph.tensors[id]
                if tuple(value.shape) != spec.shape or value.dtype != DTYPES[spec.dtype]:
                    made = f"{list(value.shape)} of {value.dtype}"
                    raise ConfigError(
                        f"tensor {id} is said to be {spec.shape} of {spec.dtype}, it is {made}", where=place
                    )
                # What every host makes of it: C order.
                tensors[id] = fake(spec)


def _run_fake(
    program: Program, tensors: dict[int, Tensor], parameters: list[Tensor], torch_device: torch.device
) -> list[Tensor]:
    results: list[Any] = []

    def value(expression: Any) -> Any:
        match expression:
            case TensorRef(id):
                return tensors[id]
            case ParameterRef(id):
                return parameters[id]
            case LocalRef(place):
                return results[place]
            case list():
                return [value(v) for v in expression]
        return expression

    def run(call: Call) -> Any:
        if call.target in SPLITTERS:
            for tensor in (value(v) for v in call.args[:1]):
                if isinstance(tensor, Tensor) and max(tensor.shape, default=0) > MAX_OPERATORS:
                    raise ConfigError(f"{call.target} of a tensor of shape {list(tensor.shape)}: too many pieces")
        placed = {"device": torch_device} if call.target in FACTORIES else {}
        result = runnable(call.target)(
            *(value(v) for v in call.args), **{k: value(v) for k, v in call.kwargs.items()}, **placed
        )
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(tensor, Tensor) or any(not isinstance(n, int) for n in tensor.shape):
                raise ConfigError(f"{call.target} makes something whose shape depends on the data")
            # An expanded view has many elements and little storage, but whoever copies it needs them all.
            if tensor.numel() * tensor.element_size() > MAX_TENSOR_BYTES:
                raise ConfigError(f"{call.target} makes a tensor of {tensor.numel()} elements")
        return result if call.item is None else result[call.item]

    for call in program.let:
        results.append(run(call))
        if not isinstance(results[-1], Tensor):
            raise ConfigError(f"let takes no tensor out of what {call.target} makes")
    result = run(program.call)
    for position, parameter in program.writes:
        new = result[position] if isinstance(result, tuple | list) else result
        if new.shape != parameters[parameter].shape or new.dtype != parameters[parameter].dtype:
            raise ConfigError(f"what it writes does not fit parameter {parameter}")
    if program.take is None:
        if not isinstance(result, Tensor):
            raise ConfigError(f"{program.call.target} makes a tuple: take is missing")
        return [result]
    if isinstance(result, Tensor) and program.take:
        raise ConfigError(f"{program.call.target} makes one tensor: nothing to take from")
    return [result[position] for position in program.take]
