"""An operator in another graph, where tensors and weights have other ids."""

from __future__ import annotations

from typing import Any

from airloom.core.graph import Operator
from airloom.nn.program import Call, ParameterRef, Program, TensorRef, decode, encode


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
