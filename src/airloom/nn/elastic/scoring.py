"""How good an elastic network is at a depth, on samples with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.core.training import LossName
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.training.loss import LOSSES


def score(
    model: ElasticModel,
    arrays: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    *,
    depth: int,
    loss: LossName = "cross_entropy",
    batch: int = 500,
    device: torch.device | None = None,
) -> float:
    """Of `model` at `depth`, in eval mode and fp32: the share of labels that its greatest logit names, 0 to 1.

    Models of another loss have no such share: the loss itself is what comes back, mean over the samples.
    """
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), model.at(depth):
            for start in range(0, len(labels), batch):
                rows = slice(start, start + batch)
                some = [torch.from_numpy(np.ascontiguousarray(array[rows])).to(device) for array in arrays]
                wanted = torch.from_numpy(np.ascontiguousarray(labels[rows])).to(device)
                output = model(*some)
                first: Tensor = output if isinstance(output, Tensor) else output[0]
                if loss == "cross_entropy":
                    total += float((first.argmax(-1) == wanted).sum())
                    count += wanted.numel()
                else:
                    total += float(LOSSES[loss](first, wanted)) * len(wanted)
                    count += len(wanted)
    finally:
        model.train(was_training)
    return total / max(count, 1)
