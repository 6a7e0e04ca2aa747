"""What goes into an exported program and what comes out of it: inputs, weights, results, buffers written."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from airloom.errors import CaptureError
from airloom.nn.captured import Structure


@dataclass(frozen=True, eq=False)
class Signature:
    """The edges of an exported program.

    Attributes:
        inputs: in the order of the model's arguments.
        parameters: the nodes that stand for weights, buffers and constants -> name of the tensor.
            One tensor under two names (tied embeddings) has the first of them throughout.
        weights: the tensors by those names.
        results: the tensors that the model returns, in the order of the leaves of `structure`.
        writes: pairs of a node and the buffer that takes its value.
        structure: the form of the result; `Structure.tensor` is a position in `results`.
    """

    inputs: tuple[fx.Node, ...]
    parameters: dict[fx.Node, str]
    weights: dict[str, Tensor]
    results: tuple[fx.Node, ...]
    writes: tuple[tuple[fx.Node, str], ...]
    structure: Structure


def read_signature(program: ExportedProgram, name: str, mode: Literal["eval", "train"]) -> Signature:
    """The signature of `program`, which messages call `name`.

    Raises:
        CaptureError: something other than tensors goes in or out, or the model changes its input,
            or a buffer in eval mode.
    """
    inputs, parameters, weights = _inputs(program, name)
    results, writes, structure = _outputs(program, name, mode)
    return Signature(tuple(inputs), parameters, weights, tuple(results), tuple(writes), structure)


def _inputs(program: ExportedProgram, name: str) -> tuple[list[fx.Node], dict[fx.Node, str], dict[str, Tensor]]:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs: list[fx.Node] = []
    parameters: dict[fx.Node, str] = {}
    weights: dict[str, Tensor] = {}
    tied: dict[tuple[Any, ...], str] = {}
    for spec in program.graph_signature.input_specs:
        node = nodes.get(getattr(spec.arg, "name", ""))
        match spec.kind:
            case InputKind.USER_INPUT if node is not None:
                inputs.append(node)
            case InputKind.USER_INPUT:
                raise CaptureError(f"{name}: an input is not a tensor")
            case InputKind.PARAMETER | InputKind.BUFFER | InputKind.CONSTANT_TENSOR if node and spec.target:
                tensor = _tensor(program, spec.target)
                key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
                # Empty tensors all have the same address.
                parameters[node] = tied.setdefault(key, spec.target) if tensor.numel() else spec.target
                weights.setdefault(parameters[node], tensor)
            case _:
                raise CaptureError(f"{name}: {spec.target or spec.kind.name} is not a tensor")
    return inputs, parameters, weights


def _tensor(program: ExportedProgram, target: str) -> Tensor:
    tensor = program.state_dict[target] if target in program.state_dict else program.constants[target]
    assert isinstance(tensor, Tensor)
    return tensor


def _outputs(
    program: ExportedProgram, name: str, mode: Literal["eval", "train"]
) -> tuple[list[fx.Node], list[tuple[fx.Node, str]], Structure]:
    nodes = {node.name: node for node in program.graph.nodes}
    leaves: list[Structure] = []
    results: list[fx.Node] = []
    writes: list[tuple[fx.Node, str]] = []
    for spec in program.graph_signature.output_specs:
        node = nodes.get(getattr(spec.arg, "name", ""))
        match spec.kind:
            case OutputKind.USER_OUTPUT if node is not None:
                leaves.append(Structure(kind="tensor", tensor=len(results)))
                results.append(node)
            case OutputKind.USER_OUTPUT:
                value = getattr(spec.arg, "value", spec.arg)
                if value is not None:
                    raise CaptureError(f"{name} returns {value!r} ({type(value).__name__}): return tensors only")
                leaves.append(Structure(kind="none"))
            case OutputKind.BUFFER_MUTATION if node is not None and spec.target:
                if mode == "eval":
                    raise CaptureError(
                        f"{name} changes its buffer {spec.target!r} in eval mode: "
                        "a stage must give the same answer twice; return the new value instead"
                    )
                writes.append((node, spec.target))
            case OutputKind.USER_INPUT_MUTATION:
                raise CaptureError(f"{name} changes its input {spec.target!r} in place: work on a clone of it")
            case _:
                raise CaptureError(f"{name}: output {spec.kind.name} cannot be captured")
    if not results:
        raise CaptureError(f"{name} returns no tensor")
    return results, writes, _structure(program.call_spec.out_spec, iter(leaves), name)


def _structure(spec: Any, leaves: Iterator[Structure], name: str) -> Structure:
    """The form that torch's tree `spec` describes, with `leaves` in its places."""
    if spec.is_leaf():
        return next(leaves)
    items = tuple(_structure(child, leaves, name) for child in spec.children())
    if spec.type is list:
        return Structure(kind="list", items=items)
    if spec.type is collections.namedtuple or (isinstance(spec.type, type) and issubclass(spec.type, tuple)):
        return Structure(kind="tuple", items=items)
    if isinstance(spec.type, type) and issubclass(spec.type, dict):
        keys = tuple(spec.context)
        if all(type(key) in (str, int) for key in keys):
            return Structure(kind="dict", items=items, keys=keys)
    if spec.type is type(None):
        return Structure(kind="none")
    raise CaptureError(
        f"{name} returns a {getattr(spec.type, '__name__', spec.type)}: return tensors, tuples, lists or dicts"
    )


def renumber(structure: Structure, place: Sequence[int]) -> Structure:
    """The same form where tensor `k` is now tensor `place[k]`."""
    if structure.kind == "tensor":
        return Structure(kind="tensor", tensor=place[structure.tensor])
    items = tuple(renumber(item, place) for item in structure.items)
    return Structure(kind=structure.kind, items=items, keys=structure.keys)
