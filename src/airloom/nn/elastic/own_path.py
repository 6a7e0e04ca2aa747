"""A block's own shortcut, found in its operators."""

from __future__ import annotations

from airloom.core.depth import SkipPath
from airloom.core.graph import ModelGraph, Operator
from airloom.nn.elastic.renumbering import renumbered
from airloom.nn.operators import argument_names
from airloom.nn.program import TensorRef, decode

# They change each element by itself: what a block does to the sum of its shortcut and its layers is left out with it.
_ACTIVATIONS = frozenset(
    f"aten.{name}.default"
    for name in ("relu", "relu6", "gelu", "silu", "elu", "hardswish", "hardtanh", "leaky_relu", "mish", "clamp", "selu")
)


def own_path(graph: ModelGraph, start: int, stop: int, entry: int, result: int) -> SkipPath | None:
    """The block's own shortcut: the way from its input to its output on which nothing reads a weight.

    Where such a way meets the block's layers in a sum, the sum is the shortcut alone, and an activation behind it is
    left out too.

    Args:
        start, stop: the block's operators.
        entry, result: ids of its input and output.

    Returns:
        None where there is no such way, or it gives another form.
    """
    search = _Search(graph, start, stop, entry)
    end = search.free(result)
    if end is None or graph.tensors[end] != graph.tensors[result] or entry not in search.read:
        return None
    return _as_path(graph, sorted(search.used), entry, end)


class _Search:
    def __init__(self, graph: ModelGraph, start: int, stop: int, entry: int) -> None:
        self.graph, self.entry = graph, entry
        self.made = {t: k for k in range(start, stop) for t in graph.operators[k].outputs}
        self.used: set[int] = set()
        self.read: set[int] = {entry}
        self.known: dict[int, bool] = {entry: True}

    def weightless(self, tensor: int) -> bool:
        """Whether `tensor` follows from the block's input without a weight."""
        if tensor not in self.known:
            op = self.graph.operators[self.made[tensor]] if tensor in self.made else None
            self.known[tensor] = (
                op is not None
                and not op.parameters
                and not op.writes
                and bool(op.inputs)
                and all(self.weightless(t) for t in op.inputs)
            )
        return self.known[tensor]

    def free(self, tensor: int) -> int | None:
        """The tensor that stands for `tensor` where terms with weights are left out."""
        while not self.weightless(tensor):
            if tensor not in self.made:
                return None
            op = self.graph.operators[self.made[tensor]]
            if op.parameters or op.writes:
                return None
            if op.target in _ACTIVATIONS and len(op.inputs) == 1:
                tensor = op.inputs[0]
                continue
            terms = _terms(op)
            light = [t for t in terms if self.weightless(t)]
            if len(terms) == 2 and len(light) == 1:
                tensor = light[0]
            elif len(terms) == 2 and not light:
                ways = [way for way in map(self.free, terms) if way is not None]
                if len(ways) != 1:
                    return None
                return ways[0]
            else:
                return None
        self._keep(tensor)
        return tensor

    def _keep(self, tensor: int) -> None:
        if tensor in self.made and self.made[tensor] not in self.used:
            self.used.add(self.made[tensor])
            for t in self.graph.operators[self.made[tensor]].inputs:
                self._keep(t)


def _terms(op: Operator) -> tuple[int, ...]:
    """The two tensors that `op` adds as they are; nothing where it is no such sum."""
    if op.target != "aten.add.Tensor":
        return ()
    call = decode(op.target, op.arguments).call
    given = {**dict(zip(argument_names(op.target), call.args, strict=False)), **call.kwargs}
    pair = (given.get("self"), given.get("other"))
    if given.get("alpha", 1) != 1 or not all(isinstance(v, TensorRef) for v in pair):
        return ()
    return tuple(v.id for v in pair if isinstance(v, TensorRef))


def _as_path(graph: ModelGraph, indices: list[int], entry: int, end: int) -> SkipPath:
    """The operators `indices` as a graph of their own."""
    number = {entry: 0}
    for index in indices:
        for t in graph.operators[index].outputs:
            number[t] = len(number)
    operators = tuple(renumbered(graph.operators[k], number, {}) for k in indices)
    by_number = {k: graph.tensors[t] for t, k in number.items()}
    tensors = tuple(by_number[k] for k in range(len(number)))
    return SkipPath(
        kind="identity" if end == entry else "own", tensors=tensors, operators=operators, result=number[end]
    )
