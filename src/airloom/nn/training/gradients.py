"""Which tensors of a graph have gradients."""

from __future__ import annotations

from airloom.core.graph import ModelGraph
from airloom.nn.program import DTYPES


def needs_gradient(graph: ModelGraph) -> frozenset[int]:
    """Ids of the tensors whose gradient some trained weight before them needs.

    Pixels, integers, and what depends on no trained weight have none.
    """
    trained = {k for k, parameter in enumerate(graph.parameters) if parameter.trained}
    found: set[int] = set()
    for op in graph.operators:
        if trained.intersection(op.parameters) or found.intersection(op.inputs):
            found.update(t for t in op.outputs if DTYPES[graph.tensors[t].dtype].is_floating_point)
    return frozenset(found)


def readers(graph: ModelGraph) -> list[list[int]]:
    """For each weight or buffer the operators that read it, or write it."""
    found: list[list[int]] = [[] for _ in graph.parameters]
    for index, op in enumerate(graph.operators):
        for parameter in {*op.parameters, *op.writes}:
            found[parameter].append(index)
    return found
