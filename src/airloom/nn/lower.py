"""From torch's exported program to a graph of ours.

`signature` says what goes in and out, `roles` which nodes become operators, `calls` writes each one
down; here they are put together: tensors and parameters get their ids, operators their names.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from airloom.core.graph import ModelGraph, Operator, Parameter, TensorSpec
from airloom.errors import CaptureError
from airloom.nn.admission import target_of
from airloom.nn.calls import Calls, Ids
from airloom.nn.captured import Captured
from airloom.nn.macs import count_macs
from airloom.nn.operators import argument_names
from airloom.nn.program import DTYPE_NAMES, ParameterRef, Program, TensorRef, encode
from airloom.nn.roles import Roles
from airloom.nn.signature import read_signature, renumber
from airloom.nn.source import node_line

# Names of torch's that say more than a reader wants to know.
_SHORT = {
    "native_batch_norm_legit_no_training": "batch_norm",
    "native_batch_norm_legit_functional": "batch_norm",
}


def lower(program: ExportedProgram, *, name: str, mode: Literal["eval", "train"]) -> Captured:
    """The graph, weights and result form of `program`.

    Raises:
        CaptureError: it holds something that a graph cannot say.
    """
    return _Lowering(program, name, mode).captured()


def _is_trained(tensor: Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad


def spec_of(value: Any, what: str) -> TensorSpec:
    """The spec of a tensor, real or fake.

    Raises:
        CaptureError: its shape is not fixed, or its type is not one that can travel.
    """
    if not isinstance(value, Tensor):
        raise CaptureError(f"{what} is a {type(value).__name__}, not a tensor")
    if value.layout is not torch.strided:
        raise CaptureError(f"{what} is sparse ({value.layout}): only dense tensors can cross a cut")
    if value.dtype not in DTYPE_NAMES:
        raise CaptureError(f"{what} has type {value.dtype}, which cannot cross a cut")
    if not all(isinstance(n, int) for n in value.shape):
        raise CaptureError(f"{what} has shape {list(value.shape)}: shapes that depend on the data cannot be planned")
    return TensorSpec(shape=tuple(value.shape), dtype=DTYPE_NAMES[value.dtype])


class _Lowering:
    def __init__(self, program: ExportedProgram, name: str, mode: Literal["eval", "train"]) -> None:
        self.name, self.mode = name, mode
        self.signature = read_signature(program, name, mode)
        self.roles = Roles(program.graph, self.signature, name, mode)
        self.ids = Ids()
        self.tensors: list[TensorSpec] = []

    def captured(self) -> Captured:
        inputs = [self._new_tensor(node) for node in self.signature.inputs]
        nodes = self.roles.operators()
        operators = [self._operator(node, name) for node, name in zip(nodes, _names(nodes), strict=True)]
        returned = [self.ids.tensors[node] for node in self.roles.results]
        # One id for each tensor that the model returns, in the order in which it first returns it.
        outputs = list(dict.fromkeys(returned))
        # Copies: training on must not change what was captured.
        state = {
            name: self.signature.weights[name].detach().cpu().clone(memory_format=torch.contiguous_format)
            for name in self.ids.parameters
        }
        graph = ModelGraph(
            model=self.name,
            tensors=tuple(self.tensors),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            operators=tuple(operators),
            parameters=tuple(
                Parameter(name=k, spec=spec_of(v, f"weight {k!r}"), trained=_is_trained(self.signature.weights[k]))
                for k, v in state.items()
            ),
            mode=self.mode,
        )
        return Captured(
            graph=graph,
            state=state,
            structure=renumber(self.signature.structure, [outputs.index(t) for t in returned]),
            source=tuple(node_line(node) for node in nodes),
            modules=tuple(_module(node) for node in nodes),
        )

    def _new_tensor(self, node: fx.Node) -> int:
        self.tensors.append(spec_of(node.meta["val"], f"{self.name}: {node.name}{node_line(node)}"))
        return self.ids.tensor(node)

    def _operator(self, node: fx.Node, name: str) -> Operator:
        calls = Calls(self.name, self.signature, self.roles, self.ids)
        call = calls.call(node)
        value = node.meta["val"]
        single = isinstance(value, Tensor)
        pieces = [(0, node)] if single else self.roles.pieces(node)
        made = [(k, piece) for k, piece in pieces if self.roles.is_read(piece)]  # others only go to a buffer
        outputs = tuple(self._new_tensor(piece) for _, piece in made)
        writes = [(k, buffer) for k, piece in pieces for buffer in self.roles.writes.get(piece, ())]
        self._check_writes(node, [buffer for _, buffer in writes])
        program = Program(
            call=call,
            let=tuple(calls.let),
            take=None if single and made else tuple(k for k, _ in made),
            writes=tuple((k, self.ids.parameter(buffer)) for k, buffer in writes),
        )
        references = list(program.references())
        return Operator(
            name=name,
            target=call.target,
            inputs=tuple(sorted({r.id for r in references if isinstance(r, TensorRef)})),
            outputs=outputs,
            arguments=encode(program),
            parameters=tuple(sorted({r.id for r in references if isinstance(r, ParameterRef)})),
            writes=tuple(parameter for _, parameter in program.writes),
            macs=count_macs(
                call.target,
                argument_names(call.target),
                [_shapes(a) for a in node.args],
                {k: _shapes(a) for k, a in node.kwargs.items()},
                tuple(value.shape if single else value[0].shape),
            ),
        )

    def _check_writes(self, node: fx.Node, buffers: list[str]) -> None:
        for parameter, name in self.signature.parameters.items():
            if name in buffers and self.roles.is_read_after(parameter, node):
                raise CaptureError(f"{self.name} reads its buffer {name!r} again after changing it{node_line(node)}")


def _names(nodes: list[fx.Node]) -> list[str]:
    """`groups.0.0.conv1.conv2d`: the module that calls, as the user named it, and the operator.

    The second of a name has `.2` behind it, and so on.
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    for node in nodes:
        short = target_of(node).split(".")[1].strip("_")
        name = ".".join(part for part in (_module(node), _SHORT.get(short, short)) if part)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return names


def _module(node: fx.Node) -> str:
    """The path of the module that calls."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _shapes(arg: Any) -> Any:
    """Shapes in place of tensors."""
    if isinstance(arg, fx.Node):
        value = arg.meta.get("val")
        return tuple(value.shape) if isinstance(value, Tensor) else ()
    if isinstance(arg, list | tuple):
        return [_shapes(a) for a in arg]
    return arg
