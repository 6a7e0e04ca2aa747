"""A captured model: the graph, its weights, and the form of what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from airloom.core.graph import ModelGraph
from airloom.core.value import Value, digest
from airloom.units import format_bytes


class Structure(Value, frozen=True):
    """The form of a model's result: a tensor (position in `ModelGraph.outputs`), nothing, or a
    tuple, list or dict of such."""

    kind: Literal["tensor", "none", "tuple", "list", "dict"]
    tensor: int = 0
    items: tuple[Structure, ...] = ()
    keys: tuple[str | int, ...] = ()

    def build(self, outputs: Sequence[Any]) -> Any:
        """`outputs`, one a tensor of `ModelGraph.outputs`, in this form."""
        match self.kind:
            case "tensor":
                return outputs[self.tensor]
            case "none":
                return None
            case "tuple":
                return tuple(item.build(outputs) for item in self.items)
            case "list":
                return [item.build(outputs) for item in self.items]
            case "dict":
                return {key: item.build(outputs) for key, item in zip(self.keys, self.items, strict=True)}


@dataclass(frozen=True, eq=False, repr=False)
class Captured:
    """A model as data.

    Attributes:
        graph: operators, tensors, cuts; `Operator.arguments` says all about each call.
        state: the tensor of every entry of `graph.parameters`, by name and in that order.
        structure: the form of the result.
        example: the inputs it was captured with, where they are at hand.
        source: for each operator, the user's line that called it (`file.py:12`), where it is known.
        modules: for each operator, the path of the module that called it (`groups.0.1.conv1`, "" of the model
            itself), where it is known.
    """

    graph: ModelGraph
    state: Mapping[str, Tensor]
    structure: Structure
    example: tuple[Tensor, ...] = ()
    source: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def __repr__(self) -> str:
        graph = self.graph
        weights = format_bytes(graph.parameter_nbytes(0, graph.num_operators))
        return f"<Captured {graph.model}: {graph.num_operators} operators, {weights} of weights>"

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The weights and buffers by their id in the graph."""
        return tuple(self.state[p.name] for p in self.graph.parameters)

    @property
    def weights_digest(self) -> str:
        """Identity of the weights, apart from that of the graph."""
        return digest(*(tensor_bytes(t) for t in self.parameters))

    def result(self, outputs: Mapping[int, Any]) -> Any:
        """What the model itself would return, from the tensors of `graph.outputs` by id."""
        return self.structure.build([outputs[t] for t in self.graph.outputs])

    def save(self, folder: Path) -> None:
        """Write the artifact (see `nn.artifact`)."""
        from airloom.nn.artifact import save_artifact  # the artifact reads and writes this class

        save_artifact(folder, self)


def tensor_bytes(tensor: Tensor) -> bytes:
    """Raw little-endian bytes in C order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(np.ascontiguousarray(flat.view(torch.uint8).numpy()).data) if flat.numel() else b""
