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


def accumulate_gradients(
    model: ElasticModel,
    inputs: Sequence[Tensor],
    labels: Tensor,
    depths: Sequence[int],
    recipe: Recipe,
    teacher: nn.Module | None = None,
) -> tuple[float, ...]:
    """Add the gradients of the losses at `depths` to those of the weights; blocks that none of them keeps get none.

    Args:
        depths: for a sandwich the full one first: the others learn from what it answers.

    Returns:
        The loss of each depth, unweighted.
    """
    full, losses = model.order.depths[-1], []
    taught: Tensor | None = None
    if teacher is not None and recipe.soft.share:
        with torch.no_grad(), _cast(recipe, inputs):
            taught = _first(teacher(*inputs))
    for depth in depths:
        model.set_depth(depth)
        with _cast(recipe, inputs):
            output = _first(model(*inputs))
        loss = blended(output, labels, taught, recipe.loss, recipe.soft)
        weight = 1.0 if recipe.sandwich is None or depth == full else recipe.sandwich.weight
        (loss if weight == 1.0 else loss * weight).backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        if recipe.sandwich is not None and depth == full and teacher is None:
            taught = output.detach()
    return tuple(losses)


def _cast(recipe: Recipe, inputs: Sequence[Tensor]) -> contextlib.AbstractContextManager[object]:
    if recipe.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(inputs[0].device.type, dtype=torch.bfloat16)


def _first(output: Tensor | Sequence[Tensor]) -> Tensor:
    """What the loss is of, where a model returns several tensors; a loss is never in half precision."""
    first = output if isinstance(output, Tensor) else output[0]
    return first.float() if first.dtype in (torch.bfloat16, torch.float16) else first
