"""Multiply-accumulates of an operator, from the shapes it reads and makes.

Counted: convolutions, matrix products and what is made of them (linear, attention, recurrent
cells). Everything else counts 0: its time is memory's, and the profile measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Shape = tuple[int, ...]
# One argument: the shape of a tensor, a list of such, or the value itself.
Argument = Any
Arguments = Mapping[str, Argument]


def _conv(args: Arguments, out: Shape) -> int:
    weight: Shape = args["weight"]
    # [maps_out, maps_in / groups, *kernel]
    return math.prod(out) * math.prod(weight[1:])


def _conv_transpose(args: Arguments, out: Shape) -> int:
    # [maps_in, maps_out / groups, *kernel]: every input value meets that many weights.
    return int(math.prod(args["input"]) * math.prod(args["weight"][1:]))


def _convolution(args: Arguments, out: Shape) -> int:
    return _conv_transpose(args, out) if args.get("transposed") else _conv(args, out)


def _linear(args: Arguments, out: Shape) -> int:
    return math.prod(out) * int(args["weight"][1])


def _matmul(args: Arguments, out: Shape) -> int:
    left: Shape = args.get("self", args.get("input"))
    return math.prod(out) * left[-1]


def _addmm(args: Arguments, out: Shape) -> int:
    left: Shape = args.get("mat1", args.get("batch1", args.get("mat")))
    # addbmm sums over its batch, the others keep it.
    return math.prod(out) * left[-1] * (left[0] if len(left) > len(out) else 1)


def _outer(args: Arguments, out: Shape) -> int:
    return math.prod(out)


def _cell(args: Arguments, out: Shape) -> int:
    rows: int = math.prod(args["input"][:-1])
    return rows * int(math.prod(args["w_ih"]) + math.prod(args["w_hh"]))


def _recurrent(args: Arguments, out: Shape) -> int:
    rows: int = math.prod(args["input"][:-1])
    return rows * int(sum(math.prod(shape) for shape in args["params"] if len(shape) == 2))


def _attention(args: Arguments, out: Shape) -> int:
    query, key, value = args["query"], args["key"], args["value"]
    pairs = int(math.prod(query[:-1]) * key[-2])
    return pairs * int(query[-1] + value[-1])


def _einsum(args: Arguments, out: Shape) -> int:
    left = str(args["equation"]).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for letters, shape in zip(left, args["tensors"], strict=True):
        if "." in letters:
            head, _, tail = letters.partition("...")
            extra = len(shape) - len(head) - len(tail)
            # Axes that the dots stand for are named from the right, as broadcasting lines them up.
            names = [*head, *(f"...{extra - k}" for k in range(extra)), *tail]
        else:
            names = list(letters)
        for name, size in zip(names, shape, strict=True):
            sizes[name] = max(sizes.get(name, 1), size)
    return math.prod(sizes.values())


_RULES: dict[str, Callable[[Arguments, Shape], int]] = {
    "conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "convolution": _convolution,
    "conv_transpose1d": _conv_transpose, "conv_transpose2d": _conv_transpose, "conv_transpose3d": _conv_transpose,
    "linear": _linear, "matmul": _matmul, "mm": _matmul, "bmm": _matmul, "mv": _matmul, "dot": _matmul,
    "inner": _matmul, "addmm": _addmm, "addmv": _addmm, "baddbmm": _addmm, "addbmm": _addmm,
    "outer": _outer, "addr": _outer, "einsum": _einsum,
    "gru_cell": _cell, "lstm_cell": _cell, "rnn_tanh_cell": _cell, "rnn_relu_cell": _cell,
    "gru": _recurrent, "lstm": _recurrent, "rnn_tanh": _recurrent, "rnn_relu": _recurrent,
    "scaled_dot_product_attention": _attention,
}  # fmt: skip


def count_macs(target: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], out: Shape) -> int:
    """Multiply-accumulates of one call.

    Args:
        target: `aten.conv2d.default`.
        names: of the operator's arguments.
        args, kwargs: the call's arguments with a shape in place of every tensor.
        out: shape of its first output.
    """
    rule = _RULES.get(target.split(".")[1])
    return 0 if rule is None else int(rule({**dict(zip(names, args, strict=False)), **kwargs}, out))
