"""What a node of an exported program calls, and whether a graph can say it."""

from __future__ import annotations

import operator
from typing import Literal

import torch
from torch import fx

from airloom.errors import CaptureError
from airloom.nn.operators import ALLOWED, RANDOM, draws_random
from airloom.nn.source import node_line

# In eval mode they do nothing.
DROPOUTS = frozenset({"aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"})


def is_piece(node: fx.Node) -> bool:
    """Whether the node picks a tensor out of the tuple that another one makes."""
    return node.target is operator.getitem


def target_of(node: fx.Node) -> str:
    """`aten.conv2d.default`, or `getitem` of a piece."""
    return "getitem" if is_piece(node) else str(node.target)


def admit(node: fx.Node, name: str, mode: Literal["eval", "train"] = "eval") -> None:
    """Refuse a node that no graph can say, in the model that messages call `name`.

    Raises:
        CaptureError: with the reason and the line of the model's source.
    """
    target = target_of(node)
    if mode == "eval" and target in RANDOM and node.args[2] is not False:
        raise CaptureError(
            f"{name}: operator {target} cannot be captured: it draws random numbers, which only training may: "
            f"capture in train mode{node_line(node)}"
        )
    if is_piece(node) or (target in ALLOWED and not draws_random(target, node.args, node.kwargs)):
        return
    if target in DROPOUTS and node.args[2] is False:
        return
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        why = "control flow that depends on the data cannot be cut"
    elif target in ("aten.item.default", "aten._local_scalar_dense.default"):
        why = "a number taken out of a tensor is not known before the model runs"
    elif target in DROPOUTS or target in ALLOWED or _is_random(node):
        why = "it draws random numbers, and a stage must give the same answer twice"
    else:
        why = "it is not on the list of operators that a graph may name (airloom/nn/operators.py)"
    raise CaptureError(f"{name}: operator {target} cannot be captured: {why}{node_line(node)}")


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
