"""Which nodes of an exported program become operators, and which vanish or are repeated.

- A node that gives the values of another one again (a copy, dropout in eval mode) is that one.
- What depends on parameters alone is repeated by whoever reads it: no cut carries it.
- So are views of a whole tensor, and parts of a tensor that lives on anyway: a cut never carries
  the same storage twice.
- What nobody reads is left out, so assertions inside the model are not kept.
- Everything else is an operator, and so is whatever the model returns or writes to a buffer.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import fx

from airloom.errors import CaptureError
from airloom.nn.admission import DROPOUTS, admit, is_piece, target_of
from airloom.nn.operators import COPIES, PART_VIEWS, RANDOM, SPLITTERS, WHOLE_VIEWS
from airloom.nn.signature import Signature

Role = Literal["input", "parameter", "constant", "view", "operator"]

_DETACH = "aten.detach.default"
_NOTHING_DONE = frozenset({"aten.alias.default", _DETACH, "aten.lift_fresh.default"}) | DROPOUTS
_CASTS = frozenset({"aten._to_copy.default", "aten.to.dtype"})
_NEVER = math.inf


class Roles:
    """The role of every node that matters.

    Raises:
        CaptureError: a node calls what no graph can say, or the model returns a weight as it is.

    Attributes:
        results: the nodes that the model returns, as `Signature.results`.
        writes: node -> the buffers that take its value.
    """

    def __init__(
        self, graph: fx.Graph, signature: Signature, name: str, mode: Literal["eval", "train"] = "eval"
    ) -> None:
        self._mode = mode
        self._position = {node: k for k, node in enumerate(graph.nodes)}
        self._nodes = _needed_calls(graph, signature)
        self._same: dict[fx.Node, fx.Node] = {}  # node -> the node whose values it gives again
        self._role: dict[fx.Node, Role] = {
            **dict.fromkeys(signature.inputs, "input"),
            **dict.fromkeys(signature.parameters, "parameter"),
        }
        for node in self._nodes:
            admit(node, name, mode)
            self._assign(node)
        self.results = tuple(self.resolve(node) for node in signature.results)
        self.writes: dict[fx.Node, list[str]] = {}
        for node, buffer in signature.writes:
            self.writes.setdefault(self.resolve(node), []).append(buffer)
        for node in [*self.results, *self.writes]:
            if node in signature.parameters:
                raise CaptureError(
                    f"{name} returns its weight {signature.parameters[node]!r} as it is: read it from the file"
                )
            self._materialise(node)
        self._repeat_parts()

    def of(self, node: fx.Node) -> Role:
        """The role of a resolved node."""
        return self._role[node]

    def resolve(self, node: fx.Node) -> fx.Node:
        """The node that makes the values of `node`."""
        while node in self._same:
            node = self._same[node]
        return node

    def operators(self) -> list[fx.Node]:
        """The nodes that become operators, in order. One that makes a tuple stands for its pieces too."""
        return [node for node in self._nodes if self._is_operator(node) and not is_piece(node)]

    def pieces(self, node: fx.Node) -> list[tuple[int, fx.Node]]:
        """The tensors of the graph among the tuple that `node` makes, with their places in it, in its order."""
        places = [(int(u.args[1]), u) for u in node.users if is_piece(u) and self._is_operator(u)]  # type: ignore[arg-type]
        return sorted(places, key=lambda pair: (pair[0], self._position[pair[1]]))

    def is_read(self, node: fx.Node) -> bool:
        """Whether the model returns the tensor or goes on with it."""
        return node in self.results or any(user in self._role or user in self._same for user in node.users)

    def is_read_after(self, node: fx.Node, point: fx.Node) -> bool:
        """Whether an operator behind `point` reads `node`."""
        return self._last_read(node) > self._position[point]

    def _is_operator(self, node: fx.Node) -> bool:
        return self._role.get(node) == "operator"

    def _assign(self, node: fx.Node) -> None:
        if self._gives_again(node):
            self._same[node] = self.resolve(node.all_input_nodes[0])
        elif target_of(node) in RANDOM:
            self._role[node] = "operator"  # repeated, it would draw again
        elif {self._role[self.resolve(n)] for n in node.all_input_nodes} <= {"parameter", "constant"}:
            self._role[node] = "constant"
        else:
            self._role[node] = "view" if target_of(node) in WHOLE_VIEWS else "operator"

    def _gives_again(self, node: fx.Node) -> bool:
        """Whether `node` has the very values of its first input, in the same form."""
        target = target_of(node)
        if target == _DETACH and self._mode == "train":
            return False  # no gradient goes through it
        if target in _NOTHING_DONE:
            return True  # a dropout that is on has not been admitted
        if target not in COPIES | _CASTS:
            return False
        base = self.resolve(node.all_input_nodes[0])
        if self._role[base] not in ("input", "parameter", "operator"):
            return False  # a copy of a view puts its values in order: that is work
        return target in COPIES or bool(node.meta["val"].dtype == base.meta["val"].dtype)

    def _materialise(self, node: fx.Node) -> None:
        """The node's value must exist as a tensor: it is an operator of the order."""
        if self._role[node] == "input":
            return
        self._role[node] = "operator"
        if is_piece(node):
            self._role[node.all_input_nodes[0]] = "operator"

    # --- parts --------------------------------------------------------------------------------

    def _repeat_parts(self) -> None:
        """Repeat a part of a tensor where its base lives at least as long: it costs a cut nothing."""
        for node in reversed(self._nodes):
            if not self._is_operator(node) or node in self.results or node in self.writes:
                continue
            taker = node.all_input_nodes[0] if is_piece(node) else node  # what takes the part out of its base
            if target_of(taker) not in (SPLITTERS if is_piece(node) else PART_VIEWS):
                continue
            if self._last_read(self._root(taker), frozenset({node, taker})) >= self._last_read(node):
                self._role[node] = "view"
        for node in self._nodes:
            # A splitter all of whose pieces are repeated is no operator any more.
            if self._is_operator(node) and target_of(node) in SPLITTERS and not self.pieces(node):
                self._role[node] = "view"

    def _root(self, node: fx.Node) -> fx.Node:
        """The tensor that the storage of the view `node` belongs to."""
        base = self.resolve(node.all_input_nodes[0])
        while self._role[base] == "view":
            base = self.resolve(base.all_input_nodes[0])
        return base

    def _last_read(self, node: fx.Node, but: frozenset[fx.Node] = frozenset()) -> float:
        """Position of the last operator that reads `node` or what repeats it, not counting `but`; -1 if none."""
        last: float = _NEVER if node in self.results else -1
        for user in node.users:
            if user in but:
                continue
            if self._is_operator(user) and not is_piece(user):
                last = max(last, self._position[user])
            if user in self._same or self._role.get(user) in ("view", "constant") or target_of(user) in SPLITTERS:
                last = max(last, self._last_read(user, but))
        return last


def _needed_calls(graph: fx.Graph, signature: Signature) -> list[fx.Node]:
    """The calls that the results and the buffers written depend on, in order."""
    needed = {*signature.results, *(node for node, _ in signature.writes)}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in needed and node.op == "call_function"]
