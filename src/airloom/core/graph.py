"""The model as a graph of operators, and the cuts through it.

An operator order is topological. A *cut* is a position in that order: cut 0 precedes the first
operator, cut L follows the last. What crosses a cut is its *live set*: every tensor made before
it and used after it. A chain's cut carries one tensor, a residual block's two, an unrolled
recurrent network's its hidden state and the rest of its inputs: one definition for all.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

from airloom.core.value import Value, canonical_json, digest

ITEM_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex64": 8, "complex128": 16,
}  # fmt: skip


class TensorSpec(Value, frozen=True):
    """Shape and type of one tensor; `dtype` is torch's name without the `torch.`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class Operator(Value, frozen=True):
    """One operator: what it reads, what it makes, what it costs.

    Attributes:
        name: a readable name, unique in the graph; for people, never for identity.
        target: the operator, e.g. `aten.convolution.default`; tuple producers are fused
            with their getitems, so `outputs` are tensors.
        inputs, outputs: tensor ids, see `ModelGraph.tensors`. An operator that only reads
            parameters has no entry here: it is replicated wherever it is needed.
        arguments: the remaining arguments (strides, axes, ...) in canonical text.
        parameters: ids into `ModelGraph.parameters` of the weights and buffers it reads.
        writes: ids into `ModelGraph.parameters` of the buffers it changes (batch norm in training).
        macs: multiply-accumulates for the captured batch.
    """

    name: str
    target: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: str = ""
    parameters: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    macs: int = 0


class Parameter(Value, frozen=True):
    """A weight or buffer: its name in the state dict and its form.

    `trained`: a weight that training changes; False for buffers and for weights that were frozen.
    """

    name: str
    spec: TensorSpec
    trained: bool = False


class ModelGraph(Value, frozen=True, dict=True):
    """Operators in topological order.

    Attributes:
        model: the name the user gave, for people.
        tensors: spec of every tensor; ids 0..len(inputs)-1 are the model's inputs, the rest are
            numbered in the order in which operators make them.
        inputs: ids of the model's inputs.
        outputs: ids of the model's outputs, in order.
        mode: eval or train.
    """

    model: str
    tensors: tuple[TensorSpec, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]
    parameters: tuple[Parameter, ...]
    mode: Literal["eval", "train"] = "eval"

    @property
    def num_operators(self) -> int:
        """L: the number of operators; cuts run from 0 to L inclusive."""
        return len(self.operators)

    def live_set(self, cut: int) -> tuple[int, ...]:
        """Ids of the tensors made before `cut` and used at or after it, ascending."""
        return self.live_sets[cut]

    @functools.cached_property
    def live_sets(self) -> tuple[tuple[int, ...], ...]:
        """The live set of every cut 0..L, in one backward sweep."""
        made_at = dict.fromkeys(self.inputs, 0)
        for index, op in enumerate(self.operators):
            made_at.update(dict.fromkeys(op.outputs, index + 1))
        live = set(self.outputs)
        sets: list[tuple[int, ...]] = []
        for cut in range(self.num_operators, -1, -1):
            if cut < self.num_operators:
                live |= set(self.operators[cut].inputs)
            # What a later operator makes cannot cross; an unused input never does.
            live = {t for t in live if made_at[t] <= cut}
            sets.append(tuple(sorted(live)))
        return tuple(reversed(sets))

    def cut_nbytes(self, cut: int) -> int:
        """Payload bytes of the live set of `cut`."""
        return sum(self.tensors[t].nbytes for t in self.live_set(cut))

    def stage_parameters(self, start: int, stop: int) -> tuple[int, ...]:
        """Ids of the weights and buffers that operators `start..stop-1` read, each once, ascending."""
        return tuple(sorted({p for op in self.operators[start:stop] for p in op.parameters}))

    def parameter_nbytes(self, start: int, stop: int) -> int:
        """Bytes of the weights and buffers of a stage, each counted once."""
        return sum(self.parameters[p].spec.nbytes for p in self.stage_parameters(start, stop))

    @functools.cached_property
    def digest(self) -> str:
        """Identity of the computation: names that torch or people chose, and weights, are left out."""
        operators = tuple((o.target, o.inputs, o.outputs, o.arguments, o.parameters, o.writes) for o in self.operators)
        specs = tuple(p.spec for p in self.parameters)
        return digest(canonical_json((self.mode, self.tensors, self.inputs, self.outputs, operators, specs)))
