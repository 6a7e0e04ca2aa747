"""A stage's forward pass that waits for its gradients, and the backward pass that autograd makes of them.

Autograd adds up the gradients of a tensor from the last reader to the first, and gradients given from outside come
before any. So a tensor, or a weight, that is read on both sides of a cut gets the same sum, in the same order, as in
one piece: what the stages behind have summed is where this stage's own sum begins. Between operators gradients have
one form as tensors have (C order, aligned), so no kernel could choose differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from airloom.core.training import gradient_id, is_gradient_of_weight
from airloom.nn.executor import Buffer
from airloom.nn.stage import canonical


@dataclass
class Pass:
    """What a forward pass left for the backward pass.

    Attributes:
        inputs, outputs: what the stage read, and what it gave or passed through, by id.
        loss: a single number, at the last stage alone.
    """

    inputs: dict[int, Tensor]
    outputs: dict[int, Tensor]
    loss: Tensor | None

    def backward(
        self, gradients: Mapping[int, Buffer], own: Mapping[int, Tensor], read: Callable[[int, Buffer], Tensor]
    ) -> tuple[dict[int, Tensor | None], dict[int, Buffer]]:
        """Gradients of what the stage read, from those of what it gave.

        Args:
            gradients: by id, of outputs and of weights (`gradient_id`); an empty one is zero everywhere.
            own: the trained weights that the stage reads, by their id in the graph.
            read: the gradient of an id from its bytes.

        Returns:
            Gradients of inputs that need one, and of all of `own` by `gradient_id`, None where the result does not
            depend on it; and those of `gradients` that are of nothing here, as they came.

        Raises:
            RuntimeError, ValueError, IndexError, TypeError: autograd or `read` refuses a gradient.
        """
        roots: list[Tensor] = []
        given: list[Tensor | None] = []
        passing: dict[int, Buffer] = {}
        if self.loss is not None and self.loss.requires_grad:
            roots.append(self.loss)
            given.append(None)
        for id, data in gradients.items():
            if not memoryview(data).nbytes:
                continue
            target = own.get(id - gradient_id(0)) if is_gradient_of_weight(id) else self.outputs.get(id)
            if target is None:
                passing[id] = data
            elif target.requires_grad:
                roots.append(target)
                given.append(read(id, data))
        leaves = {t: tensor for t, tensor in self.inputs.items() if tensor.is_leaf and tensor.requires_grad}
        wanted = {**leaves, **{gradient_id(w): weight for w, weight in own.items()}}
        found: Iterable[Tensor | None] = (
            torch.autograd.grad(roots, list(wanted.values()), given, allow_unused=True)
            if roots and wanted
            else [None] * len(wanted)
        )
        return dict(zip(wanted, found, strict=True)), passing


def sealed(tensor: Tensor) -> Tensor:
    """`tensor`, whose whole gradient will be in the one form before an operator gets it."""
    if tensor.requires_grad:
        tensor.register_hook(canonical)  # type: ignore[no-untyped-call]
    return tensor
