"""The gradients of one step: of one depth, or of several whose gradients add up."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.core.training import LossName
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.recipe import Recipe, Soft
from airloom.nn.elastic.sharing import SharedPass
from airloom.nn.training.loss import LOSSES


def soft_loss(output: Tensor, taught: Tensor, loss: LossName, temperature: float) -> Tensor:
    """How far `output` is from what a teacher answers, mean over the batch; `taught` gets no gradient.

    Of logits `[..., classes]` the divergence of Kullback and Leibler, times the temperature's square; of other
    answers (`mse`) the mean square of their difference.
    """
    taught = taught.detach()
    if loss == "mse":
        return F.mse_loss(output, taught)
    classes = output.shape[-1]
    logs = F.log_softmax(output.reshape(-1, classes) / temperature, dim=-1)
    wanted = F.log_softmax(taught.reshape(-1, classes) / temperature, dim=-1)
    return F.kl_div(logs, wanted, reduction="batchmean", log_target=True) * temperature**2


def blended(output: Tensor, labels: Tensor, taught: Tensor | None, loss: LossName, soft: Soft) -> Tensor:
    """The loss by labels and by what a teacher answers, if there is one."""
    if taught is None or not soft.share:
        return LOSSES[loss](output, labels)
    found = soft_loss(output, taught, loss, soft.temperature)
    return found if soft.share == 1.0 else (1 - soft.share) * LOSSES[loss](output, labels) + soft.share * found


class Gradients:
    """Adds up the gradients of steps of one training.

    Args:
        teacher: in eval mode; from its answers every depth learns.
        share: compute what depths of a step have in common once (`sharing`). The gradients are the same but for the
            order in which numbers are added.
    """

    def __init__(
        self, model: ElasticModel, recipe: Recipe, teacher: nn.Module | None = None, *, share: bool = True
    ) -> None:
        self.model, self.recipe, self.teacher = model, recipe, teacher
        self._shared = SharedPass(model) if share else None

    @property
    def is_sharing(self) -> bool:
        """Whether what depths of a step have in common is computed once."""
        return self._shared is not None

    def add(self, inputs: Sequence[Tensor], labels: Tensor, depths: Sequence[int]) -> tuple[float, ...]:
        """Add the gradients of the losses at `depths` to those of the weights; blocks that none keeps get none.

        Args:
            depths: for a sandwich the full one first: the others learn from what it answers.

        Returns:
            The loss of each depth, unweighted.
        """
        taught: Tensor | None = None
        if self.teacher is not None and self.recipe.soft.share:
            with torch.no_grad(), _cast(self.recipe, inputs):
                taught = _first(self.teacher(*inputs))
        if self._shared is None or len(depths) < 2 or depths[0] != self.model.order.num_blocks:
            return self._apart(inputs, labels, depths, taught)
        shared, losses = self._shared, list[Tensor]()
        try:
            for depth in depths:
                with shared.at(depth) if losses else shared.remembered():
                    loss, output = self._loss(inputs, labels, depth, taught)
                losses.append(loss)
                taught = self._teaches(depth, output, taught)
            if shared.is_intact():
                torch.autograd.backward([self._weighed(x, d) for d, x in zip(depths, losses, strict=True)])
                return tuple(float(loss.detach()) for loss in losses)
        finally:
            shared.forget()
        # The network writes to its activations in place: its depths share nothing from now on.
        self._shared = None
        return self.add(inputs, labels, depths)

    def _apart(
        self, inputs: Sequence[Tensor], labels: Tensor, depths: Sequence[int], taught: Tensor | None
    ) -> tuple[float, ...]:
        losses = []
        for depth in depths:
            self.model.set_depth(depth)
            loss, output = self._loss(inputs, labels, depth, taught)
            self._weighed(loss, depth).backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            taught = self._teaches(depth, output, taught)
        return tuple(losses)

    def _loss(
        self, inputs: Sequence[Tensor], labels: Tensor, depth: int, taught: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with _cast(self.recipe, inputs):
            output = _first(self.model(*inputs))
        return blended(output, labels, taught, self.recipe.loss, self.recipe.soft), output

    def _teaches(self, depth: int, output: Tensor, taught: Tensor | None) -> Tensor | None:
        """What the depths after this one learn from."""
        is_full = depth == self.model.order.num_blocks
        return output.detach() if self.recipe.sandwich and is_full and self.teacher is None else taught

    def _weighed(self, loss: Tensor, depth: int) -> Tensor:
        sandwich = self.recipe.sandwich
        if sandwich is None or depth == self.model.order.num_blocks or sandwich.weight == 1.0:
            return loss
        return loss * sandwich.weight


def _cast(recipe: Recipe, inputs: Sequence[Tensor]) -> contextlib.AbstractContextManager[object]:
    if recipe.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(inputs[0].device.type, dtype=torch.bfloat16)


def _first(output: Tensor | Sequence[Tensor]) -> Tensor:
    """What the loss is of, where a model returns several tensors; a loss is never in half precision."""
    first = output if isinstance(output, Tensor) else output[0]
    return first.float() if first.dtype in (torch.bfloat16, torch.float16) else first
