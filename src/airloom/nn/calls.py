"""The calls of one operator in the language of `Operator.arguments` (see `nn.program`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from airloom.errors import CaptureError
from airloom.nn.admission import is_piece, target_of
from airloom.nn.program import Call, Expression, LocalRef, ParameterRef, TensorRef
from airloom.nn.roles import Roles
from airloom.nn.signature import Signature
from airloom.nn.source import node_line

_PLACEMENT = frozenset({"device", "layout", "pin_memory", "non_blocking"})
# What torch hands an operator in place of a number where shapes depend on the data, and where tensors live.
_NOT_FIXED = (torch.SymInt, torch.SymFloat, torch.SymBool, torch.device, torch.layout)


class Ids:
    """Ids of tensors and parameters, in the order in which operators first name them."""

    def __init__(self) -> None:
        self.tensors: dict[fx.Node, int] = {}
        self.parameters: dict[str, int] = {}

    def tensor(self, node: fx.Node) -> int:
        return self.tensors.setdefault(node, len(self.tensors))

    def parameter(self, name: str) -> int:
        return self.parameters.setdefault(name, len(self.parameters))


class Calls:
    """Calls of one operator; `let` grows by the views and constants that they read.

    Args:
        name: the model's, for messages.
    """

    def __init__(self, name: str, signature: Signature, roles: Roles, ids: Ids) -> None:
        self.let: list[Call] = []
        self._name, self._signature, self._roles, self._ids = name, signature, roles, ids
        self._place: dict[fx.Node, int] = {}  # view or constant -> its place in `let`

    def call(self, node: fx.Node, item: int | None = None) -> Call:
        """What `node` calls, and the `item` that is wanted where it makes a tuple.

        Raises:
            CaptureError: an argument is not known before the model runs.
        """

        def expression(arg: Any) -> Expression:
            if isinstance(arg, fx.Node):
                return self._reference(self._roles.resolve(arg))
            if isinstance(arg, list | tuple):
                return [expression(a) for a in arg]
            if isinstance(arg, _NOT_FIXED):
                raise CaptureError(
                    f"{self._name}: {target_of(node)} with argument {arg}{node_line(node)} has no fixed form"
                )
            return arg

        return Call(
            target=target_of(node),
            args=tuple(expression(a) for a in node.args),
            # Where a tensor lives is the executor's business.
            kwargs={k: expression(a) for k, a in node.kwargs.items() if a is not None and k not in _PLACEMENT},
            item=item,
        )

    def _reference(self, node: fx.Node) -> TensorRef | ParameterRef | LocalRef:
        match self._roles.of(node):
            case "parameter":
                return ParameterRef(self._ids.parameter(self._signature.parameters[node]))
            case "input" | "operator":
                return TensorRef(self._ids.tensors[node])
        if node not in self._place:
            if is_piece(node):
                call = self.call(node.all_input_nodes[0], item=int(node.args[1]))  # type: ignore[arg-type]
            else:
                call = self.call(node)
            self._place[node] = len(self.let)
            self.let.append(call)
        return LocalRef(self._place[node])
