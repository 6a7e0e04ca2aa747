"""The operators behind a cut as a function that autograd goes through."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from airloom.nn.operators import argument_names
from airloom.nn.program import ParameterRef, decode
from airloom.nn.stage import StageCode, canonical
from airloom.nn.tolerance.halves import Halves

# Arguments of a batch norm that are statistics of a data set, not weights.
_STATISTICS = ("running_mean", "running_var")


class Receiver:
    """Runs the operators from `cut` on.

    Args:
        train: whether its weights are leaves to train.
        trainable: names of the weights that may be; None: all but the statistics of batch norms.

    Attributes:
        leaves: the weights to train by name, copies of the model's own.
    """

    def __init__(
        self, halves: Halves, cut: int, *, train: bool = False, trainable: Collection[str] | None = None
    ) -> None:
        graph, executor = halves.large.graph, halves.executor
        self.cut, last = cut, graph.num_operators
        frozen = statistics(halves)
        self.leaves: dict[str, Tensor] = {}
        parameters: list[Tensor] = []
        behind = frozenset(graph.stage_parameters(cut, last))
        for id, parameter in enumerate(graph.parameters):
            tensor, name = executor.parameter(id), parameter.name
            allowed = name not in frozen if trainable is None else name in trainable
            if id in behind and train and tensor.is_floating_point() and allowed:
                # The executor's own stay as they are.
                tensor = canonical(tensor.detach().clone()).requires_grad_()
                self.leaves[name] = tensor
            parameters.append(tensor)
        code = StageCode(graph, tuple(parameters), executor.torch_device, trained=behind)
        self._reads, self._makes = executor.stage_tensors(cut, last)
        self._function = code.compile(cut, last, self._reads, self._makes)

    def __call__(self, tensors: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The model's outputs by id, from the live set of the cut (of the large graph)."""
        results: Sequence[Tensor] = self._function(*[canonical(tensors[t]) for t in self._reads])
        return {**tensors, **dict(zip(self._makes, results, strict=True))}


def statistics(halves: Halves) -> frozenset[str]:
    """Names of the running statistics of batch norms."""
    graph = halves.large.graph
    found = set()
    for op in graph.operators:
        if "batch_norm" not in op.target:
            continue
        call = decode(op.target, op.arguments).call
        given = {**dict(zip(argument_names(op.target), call.args, strict=False)), **call.kwargs}
        found |= {
            graph.parameters[given[name].id].name for name in _STATISTICS if isinstance(given.get(name), ParameterRef)
        }
    return frozenset(found)
