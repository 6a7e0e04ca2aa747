"""The little language of `Operator.arguments`: everything about a call but the weights' values.

Canonical JSON `{"args": [...], "kwargs": {...}, "let": [...], "take": [...], "write": [...]}`, empty
parts left out. A value is null, a boolean, a number, a string, a list of values, or one of

    {"t": 3}  tensor 3 of the graph          {"p": 0}  parameter 0 of the graph
    {"l": 1}  result 1 of `let`              {"f": "inf"}  a number that JSON lacks
    {"dtype": "float32"}                     {"format": "channels_last"}

`let` holds calls that are no operators of the order: views, and what depends on parameters alone,
repeated by every operator that reads it, `{"op": "aten.view.default", "args": [...], "item": 0}`.
`take` picks the outputs out of a tuple; `write` pairs a position in it with the buffer that it replaces.
Devices do not occur: a stage runs where its executor is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import torch

from airloom.core.graph import ITEM_BYTES
from airloom.core.value import canonical_json
from airloom.errors import UserError
from airloom.nn.operators import argument_names, draws_random

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in ITEM_BYTES}
DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
_FORMATS: dict[str, torch.memory_format] = {
    name: getattr(torch, name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
_FORMAT_NAMES = {value: name for name, value in _FORMATS.items()}
_MAX_DEPTH = 16


class ProgramError(UserError):
    """`Operator.arguments` is not in the language."""


class TensorRef(NamedTuple):
    id: int


class ParameterRef(NamedTuple):
    id: int


class LocalRef(NamedTuple):
    place: int


# null, bool, int, float, str, dtype, memory format, a reference, or a list of these.
Expression = Any


@dataclass(frozen=True)
class Call:
    """One call; `item` picks a tensor out of a tuple."""

    target: str
    args: tuple[Expression, ...] = ()
    kwargs: dict[str, Expression] = field(default_factory=dict)
    item: int | None = None


@dataclass(frozen=True)
class Program:
    """What one operator does: `let` first, then `call`."""

    call: Call
    let: tuple[Call, ...] = ()
    take: tuple[int, ...] | None = None
    writes: tuple[tuple[int, int], ...] = ()

    def references(self) -> Iterator[TensorRef | ParameterRef | LocalRef]:
        """Every reference in it, in order, repetitions included."""
        for call in (*self.let, self.call):
            yield from call_references(call)


def call_references(call: Call) -> Iterator[TensorRef | ParameterRef | LocalRef]:
    """The references in one call, in order."""
    pending: list[Expression] = [*reversed(list(call.kwargs.values())), *reversed(call.args)]
    while pending:
        value = pending.pop()
        if isinstance(value, TensorRef | ParameterRef | LocalRef):
            yield value
        elif isinstance(value, list):
            pending.extend(reversed(value))


def _encode(value: Expression) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"f": str(value)}
        case TensorRef():
            return {"t": value.id}
        case ParameterRef():
            return {"p": value.id}
        case LocalRef():
            return {"l": value.place}
        case torch.dtype():
            return {"dtype": DTYPE_NAMES[value]}
        case torch.memory_format():
            return {"format": _FORMAT_NAMES[value]}
        case list():
            return [_encode(v) for v in value]
    raise ProgramError(f"a {type(value).__name__} cannot be an argument of an operator")


def _encode_call(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if call.args:
        body["args"] = [_encode(v) for v in call.args]
    if call.kwargs:
        body["kwargs"] = {k: _encode(v) for k, v in call.kwargs.items()}
    return body


def encode(program: Program) -> str:
    """The canonical text of `program`; the target of `call` is `Operator.target` and not part of it."""
    body = _encode_call(program.call)
    if program.let:
        body["let"] = [
            {"op": c.target, **_encode_call(c), **({} if c.item is None else {"item": c.item})} for c in program.let
        ]
    if program.take is not None:
        body["take"] = list(program.take)
    if program.writes:
        body["write"] = [list(pair) for pair in program.writes]
    return canonical_json(body).decode()


def _index(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ProgramError(f"expected an index, got {str(value)[:40]!r}")
    return value


_TAGS: dict[str, Callable[[Any], Expression]] = {
    "t": lambda v: TensorRef(_index(v)),
    "p": lambda v: ParameterRef(_index(v)),
    "l": lambda v: LocalRef(_index(v)),
    "f": {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}.__getitem__,
    "dtype": DTYPES.__getitem__,
    "format": _FORMATS.__getitem__,
}


def _decode(value: Any, depth: int = 0) -> Expression:
    if depth > _MAX_DEPTH:
        raise ProgramError("lists are nested too deep")
    if isinstance(value, list):
        return [_decode(v, depth + 1) for v in value]
    if isinstance(value, dict):
        if len(value) != 1:
            raise ProgramError(f"expected one of {', '.join(_TAGS)}, got {str(sorted(value))[:60]}")
        [(tag, content)] = value.items()
        try:
            return _TAGS[tag](content)
        except (KeyError, TypeError):
            raise ProgramError(f"unknown value {str(value)[:60]}") from None
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise ProgramError(f"{str(value)[:30]} does not fit in 64 bits")
    return value


def _decode_call(target: Any, body: dict[str, Any], extra: frozenset[str]) -> Call:
    unknown = body.keys() - {"args", "kwargs"} - extra
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if unknown or not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(target, str):
        raise ProgramError(f"a call has args and kwargs, got {str(sorted(body))[:80]}")
    for name in kwargs.keys() - set(argument_names(target)) | kwargs.keys() & {"device", "layout", "pin_memory", "out"}:
        raise ProgramError(f"{target} has no argument {name[:40]!r}")
    if draws_random(target, args, kwargs):
        raise ProgramError(f"{target} would draw random numbers")
    item = body.get("item")
    return Call(
        target, tuple(_decode(v) for v in args), {k: _decode(v) for k, v in kwargs.items()},
        None if item is None else _index(item),
    )  # fmt: skip


_LET_KEYS = frozenset({"op", "item"})
_TOP_KEYS = frozenset({"let", "take", "write"})


def decode(target: str, arguments: str) -> Program:
    """The program of an operator from its target and its arguments' text.

    Raises:
        ProgramError: the text is not in the language.
        UnknownOperator: it names an operator that is not on the list.
    """
    try:
        body = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProgramError(f"arguments are not JSON: {error}") from None
    if not isinstance(body, dict) or any(not isinstance(body.get(k), list | None) for k in ("let", "take", "write")):
        raise ProgramError("arguments are not an object of args, kwargs, let, take and write")
    let, take, writes = body.get("let"), body.get("take"), body.get("write")
    calls: list[Call] = []
    for entry in let or ():
        if not isinstance(entry, dict):
            raise ProgramError("let holds calls")
        calls.append(_decode_call(entry.get("op"), entry, _LET_KEYS))
    pairs: list[tuple[int, int]] = []
    for pair in writes or ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise ProgramError("write holds pairs")
        pairs.append((_index(pair[0]), _index(pair[1])))
    program = Program(
        call=_decode_call(target, body, _TOP_KEYS),
        let=tuple(calls),
        take=None if take is None else tuple(_index(k) for k in take),
        writes=tuple(pairs),
    )
    for position, call in enumerate(program.let):
        if any(isinstance(r, LocalRef) and r.place >= position for r in call_references(call)):
            raise ProgramError(f"let {position} reads a result that comes after it")
    if any(isinstance(r, LocalRef) and r.place >= len(program.let) for r in call_references(program.call)):
        raise ProgramError("the call reads a result that let does not have")
    return program
